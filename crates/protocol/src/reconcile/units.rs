//! Which members of an object are one element: a choice (`valueQuantity` and `valueString` are
//! both `value[x]`), a list of primitives with its extensions (`given` and `_given` go by
//! position), and members that say something only together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::merge::{Three, Value};
use super::rules::FINAL_VALUES;
use crate::json::{Json, Object, Text};

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
    /// The clinical rule that makes them one.
    pub(super) rule: Option<&'static str>,
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
    /// The clinical rule that says so: then the members are one element also where only one of
    /// them differs.
    rule: Option<&'static str>,
}

/// What `within` says of an Observation whose value somebody has signed.
const FINAL: &str = "final Observation";

const TOGETHER: &[Together] = &[
    // A result that was signed is what one person or device measured, whole.
    Together {
        within: &[FINAL],
        name: "value[x]",
        with: &[
            "component",
            "dataAbsentReason",
            "interpretation",
            "referenceRange",
            "code",
            "effective[x]",
        ],
        rule: Some(FINAL_VALUES),
    },
    // `H` was said of the value that one side replaced; a value and a reason for having none
    // exclude each other.
    Together {
        within: &["Observation", "component"],
        name: "value[x]",
        with: &["dataAbsentReason", "interpretation"],
        rule: None,
    },
    // A number is one only in its system.
    Together { within: &["identifier", "telecom"], name: "value", with: &["system"], rule: None },
    // The reason was given for that status.
    Together {
        within: &[],
        name: "status",
        with: &["statusReason", "statusReason[x]"],
        rule: None,
    },
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
    // Made when the states are not in one order: mostly they are.
    let mut places: Option<BTreeMap<Cow<'t, str>, usize>> = None;
    for (slot, object) in [(1, states.parent), (2, states.child), (0, states.base)] {
        let mut expected = 0;
        for (key, value) in object.into_iter().flat_map(Object::iter) {
            let in_order = members.get(expected).is_some_and(|member| member.key == key);
            let found = match in_order {
                true => Some(expected),
                false if slot == 1 => None,
                false => {
                    let places = places.get_or_insert_with(|| by_name(&members));
                    places.get(&key.decode()).copied()
                }
            };
            let place = found.unwrap_or_else(|| {
                let states = Three { base: None, parent: None, child: None };
                members.push(Member { key, name: key.decode(), states });
                if let Some(places) = &mut places {
                    places.insert(key.decode(), members.len() - 1);
                }
                members.len() - 1
            });
            *members[place].states.slot(slot) = Some(value);
            expected = place + 1;
        }
    }
    members
}

fn by_name<'t>(members: &[Member<'t>]) -> BTreeMap<Cow<'t, str>, usize> {
    members.iter().enumerate().map(|(place, member)| (member.key.decode(), place)).collect()
}

/// What an object is to `TOGETHER`: the element that it stands at, its resource type, and whether
/// it is an Observation that is final in one of its states.
pub(super) fn within<'t>(name: &'t str, states: Three<Option<&'t Object<'t>>>) -> Vec<&'t str> {
    let all = [states.parent, states.child, states.base];
    let is = |object: &Object<'_>, key, texts: &[&str]| {
        let text = object.get(key).and_then(Json::as_str);
        text.is_some_and(|text| texts.contains(&&*text))
    };
    let any = |key, texts: &[&str]| all.iter().flatten().any(|object| is(object, key, texts));
    let mut within = vec![name];
    if any("resourceType", &["Observation"]) {
        within.push("Observation");
        if any("status", &["final", "amended", "corrected"]) {
            within.push(FINAL);
        }
    }
    within
}

/// The elements of more than one member. Only members that differ between the states are grouped:
/// the others are nobody's change.
pub(super) fn units(within: &[&str], members: &[Member<'_>]) -> Units {
    let differing: Vec<usize> =
        (0..members.len()).filter(|&place| members[place].states.differ()).collect();
    let mut units = Units::default();
    if differing.len() < 2 && !within.contains(&FINAL) {
        return units;
    }
    let choices = choices(members, &differing);
    let mut named: BTreeMap<(String, Option<&'static str>), Vec<usize>> = BTreeMap::new();
    for place in differing {
        let stem = choices.get(&place).copied();
        if let Some(name) = element_name(within, &members[place], stem) {
            named.entry(name).or_default().push(place);
        }
    }
    for ((name, rule), members) in named {
        if members.len() > 1 || rule.is_some() {
            units.of.extend(members.iter().map(|&place| (place, units.all.len())));
            units.all.push(Unit { name, members, rule });
        }
    }
    units
}

/// The name of the element that a member is a part of, and the rule that says so; `None` where it
/// is one by itself.
fn element_name(
    within: &[&str],
    member: &Member<'_>,
    stem: Option<&str>,
) -> Option<(String, Option<&'static str>)> {
    let plain = member.name.trim_start_matches('_');
    let own_stem = stem.or_else(|| choice(plain).map(|(stem, _)| stem));
    for together in TOGETHER {
        let here = together.within.is_empty() || within.iter().any(|w| together.within.contains(w));
        let is = |name: &str| match name.strip_suffix("[x]") {
            Some(stem) => own_stem == Some(stem),
            None => plain == name,
        };
        if here && (is(together.name) || together.with.iter().any(|name| is(name))) {
            return Some((together.name.to_owned(), together.rule));
        }
    }
    if let Some(stem) = stem {
        return Some((format!("{stem}[x]"), None));
    }
    let Three { base, parent, child } = member.states;
    let is_list = [base, parent, child].iter().flatten().any(|value| value.as_array().is_some());
    is_list.then(|| (plain.to_owned(), None))
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

/// Whether an element is a type of the choice with this stem: `valueQuantity` of `value`.
pub(super) fn is_type_of(element: &str, stem: &str) -> bool {
    element.strip_prefix(stem).is_some_and(|datatype| CHOICE_TYPES.contains(&datatype))
}

/// Splits `valueQuantity` into `value` and `Quantity`.
pub(super) fn choice(name: &str) -> Option<(&str, &'static str)> {
    CHOICE_TYPES
        .iter()
        .filter_map(|datatype| Some((name.strip_suffix(datatype)?, *datatype)))
        .filter(|(stem, _)| stem.ends_with(|last: char| last.is_ascii_lowercase()))
        .max_by_key(|(_, datatype)| datatype.len())
}
