//! Which items of three lists are states of one and the same thing.
//!
//! Items that are equal belong together. Of the rest, items with the same element id do, then
//! those with the same identity: identifiers by system and value, names by use and period, and
//! so on down the table. An identity that stands twice in one list says nothing about either.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::merge::{Three, Value};
use super::path;
use crate::json::Json;

/// The states of one thing: its indexes in base's, the parent's and the child's list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    pub(super) slots: [Option<usize>; 3],
}

impl Group {
    pub(super) fn states<'t>(&self, lists: Three<&'t [Json<'t>]>) -> Three<Value<'t>> {
        let [base, parent, child] = self.slots;
        Three {
            base: base.map(|index| &lists.base[index]),
            parent: parent.map(|index| &lists.parent[index]),
            child: child.map(|index| &lists.child[index]),
        }
    }
}

/// What identifies the items of a list: members by their paths, tried from the strictest pass to
/// the loosest.
struct Identity {
    lists: &'static [&'static str],
    passes: &'static [&'static [&'static str]],
    /// Whether an item that has none of the members is identified by that.
    or_none: bool,
}

const fn by(
    lists: &'static [&'static str],
    passes: &'static [&'static [&'static str]],
) -> Identity {
    Identity { lists, passes, or_none: false }
}

const PERSON: &[&str] = &["individual.reference", "actor.reference", "member.reference"];

#[rustfmt::skip]
const IDENTITIES: &[Identity] = &[
    by(&["identifier"], &[&["system", "value"]]),
    Identity {
        lists: &["name"],
        passes: &[&["use", "period.start", "period.end"], &["use"]],
        or_none: true,
    },
    by(&["telecom"], &[&["system", "value"]]),
    Identity {
        lists: &["address"],
        passes: &[&["use", "type", "period.start", "period.end"], &["use", "type"]],
        or_none: true,
    },
    by(&["extension", "modifierExtension"], &[&["url"]]),
    by(
        &["coding", "tag", "security", "securityLabel", "subtype", "modality"],
        &[&["system", "code"]],
    ),
    by(
        &["contact"],
        &[&["name.text", "name.family", "name.given"], &["relationship"], &["purpose"]],
    ),
    by(&["communication"], &[&[""], &["language"]]),
    by(&["link"], &[&["other.reference"], &["target.reference"]]),
    by(&["contained"], &[&["id"]]),
    // Who takes part, and as what: one person may do so in two ways.
    by(&["participant"], &[&[""], &["individual.reference", "actor.reference", "type"], PERSON]),
    by(&["performer"], &[&[""], &["actor.reference", "function"], &["actor.reference"]]),
    by(&["member"], &[&[""], &["entity.reference", "period.start"], &["entity.reference"]]),
    by(&["agent"], &[&["who.reference", "type", "role"], &["who.reference"]]),
    by(&["entity"], &[&["what.reference", "role"], &["what.reference"]]),
    by(&["attester"], &[&["mode", "party.reference"]]),
    by(&["actor"], &[&[""], &["reference.reference", "role"]]),
    // Where and in what state, one after the other: the same place or status comes again later.
    by(&["location"], &[&[""], &["location.reference", "period.start"], &["location.reference"]]),
    by(&["statusHistory"], &[&["status", "period.start"]]),
    by(&["classHistory"], &[&["class", "period.start"]]),
    // What was found: by what it is of.
    by(&["component"], &[&["code"]]),
    by(
        &["diagnosis"],
        &[&["condition.reference", "use", "role"], &["condition.reference"], &["sequence"]],
    ),
    by(&["evidence"], &[&["code"], &["detail"]]),
    by(&["stage"], &[&["type"], &["summary"]]),
    by(&["finding"], &[&["itemReference.reference", "itemCodeableConcept"]]),
    by(&["prediction"], &[&["outcome"]]),
    by(&["target"], &[&[""], &["measure", "dueDate"], &["measure"]]),
    by(&["activity"], &[&["reference.reference"], &["detail.code"]]),
    by(&["mitigation"], &[&["action", "date"]]),
    // Reactions to one substance at two times are two.
    by(&["reaction"], &[&["onset", "substance"], &["date", "detail.reference"]]),
    by(&["suspectEntity"], &[&["instance.reference"]]),
    by(&["causality"], &[&["author.reference"], &["method"]]),
    // A dose is the nth of its series against a disease.
    by(
        &["protocolApplied"],
        &[
            &["series", "targetDisease", "doseNumberPositiveInt", "doseNumberString"],
            &["series", "targetDisease"],
        ],
    ),
    by(&["recommendation"], &[&["vaccineCode", "targetDisease"]]),
    by(&["education"], &[&["documentType", "reference"]]),
    by(&["ingredient"], &[&["itemReference.reference", "itemCodeableConcept"]]),
    by(&["lensSpecification"], &[&["eye", "product"]]),
    by(&["prism"], &[&["base"]]),
    by(&["processing"], &[&["procedure", "timeDateTime", "timePeriod.start"]]),
    by(&["container"], &[&["identifier"], &["type"]]),
    by(&["focalDevice"], &[&["manipulated.reference"]]),
    // Images by the names that DICOM gave them, files by where they are.
    by(&["series", "instance"], &[&["uid"]]),
    by(&["media"], &[&["link.reference"]]),
    by(&["photo", "image", "presentedForm"], &[&["url"], &["hash"]]),
    by(&["content"], &[&["attachment.url", "format"], &["attachment.url"], &["attachment.hash"]]),
    by(&["payload"], &[&["contentReference.reference"]]),
    // A remark is known by who made it and when.
    by(&["note", "progress"], &[&["time", "authorReference.reference", "authorString"]]),
    by(&["entry"], &[&["item.reference"]]),
    by(&["section"], &[&["code"], &["title"]]),
    by(
        &["relatesTo"],
        &[&["code", "targetReference.reference", "target.reference", "targetIdentifier"]],
    ),
    by(&["related"], &[&["claim.reference"], &["ref.reference"], &["identifier"]]),
    by(&["relatedAction"], &[&["actionId", "relationship"]]),
    by(&["action"], &[&["code"], &["title"]]),
    // What is allowed is never put together from two: consent was given to one text or the other.
    by(&["provision"], &[]),
    by(&["policy"], &[&["uri"]]),
    by(&["verification"], &[&["verifiedWith.reference", "verificationDate"]]),
    by(&["data"], &[&["reference.reference"]]),
    by(&["parameter"], &[&["name"], &["code"]]),
    // Accounts: by the number that the rest of the claim refers to, else by whose it is.
    by(&["insurance"], &[&["sequence"], &["coverage.reference"]]),
    by(&["coverage"], &[&[""], &["coverage.reference"]]),
    by(&["guarantor"], &[&["party.reference"]]),
    by(&["careTeam"], &[&[""], &["sequence"], &["provider.reference"]]),
    by(&["item"], &[&["linkId"], &["sequence"], &["itemSequence"], &["category"]]),
    by(
        &["detail", "subDetail"],
        &[&[""], &["sequence"], &["detailSequence"], &["subDetailSequence"], &["type"]],
    ),
    by(&["processNote"], &[&["number"]]),
    by(&["class"], &[&["system", "code"], &["type"]]),
    by(&["nutrient"], &[&["modifier"]]),
    by(&["texture"], &[&["modifier", "foodType"]]),
    by(&["supplement"], &[&["type", "productName"]]),
    by(&["variant"], &[&["start", "end", "observedAllele"]]),
    by(&["repository"], &[&["type", "name", "url"]]),
];

/// Identity in lists that the table does not name: by what an item itself is (a Reference, a
/// CodeableConcept), else by the members that tell items apart in most of R4's lists.
const OTHERWISE: Identity = by(
    &[],
    &[
        &[""],
        &["linkId"],
        &["sequence"],
        &["condition.reference", "use"],
        &["actor.reference", "function"],
        &["code"],
        &["type"],
        &["category"],
    ],
);

/// Puts the items of three lists together. Every item is in exactly one group.
pub(super) fn groups<'t>(name: &str, lists: Three<&'t [Json<'t>]>) -> Vec<Group> {
    let items: [&[Json<'_>]; 3] = [lists.base, lists.parent, lists.child];
    let mut groups = by_content(items);
    let known = IDENTITIES.iter().find(|identity| identity.lists.contains(&name));
    let identity = known.unwrap_or(&OTHERWISE);
    join(&mut groups, |slot, index| items[slot][index].str_at("id").map(|id| id.into_owned()));
    for pass in identity.passes {
        join(&mut groups, |slot, index| key(&items[slot][index], pass, identity.or_none));
    }
    if known.is_none() && lists.base.len() == lists.parent.len() && items[0].len() == items[2].len()
    {
        // Nobody put in or took out one: what nothing identifies is the nth on all sides.
        join(&mut groups, |slot, index| {
            let item = &items[slot][index];
            let unidentified = identity.passes.iter().all(|pass| key(item, pass, false).is_none());
            unidentified.then(|| index.to_string())
        });
    }
    groups
}

/// Groups of equal items: the nth of its kind here is the nth of its kind there.
fn by_content(items: [&[Json<'_>]; 3]) -> Vec<Group> {
    // What all three begin with needs no telling apart: it is the nth of its kind in each.
    let [base, parent, child] = items;
    let same = |index: &usize| base[*index] == parent[*index] && base[*index] == child[*index];
    let shortest = base.len().min(parent.len()).min(child.len());
    let begin = (0..shortest).take_while(same).count();
    let mut groups: Vec<Group> =
        (0..begin).map(|index| Group { slots: [Some(index); 3] }).collect();
    let mut known: BTreeMap<(String, usize), usize> = BTreeMap::new();
    for (slot, list) in items.into_iter().enumerate() {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (index, item) in list.iter().enumerate().skip(begin) {
            let mut content = String::new();
            write_content(item, &mut content);
            let nth = seen.entry(content.clone()).or_default();
            *nth += 1;
            let place = *known.entry((content, *nth)).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            groups[place].slots[slot] = Some(index);
        }
    }
    groups
}

/// Appends a text that is the same for equal values only.
fn write_content(value: &Json<'_>, out: &mut String) {
    match value {
        Json::Object(object) => {
            out.push('{');
            for (key, value) in object.sorted() {
                key.write_canonical(out);
                out.push(':');
                write_content(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for item in items {
                write_content(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Json::String(text) => text.write_canonical(out),
        scalar => scalar.write(out),
    }
}

/// Joins groups that have a key in common, where no list has the key twice.
fn join(groups: &mut Vec<Group>, key: impl Fn(usize, usize) -> Option<String>) {
    let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate() {
        for (slot, index) in group.slots.iter().enumerate() {
            let Some(key) = index.and_then(|index| key(slot, index)) else { continue };
            match holders.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert(vec![place])),
                Entry::Occupied(mut entry) if entry.get().last() != Some(&place) => {
                    entry.get_mut().push(place);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    for places in holders.into_values().filter(|places| places.len() > 1) {
        let joined = places.iter().map(|&place| groups[place]).try_fold(Group::default(), together);
        if let Some(joined) = joined {
            for &place in &places[1..] {
                groups[place] = Group::default();
            }
            groups[places[0]] = joined;
        }
    }
    groups.retain(|group| group.slots.iter().any(Option::is_some));
}

/// Both in one, where they do not meet in a list.
fn together(mut one: Group, other: Group) -> Option<Group> {
    for (mine, theirs) in one.slots.iter_mut().zip(other.slots) {
        match (&mine, theirs) {
            (Some(_), Some(_)) => return None,
            (None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }
    Some(one)
}

/// The identity of an item by one pass of the table.
fn key(item: &Json<'_>, members: &[&str], or_none: bool) -> Option<String> {
    let mut key = String::new();
    let mut found = false;
    for member in members {
        let mut steps = member.split('.').filter(|step| !step.is_empty());
        if let Some(value) = steps.try_fold(item, |value, step| value.get(step)) {
            found |= write_key(value, &mut key);
        }
        key.push('\u{1f}');
    }
    (found || or_none).then_some(key)
}

/// Appends what a value is known by; `false` where there is no such thing.
fn write_key(value: &Json<'_>, out: &mut String) -> bool {
    let start = out.len();
    match value {
        Json::Object(_) => {
            if let Some(coding) = value.get("coding").and_then(|coding| coding.items().first()) {
                return write_key(coding, out);
            }
            let identifier = value.get("identifier").filter(|it| it.as_object().is_some());
            if let (None, Some(identifier)) = (value.get("reference"), identifier) {
                return write_key(identifier, out);
            }
            for member in ["reference", "system", "value", "code"] {
                if let Some(text) = value.str_at(member) {
                    out.push_str(&text);
                }
                out.push('\u{1e}');
            }
            if out[start..].chars().all(|c| c == '\u{1e}') {
                out.truncate(start);
                out.push_str(&value.str_at("text").unwrap_or_default());
            }
        }
        Json::Array(items) => {
            for item in items {
                write_key(item, out);
                out.push('\u{1e}');
            }
        }
        Json::String(text) => out.push_str(&text.decode()),
        scalar => scalar.write(out),
    }
    out.len() > start
}

/// How the items of a merged list are called in paths: by their labels, by their indexes where
/// they have none or share it.
pub(super) fn labels(
    name: &str,
    groups: &[Group],
    order: &[usize],
    lists: Three<&[Json<'_>]>,
) -> Vec<String> {
    let labels: Vec<Option<String>> = order
        .iter()
        .map(|&place| {
            let states = groups[place].states(lists);
            states.parent.or(states.child).and_then(|item| path::label(name, item))
        })
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for label in labels.iter().flatten() {
        *counts.entry(label).or_default() += 1;
    }
    let own = |label: &Option<String>| label.clone().filter(|label| counts[label.as_str()] == 1);
    let called = |(index, label): (usize, _)| own(label).unwrap_or_else(|| index.to_string());
    labels.iter().enumerate().map(called).collect()
}
