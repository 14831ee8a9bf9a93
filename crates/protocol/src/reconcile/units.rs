//! Which members of an object are one element: a choice (`valueQuantity` and `valueString` are
//! both `value[x]`), a list of primitives with its extensions (`given` and `_given` go by
//! position), and members that say something only together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::merge::{Three, Value};
use crate::json::{Object, Text};

/// A member of an object in its three states.
pub(super) struct Member<'t> {
    pub(super) key: &'t Text<'t>,
    pub(super) name: Cow<'t, str>,
    pub(super) states: Three<Value<'t>>,
}

/// Members that are one element, and its name in paths.
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) members: Vec<usize>,
}

/// The elements of an object that have several members.
#[derive(Default)]
pub(super) struct Units {
    pub(super) all: Vec<Unit>,
    /// Which of `all` a member is a part of, by the member's place.
    pub(super) of: BTreeMap<usize, usize>,
}

/// Members that say something only together, in objects of a type or at an element.
struct Together {
    /// `resourceType` or element name of the object; empty for any.
    within: &'static [&'static str],
    /// The name in paths, which is a member as well: `x[x]` stands for every type of a choice.
    name: &'static str,
    with: &'static [&'static str],
}

const TOGETHER: &[Together] = &[
    // `H` was said of the value that one side replaced; a value and a reason for having none
    // exclude each other.
    Together {
        within: &["Observation", "component"],
        name: "value[x]",
        with: &["dataAbsentReason", "interpretation"],
    },
    // A number is one only in its system.
    Together { within: &["identifier", "telecom"], name: "value", with: &["system"] },
    // The reason was given for that status.
    Together { within: &[], name: "status", with: &["statusReason", "statusReason[x]"] },
];

/// FHIR's datatypes as they stand at the end of a choice's name.
const CHOICE_TYPES: &[&str] = &[
    "Address",
    "Age",
    "Annotation",
    "Attachment",
    "Base64Binary",
    "Boolean",
    "Canonical",
    "Code",
    "CodeableConcept",
    "Coding",
    "ContactDetail",
    "ContactPoint",
    "Contributor",
    "Count",
    "DataRequirement",
    "Date",
    "DateTime",
    "Decimal",
    "Distance",
    "Dosage",
    "Duration",
    "Expression",
    "HumanName",
    "Id",
    "Identifier",
    "Instant",
    "Integer",
    "Markdown",
    "Meta",
    "Money",
    "Oid",
    "ParameterDefinition",
    "Period",
    "PositiveInt",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "RelatedArtifact",
    "SampledData",
    "Signature",
    "String",
    "Time",
    "Timing",
    "TriggerDefinition",
    "UnsignedInt",
    "Uri",
    "Url",
    "UsageContext",
    "Uuid",
];

/// The members of the three states: the parent's in its order, then what only the child has, then
/// what is only in base.
pub(super) fn members<'t>(states: Three<Option<&'t Object<'t>>>) -> Vec<Member<'t>> {
    let mut members: Vec<Member<'t>> = Vec::new();
    let mut places: BTreeMap<Cow<'t, str>, usize> = BTreeMap::new();
    for (slot, object) in [(1, states.parent), (2, states.child), (0, states.base)] {
        for (key, value) in object.into_iter().flat_map(Object::iter) {
            let place = *places.entry(key.decode()).or_insert_with(|| {
                let states = Three { base: None, parent: None, child: None };
                members.push(Member { key, name: key.decode(), states });
                members.len() - 1
            });
            *members[place].states.slot(slot) = Some(value);
        }
    }
    members
}

/// The elements of more than one member. Only members that differ between the states are grouped:
/// the others are nobody's change.
pub(super) fn units(within: &[&str], members: &[Member<'_>]) -> Units {
    let differing: Vec<usize> =
        (0..members.len()).filter(|&place| members[place].states.differ()).collect();
    let mut units = Units::default();
    if differing.len() < 2 {
        return units;
    }
    let choices = choices(members, &differing);
    let mut named: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for place in differing {
        let stem = choices.get(&place).copied();
        if let Some(name) = element_name(within, &members[place], stem) {
            named.entry(name).or_default().push(place);
        }
    }
    for (name, members) in named.into_iter().filter(|(_, members)| members.len() > 1) {
        units.of.extend(members.iter().map(|&place| (place, units.all.len())));
        units.all.push(Unit { name, members });
    }
    units
}

/// The name of the element that a member is a part of; `None` where it is one by itself.
fn element_name(within: &[&str], member: &Member<'_>, stem: Option<&str>) -> Option<String> {
    let plain = member.name.trim_start_matches('_');
    let own_stem = stem.or_else(|| choice(plain).map(|(stem, _)| stem));
    for together in TOGETHER {
        let here = together.within.is_empty() || within.iter().any(|w| together.within.contains(w));
        let is = |name: &str| match name.strip_suffix("[x]") {
            Some(stem) => own_stem == Some(stem),
            None => plain == name,
        };
        if here && (is(together.name) || together.with.iter().any(|name| is(name))) {
            return Some(together.name.to_owned());
        }
    }
    if let Some(stem) = stem {
        return Some(format!("{stem}[x]"));
    }
    let Three { base, parent, child } = member.states;
    let is_list = [base, parent, child].iter().flatten().any(|value| value.as_array().is_some());
    is_list.then(|| plain.to_owned())
}

/// The stems of the choices among the differing members, by the members' places. A stem is a
/// choice where several of its types occur and no state has two of them at once
/// (`instantiatesUri` and `instantiatesCanonical` may stand side by side).
fn choices<'m>(members: &'m [Member<'_>], differing: &[usize]) -> BTreeMap<usize, &'m str> {
    let mut stems: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    for &place in differing {
        if let Some((stem, datatype)) = choice(members[place].name.trim_start_matches('_')) {
            stems.entry(stem).or_default().push((place, datatype));
        }
    }
    let mut found = BTreeMap::new();
    for (stem, places) in stems {
        let several = places.iter().any(|(_, datatype)| *datatype != places[0].1);
        if several && !two_at_once(members, &places) {
            found.extend(places.iter().map(|(place, _)| (*place, stem)));
        }
    }
    found
}

/// Whether one state has members of two of these types.
fn two_at_once(members: &[Member<'_>], places: &[(usize, &str)]) -> bool {
    let in_state = |value: fn(&Three<Value<'_>>) -> bool| {
        let mut present =
            places.iter().filter(|(place, _)| value(&members[*place].states)).map(|(_, t)| t);
        let first = present.next();
        present.any(|datatype| Some(datatype) != first)
    };
    in_state(|states| states.base.is_some())
        || in_state(|states| states.parent.is_some())
        || in_state(|states| states.child.is_some())
}

/// Splits `valueQuantity` into `value` and `Quantity`.
pub(super) fn choice(name: &str) -> Option<(&str, &'static str)> {
    CHOICE_TYPES
        .iter()
        .filter_map(|datatype| Some((name.strip_suffix(datatype)?, *datatype)))
        .filter(|(stem, _)| stem.ends_with(|last: char| last.is_ascii_lowercase()))
        .max_by_key(|(_, datatype)| datatype.len())
}
