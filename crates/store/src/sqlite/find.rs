//! Looking for a patient who may be anybody's, in a child's name: few, and just enough of each to
//! recognise a person.

use protocol::resource::search::{Param, SearchValue};
use protocol::visit::{PatientHit, Seen, Wanted};
use protocol::{Author, RecordRef, ResourceType, SiteId, Timestamp, json};
use rusqlite::{Connection, OptionalExtension, params};

use super::asks::{self, Ask};
use super::records::body_text;
use super::{SqliteStore, search};
use crate::{
    Asked, DatePrefix, PatientsFound, Result, Scope, SearchFilter, SearchOrder, SearchQuery,
    SearchTest,
};

/// As deep as any limit ever allowed.
const DEPTH: usize = 1_000;

pub(super) fn patient_find(
    store: &SqliteStore,
    wanted: &Wanted,
    child: &SiteId,
    author: &Author,
    now: Timestamp,
) -> Result<Asked<PatientsFound>> {
    store.write("look for a patient", |step| {
        if !asks::may_ask(store, step, child, now)? {
            return Ok(Asked::TooOften);
        }
        let found = find(store, step, wanted, child)?;
        let shown = found.patients.iter().map(|hit| hit.patient.to_string()).collect::<Vec<_>>();
        let subject = if shown.is_empty() { "nobody".to_owned() } else { shown.join(" ") };
        let detail = format!("{}; by {}", wanted.manner(), author.as_str());
        let ask = Ask { child, action: "patient-find", subject, detail };
        asks::note(step, &ask, now)?;
        Ok(Asked::Answered(found))
    })
}

fn find(
    store: &SqliteStore,
    step: &Connection,
    wanted: &Wanted,
    child: &SiteId,
) -> Result<PatientsFound> {
    let query = SearchQuery {
        kind: Some(ResourceType::PATIENT),
        filters: filters(wanted),
        order: SearchOrder::UpdatedDescending,
        limit: store.options.limits.find_hits,
        ..SearchQuery::default()
    };
    let page = search::run(step, &query, &Scope::Everything)?;
    let mut patients = Vec::with_capacity(page.records.len());
    for record in &page.records {
        let Some(mut hit) = of_patient(step, &record.reference)? else { continue };
        hit.last_seen = last_seen(step, &record.reference)?;
        hit.held = is_held(step, child, &record.reference)?;
        patients.push(hit);
    }
    Ok(PatientsFound { patients, more: page.next.is_some() })
}

fn filters(wanted: &Wanted) -> Vec<SearchFilter> {
    let filter = |param, test| SearchFilter { param, any: vec![test] };
    match wanted {
        Wanted::Identifier { system: Some(system), value } => {
            vec![filter(Param::Identifier, SearchTest::Is(SearchValue::token(system, value)))]
        }
        Wanted::Identifier { system: None, value } => {
            vec![filter(Param::Identifier, SearchTest::Code(value.clone()))]
        }
        Wanted::Person { words, sex, born: (low, high) } => {
            // Two dates may be the same day where their spans touch: one of them, or both, may be
            // no more than a year.
            let starts = SearchTest::Date {
                prefix: DatePrefix::Lt,
                low: high.saturating_add(1),
                high: *high,
            };
            let ends =
                SearchTest::Date { prefix: DatePrefix::Gt, low: *low, high: low.saturating_sub(1) };
            let words = words
                .iter()
                .map(|word| filter(Param::Name, SearchTest::Is(SearchValue::text(word))));
            words
                .chain([
                    filter(Param::Gender, SearchTest::Code(sex.clone())),
                    filter(Param::Birthdate, starts),
                    filter(Param::Birthdate, ends),
                ])
                .collect()
        }
    }
}

/// The present body of a record.
fn body(step: &Connection, name: &RecordRef) -> Result<Option<String>> {
    let found = step
        .prepare_cached(
            "SELECT v.body FROM record AS r
             CROSS JOIN version AS v ON v.record = r.key AND v.sequence = r.sequence
             WHERE r.type = ?1 AND r.id = ?2",
        )?
        .query_row(params![name.kind.name(), name.id()], |row| Ok(body_text(row, 0)))
        .optional()?;
    Ok(found.transpose()?.flatten())
}

/// What a patient's record says of the person; `None` where it is not there or deleted.
pub(super) fn of_patient(step: &Connection, patient: &RecordRef) -> Result<Option<PatientHit>> {
    let Some(text) = body(step, patient)? else { return Ok(None) };
    let resource = json::parse(text.as_bytes(), DEPTH)?;
    let mut hit = PatientHit::of(patient.clone(), &resource);
    if let Some(manager) = PatientHit::unnamed_manager(&resource)
        && let Some(name) = name_of(step, &manager)?
    {
        hit.managed_by = Some(name);
    }
    Ok(Some(hit))
}

/// The name that a place or an organization gives itself.
fn name_of(step: &Connection, place: &RecordRef) -> Result<Option<String>> {
    if !place.kind.is_reference() {
        return Ok(None);
    }
    let Some(text) = body(step, place)? else { return Ok(None) };
    let resource = json::parse(text.as_bytes(), DEPTH)?;
    Ok(resource.str_at("name").map(|name| name.into_owned()))
}

/// The patient's newest encounter, by when this site heard of it.
fn last_seen(step: &Connection, patient: &RecordRef) -> Result<Option<Seen>> {
    let query = SearchQuery {
        kind: Some(ResourceType::ENCOUNTER),
        patients: Some(vec![patient.clone()]),
        order: SearchOrder::UpdatedDescending,
        limit: 1,
        ..SearchQuery::default()
    };
    let page = search::run(step, &query, &Scope::Everything)?;
    let Some(text) = page.records.first().and_then(|record| record.body.as_deref()) else {
        return Ok(None);
    };
    let (mut seen, place) = Seen::of(&json::parse(text.as_bytes(), DEPTH)?);
    if let Some(place) = place
        && let Some(name) = name_of(step, &place)?
    {
        seen.place = Some(name);
    }
    Ok(Some(seen))
}

fn is_held(step: &Connection, child: &SiteId, patient: &RecordRef) -> Result<bool> {
    Ok(step
        .prepare_cached(
            "SELECT 1 FROM patient AS p
             CROSS JOIN cohort_patient AS m ON m.patient = p.key AND m.\"left\" IS NULL
             CROSS JOIN child_cohort AS c ON c.feed = m.feed AND c.site = ?1
             WHERE p.id = ?2",
        )?
        .exists(params![child.as_str(), patient.id()])?)
}
