//! The search parameters that this API has, on which types, and how their values are read: one
//! table for searches, for conditional writes and for the CapabilityStatement.

use axum::http::StatusCode;
use protocol::resource::compartment::has_patient;
use protocol::resource::search::{Param, SearchValue, has_param};
use protocol::{RecordRef, ResourceType, Timestamp};
use store::{DatePrefix, SearchFilter, SearchQuery, SearchTest};

use super::query::{alternatives, at_bar, unescape};
use crate::http::error::Failure;

/// One search parameter.
#[derive(Debug)]
pub(super) struct SearchParam {
    /// Its name in a URL.
    pub(super) name: &'static str,
    /// Its FHIR type.
    pub(super) kind: &'static str,
    meaning: Meaning,
    /// For people who read the CapabilityStatement.
    pub(super) documentation: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Id,
    Updated,
    Patient,
    Index(Param),
}

const fn row(
    name: &'static str,
    kind: &'static str,
    meaning: Meaning,
    documentation: &'static str,
) -> SearchParam {
    SearchParam { name, kind, meaning, documentation }
}

/// All of them.
#[rustfmt::skip]
pub(super) const SEARCH_PARAMS: [SearchParam; 13] = [
    row("_id", "token", Meaning::Id, "The record's id"),
    row("_lastUpdated", "date", Meaning::Updated,
        "When this site recorded the current version; prefixes eq, lt, le, gt, ge"),
    row("identifier", "token", Meaning::Index(Param::Identifier), "system|value, |value or value"),
    row("name", "string", Meaning::Index(Param::Name),
        "Any part of any name, by its beginning; :exact"),
    row("family", "string", Meaning::Index(Param::Family), "By its beginning; :exact"),
    row("given", "string", Meaning::Index(Param::Given), "By its beginning; :exact"),
    row("birthdate", "date", Meaning::Index(Param::Birthdate),
        "Prefixes eq, ne, lt, le, gt, ge"),
    row("gender", "token", Meaning::Index(Param::Gender), "The code"),
    row("patient", "reference", Meaning::Patient,
        "Whose compartment the record is in: an id or Patient/id"),
    row("subject", "reference", Meaning::Patient,
        "Like patient: subjects that are no patients cannot be searched for"),
    row("encounter", "reference", Meaning::Index(Param::Encounter), "An id or Encounter/id"),
    row("date", "date", Meaning::Index(Param::Date),
        "The clinical date of the type; prefixes eq, ne, lt, le, gt, ge"),
    row("code", "token", Meaning::Index(Param::Code), "system|code, |code or code"),
];

impl SearchParam {
    /// Whether records of this type can be found by it.
    pub(super) fn is_of(&self, kind: ResourceType) -> bool {
        match self.meaning {
            Meaning::Id | Meaning::Updated => true,
            Meaning::Patient => has_patient(kind) && kind != ResourceType::PATIENT,
            Meaning::Index(param) => has_param(kind, param),
        }
    }
}

/// Adds one parameter of a search of a type. `Ok(false)`: the type has no such parameter.
pub(super) fn add(
    query: &mut SearchQuery,
    kind: ResourceType,
    name: &str,
    value: &str,
) -> Result<bool, Failure> {
    let (plain, modifier) = match name.split_once(':') {
        Some((plain, modifier)) => (plain, Some(modifier)),
        None => (name, None),
    };
    let known = SEARCH_PARAMS.iter().find(|param| param.name == plain && param.is_of(kind));
    let Some(param) = known else { return Ok(false) };
    check_modifier(param, modifier)?;
    if value.is_empty() {
        return Err(bad_value(plain, "has no value"));
    }
    match param.meaning {
        Meaning::Id => {
            let ids = alternatives(value).into_iter().map(unescape).collect();
            query.ids = Some(both(query.ids.take(), ids));
        }
        Meaning::Updated => add_updated(&mut query.updated, value)?,
        Meaning::Patient => {
            let some = alternatives(value);
            let patients = some.iter().map(|one| reference(plain, one, ResourceType::PATIENT));
            let patients = patients.collect::<Result<_, _>>()?;
            query.patients = Some(both(query.patients.take(), patients));
        }
        Meaning::Index(index) => {
            let any = alternatives(value)
                .into_iter()
                .map(|one| test(param, index, modifier, one))
                .collect::<Result<_, _>>()?;
            query.filters.push(SearchFilter { param: index, any });
        }
    }
    Ok(true)
}

/// What stands in both lists: a parameter that is given twice has to match twice.
fn both<T: PartialEq>(before: Option<Vec<T>>, mut now: Vec<T>) -> Vec<T> {
    if let Some(before) = before {
        now.retain(|one| before.contains(one));
    }
    now
}

fn check_modifier(param: &SearchParam, modifier: Option<&str>) -> Result<(), Failure> {
    let understood = match (modifier, param.kind) {
        (None, _) | (Some("exact"), "string") => true,
        (Some(target), "reference") => match param.meaning {
            Meaning::Patient => target == "Patient",
            _ => target == "Encounter",
        },
        _ => false,
    };
    if understood {
        return Ok(());
    }
    Err(not_supported(format!(
        "the modifier or chain after `{}` in the search is not supported",
        param.name
    )))
}

