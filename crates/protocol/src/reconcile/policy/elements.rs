//! The names of FHIR's elements, so that a policy for one that does not exist is refused.

use crate::error::Refusal;

/// See its head for its form.
const TABLE: &str = include_str!("elements.txt");

/// Datatypes that are merged as a whole (see `whole`): their parts cannot have policies.
const WHOLE: &[&str] = &[
    "Age",
    "Annotation",
    "Attachment",
    "Coding",
    "Count",
    "Distance",
    "Dosage",
    "Duration",
    "Money",
    "Narrative",
    "Period",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "Signature",
    "Timing",
];

/// One element of a type.
#[derive(Debug, Clone)]
pub(super) struct Element<'t> {
    name: &'t str,
    /// The type, where that has elements: a datatype's name or a part's path.
    pub(super) of: Option<String>,
    pub(super) is_list: bool,
}

/// Whether the element at `path` of `kind` (`*` for any type) is a list. `path` is not empty.
/// Refuses what FHIR R4 does not have, with the nearest name.
pub(super) fn is_list(kind: &str, path: &str) -> Result<bool, Refusal> {
    if kind != "*" {
        check_type(kind)?;
        return is_list_in(kind, path);
    }
    let found: Vec<bool> = types().filter_map(|kind| is_list_in(kind, path).ok()).collect();
    if !found.is_empty() {
        // Where it is none, a policy for lists says nothing.
        return Ok(found.into_iter().any(|is_list| is_list));
    }
    let first = path.split('.').next().unwrap_or_default();
    match types().find(|kind| part(kind, first).is_some()) {
        // It exists, but not what is said to be in it.
        Some(kind) => is_list_in(kind, path),
        None => Err(no_such("*", first, types().flat_map(elements).map(|element| element.name))),
    }
}

/// Refuses a resource type for which no policies can be made.
pub(super) fn check_type(kind: &str) -> Result<(), Refusal> {
    if types().any(|known| known == kind) {
        return Ok(());
    }
    let near =
        nearest(kind, types()).map_or(String::new(), |near| format!(": did you mean {near}?"));
    Err(Refusal::invalid(format!("there is no resource type {kind} that travels{near}")))
}

fn is_list_in(kind: &str, path: &str) -> Result<bool, Refusal> {
    let mut within = kind.to_owned();
    let mut so_far = kind.to_owned();
    let mut steps = path.split('.').peekable();
    let mut is_list = false;
    while let Some(step) = steps.next() {
        let Some(element) = part(&within, step) else {
            return Err(no_such(&so_far, step, elements(&within).map(|element| element.name)));
        };
        so_far = format!("{so_far}.{step}");
        is_list = element.is_list;
        if steps.peek().is_none() {
            break;
        }
        match element.of {
            Some(of) if !WHOLE.contains(&of.as_str()) => within = of,
            _ => {
                let reason = format!("{so_far} is merged as a whole: name {so_far} itself");
                return Err(Refusal::invalid(reason));
            }
        }
    }
    Ok(is_list)
}

/// The element `name` of a resource type, a datatype or a part.
pub(super) fn part(of: &str, name: &str) -> Option<Element<'static>> {
    elements(of).find(|element| element.name == name)
}

fn no_such<'t>(within: &str, name: &str, known: impl Iterator<Item = &'t str>) -> Refusal {
    let near = nearest(name, known);
    let near = near.map_or(String::new(), |near| format!(": did you mean {within}.{near}?"));
    Refusal::invalid(format!("there is no {within}.{name}{near}"))
}

/// The resource types of the table.
fn types() -> impl Iterator<Item = &'static str> {
    let resources = TABLE.lines().skip_while(|line| *line != "## Resources").skip(1);
    let resources = resources.take_while(|line| !line.starts_with('#'));
    resources.filter_map(|line| line.split(' ').next()).filter(|name| !name.contains('.'))
}

/// The elements of a resource type, a datatype or a part.
fn elements(of: &str) -> impl Iterator<Item = Element<'static>> {
    let own = line(of);
    let base = match own.is_some() {
        true if types().any(|kind| kind == of) => line("Resource"),
        true => line("Element"),
        false => None,
    };
    let part = of.contains('.').then_some("modifierExtension:Extension*");
    let of = of.to_owned();
    let words = own.into_iter().chain(base).flat_map(|words| words.split(' ')).chain(part);
    words.filter(|word| !word.is_empty()).map(move |word| element(&of, word))
}

/// What stands after a type's name in its line.
fn line(of: &str) -> Option<&'static str> {
    TABLE.lines().find_map(|line| {
        let rest = line.strip_prefix(of)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
    })
}

fn element(within: &str, word: &'static str) -> Element<'static> {
    let (word, is_list) = match word.strip_suffix('*') {
        Some(word) => (word, true),
        None => (word, false),
    };
    match word.split_once(':') {
        None => Element { name: word, of: None, is_list },
        Some((name, ".")) => Element { name, of: Some(format!("{within}.{name}")), is_list },
        Some((name, of)) => Element { name, of: Some(of.to_owned()), is_list },
    }
}

/// The name that is written most like `name`; a choice is meant by each of its types.
fn nearest<'t>(name: &str, known: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    known.min_by_key(|known| {
        let stem = known.strip_suffix("[x]");
        if stem.is_some_and(|stem| !stem.is_empty() && name.starts_with(stem)) {
            return 0;
        }
        distance(&name.to_lowercase(), &known.to_lowercase())
    })
}

/// In how many steps one text becomes the other: a letter more, less, another, or two swapped.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(100).collect();
    let other: Vec<char> = other.chars().take(100).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let same = usize::from(one[i - 1] != other[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}
