//! A record as rows of OpenMRS, and the fewest calls that lead from one shape to another. Pure.

use serde_json::{Value, json};

use super::element::Fields;

/// One call of webservices.rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The path below `/ws/rest/v1`, with its query.
    pub path: String,
    /// What is posted; `None` for DELETE.
    pub body: Option<Value>,
}

impl Call {
    /// POST.
    pub fn post(path: impl Into<String>, body: Value) -> Call {
        Call { path: path.into(), body: Some(body) }
    }

    /// DELETE, which voids (or retires) with a reason.
    pub fn void(path: &str) -> Call {
        Call { path: format!("{path}?reason=deleted+at+another+site"), body: None }
    }
}

/// A row below another, as a patient's name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// Its uuid, where it is known.
    pub uuid: Option<String>,
    /// Its columns.
    pub fields: Fields,
}

/// Rows below another.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The member that has them when the whole is created.
    pub member: &'static str,
    /// The path at which one is made, and below which each has its own.
    pub path: String,
    /// Whether it belongs to the person that a patient is.
    pub of_person: bool,
    /// The rows.
    pub items: Vec<Item>,
}

/// A record as rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shape {
    /// Where it is created.
    pub create: String,
    /// Its own path, where it is voided.
    pub place: String,
    /// Where its columns are edited.
    pub edit: String,
    /// The member below which the person stands when a patient or provider is created.
    pub person: Option<&'static str>,
    /// What is said when it is created and never again.
    pub once: Fields,
    /// Its columns.
    pub fields: Fields,
    /// Rows below it.
    pub lists: Vec<List>,
    /// What has to be there first, as the person of a relationship.
    pub before: Vec<Shape>,
    /// Why OpenMRS changes none of its columns once it is there.
    pub fixed: Option<&'static str>,
    /// Why it is not created, nor its dose changed: that would say less than the record.
    pub kept: Option<String>,
}

impl Shape {
    /// A row that is created at `path`.
    pub fn at(path: &str, id: &str) -> Shape {
        let place = format!("{path}/{id}");
        Shape {
            create: path.to_owned(),
            edit: place.clone(),
            place,
            once: Fields::from_iter([("uuid".to_owned(), json!(id))]),
            ..Shape::default()
        }
    }

    /// The body that creates it, with all that is below it.
    pub fn whole(&self) -> Value {
        let mut body = self.once.clone();
        let mut person = Fields::new();
        let own = match self.person {
            Some(_) => &mut person,
            None => &mut body,
        };
        own.extend(self.fields.iter().filter(|(_, value)| !value.is_null()).map(own_pair));
        for list in self.lists.iter().filter(|list| !list.items.is_empty()) {
            let rows = list.items.iter().map(item_body).collect::<Vec<_>>();
            let target = if list.of_person { &mut person } else { &mut body };
            target.insert(list.member.to_owned(), Value::Array(rows));
        }
        if let Some(member) = self.person {
            if member == "person" && self.create == "patient" {
                person.insert("uuid".to_owned(), body["uuid"].clone());
            }
            body.insert(member.to_owned(), Value::Object(person));
        }
        Value::Object(body)
    }

    /// The calls that create it.
    pub fn creation(&self) -> Vec<Call> {
        let mut calls = self.before.iter().flat_map(Shape::creation).collect::<Vec<_>>();
        calls.push(Call::post(self.create.clone(), self.whole()));
        calls
    }

    /// The calls that lead from `image`, as OpenMRS shows it, to this. Columns and rows that
    /// differ, and no others.
    pub fn edits(&self, image: &Shape) -> Result<Vec<Call>, &'static str> {
        let mut calls = Vec::new();
        for (before, old) in self.before.iter().zip(&image.before) {
            calls.extend(before.edits(old)?);
        }
        let changed = self.fields.iter().filter(|(name, value)| {
            !same(value, image.fields.get(name.as_str()).unwrap_or(&Value::Null))
        });
        let changed = Fields::from_iter(changed.map(own_pair));
        if !changed.is_empty() {
            if let Some(why) = self.fixed {
                return Err(why);
            }
            calls.push(Call::post(self.edit.clone(), Value::Object(changed)));
        }
        for list in &self.lists {
            let none = Vec::new();
            let old = image.lists.iter().find(|one| one.member == list.member);
            list.edits(old.map_or(&none, |one| &one.items), &mut calls);
        }
        Ok(calls)
    }
}

impl List {
    fn edits(&self, image: &[Item], calls: &mut Vec<Call>) {
        let mut left = image.iter().collect::<Vec<_>>();
        let mut take = |fits: &dyn Fn(&Item) -> bool| {
            left.iter().position(|item| fits(item)).map(|at| left.remove(at))
        };
        let mut pairs = self.items.iter().map(|item| (item, None)).collect::<Vec<_>>();
        for (item, old) in &mut pairs {
            *old = item.uuid.as_ref().and_then(|uuid| take(&|one| one.uuid.as_ref() == Some(uuid)));
        }
        for (item, old) in pairs.iter_mut().filter(|(_, old)| old.is_none()) {
            *old = take(&|one| same_fields(&one.fields, &item.fields));
        }
        // Rows that were made there without a uuid of ours: what is left is the same row, edited.
        for (_, old) in pairs.iter_mut().filter(|(item, old)| old.is_none() && item.uuid.is_none())
        {
            *old = take(&|_| true);
        }
        for (item, old) in pairs {
            let Some(old) = old else {
                calls.push(Call::post(self.path.clone(), item_body(item)));
                continue;
            };
            let changed = item.fields.iter().filter(|(name, value)| {
                !same(value, old.fields.get(name.as_str()).unwrap_or(&Value::Null))
            });
            let changed = Fields::from_iter(changed.map(own_pair));
            if let Some(uuid) = old.uuid.as_ref().filter(|_| !changed.is_empty()) {
                calls.push(Call::post(format!("{}/{uuid}", self.path), Value::Object(changed)));
            }
        }
        for uuid in left.into_iter().filter_map(|item| item.uuid.as_ref()) {
            calls.push(Call::void(&format!("{}/{uuid}", self.path)));
        }
    }
}

fn own_pair((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn item_body(item: &Item) -> Value {
    let mut body = Fields::new();
    body.extend(item.uuid.iter().map(|uuid| ("uuid".to_owned(), json!(uuid))));
    body.extend(item.fields.iter().filter(|(_, value)| !value.is_null()).map(own_pair));
    Value::Object(body)
}

fn same_fields(left: &Fields, right: &Fields) -> bool {
    let null = Value::Null;
    let covered = |one: &Fields, other: &Fields| {
        one.iter().all(|(name, value)| same(value, other.get(name.as_str()).unwrap_or(&null)))
    };
    covered(left, right) && covered(right, left)
}

/// Whether two columns hold the same: `1` and `1.0` are one number to OpenMRS.
fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}