fn test(
    param: &SearchParam,
    index: Param,
    modifier: Option<&str>,
    value: &str,
) -> Result<SearchTest, Failure> {
    Ok(match param.kind {
        "date" => {
            let (prefix, low, high) = date(param.name, value)?;
            SearchTest::Date { prefix, low, high }
        }
        "string" => match (modifier, SearchValue::text(&unescape(value))) {
            (Some(_), SearchValue::Text(text)) => SearchTest::Exact(text),
            (_, text) => SearchTest::Is(text),
        },
        "reference" => {
            let record = reference(param.name, value, ResourceType::ENCOUNTER)?;
            SearchTest::Is(SearchValue::Reference(record))
        }
        _ => token(param.name, index, value)?,
    })
}

fn token(name: &str, index: Param, value: &str) -> Result<SearchTest, Failure> {
    match at_bar(value) {
        Some((_, "")) => Err(not_supported(format!(
            "`{name}` with a system and no code (`system|`) is not supported"
        ))),
        // Administrative gender is a code of one system, which resources do not write.
        Some((_, code)) if index == Param::Gender => Ok(code_in_any_system(code)),
        Some((system, code)) => {
            Ok(SearchTest::Is(SearchValue::token(&unescape(system), &unescape(code))))
        }
        None => Ok(code_in_any_system(value)),
    }
}

fn code_in_any_system(value: &str) -> SearchTest {
    match SearchValue::token("", &unescape(value)) {
        SearchValue::Token { code, .. } => SearchTest::Code(code),
        other => SearchTest::Is(other),
    }
}

/// `id`, `Type/id`, or the latter at the end of a URL.
fn reference(name: &str, value: &str, kind: ResourceType) -> Result<RecordRef, Failure> {
    let value = unescape(value);
    let mut parts = value.rsplit('/');
    let id = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or(kind.name());
    if target != kind.name() {
        return Err(bad_value(name, &format!("can name a {kind} only")));
    }
    RecordRef::new(kind, id).map_err(|refusal| bad_value(name, &refusal.reason))
}

/// Narrows the time of recording.
pub(super) fn add_updated(
    updated: &mut (Option<Timestamp>, Option<Timestamp>),
    value: &str,
) -> Result<(), Failure> {
    let (prefix, low, high) = date("_lastUpdated", value)?;
    let (from, to) = match prefix {
        DatePrefix::Eq => (Some(low), Some(high)),
        DatePrefix::Ge => (Some(low), None),
        DatePrefix::Gt => (Some(high.saturating_add(1)), None),
        DatePrefix::Le => (None, Some(high)),
        DatePrefix::Lt => (None, Some(low.saturating_sub(1))),
        DatePrefix::Ne => {
            return Err(not_supported("the prefix ne is not supported on `_lastUpdated`"));
        }
    };
    let (from, to) = (from.map(Timestamp::from_millis), to.map(Timestamp::from_millis));
    updated.0 = updated.0.max(from);
    updated.1 = match (updated.1, to) {
        (Some(before), Some(to)) => Some(before.min(to)),
        (before, to) => before.or(to),
    };
    Ok(())
}

/// A prefix, and the first and last millisecond of the date after it.
fn date(name: &str, value: &str) -> Result<(DatePrefix, i64, i64), Failure> {
    let (prefix, rest) = match value.get(..2) {
        Some("eq") => (DatePrefix::Eq, &value[2..]),
        Some("ne") => (DatePrefix::Ne, &value[2..]),
        Some("lt") => (DatePrefix::Lt, &value[2..]),
        Some("le") => (DatePrefix::Le, &value[2..]),
        Some("gt") => (DatePrefix::Gt, &value[2..]),
        Some("ge") => (DatePrefix::Ge, &value[2..]),
        Some("sa" | "eb" | "ap") => {
            return Err(not_supported(format!("`{name}` has a prefix that is not supported")));
        }
        _ => (DatePrefix::Eq, value),
    };
    match SearchValue::date(rest) {
        Some(SearchValue::Date { low, high }) => Ok((prefix, low, high)),
        _ => Err(bad_value(name, "is not a date of FHIR, for example 2026-11 or ge2026")),
    }
}

/// The parameter is not one of these; names it, as far as its name can be repeated safely.
pub(super) fn unknown(name: &str, place: &str) -> Failure {
    let plain: String = name
        .chars()
        .take(40)
        .map(|c| if c.is_ascii_alphanumeric() || "_-:.$".contains(c) { c } else { '?' })
        .collect();
    Failure::new(
        StatusCode::BAD_REQUEST,
        "not-supported",
        format!(
            "`{plain}` is not a parameter of {place} on this server (see metadata); \
             Prefer: handling=lenient leaves out what is unknown"
        ),
    )
}

fn bad_value(name: &str, what: &str) -> Failure {
    Failure::bad_request(format!("the value of the parameter `{name}` {what}"))
}

pub(super) fn not_supported(detail: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "not-supported", detail)
}
