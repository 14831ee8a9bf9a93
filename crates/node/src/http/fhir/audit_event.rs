//! `AuditEvent`, for credentials that may read the audit: resources made of its rows, this site's
//! and those of the sites below. Read-only: nothing of this is a stored record.

use axum::http::StatusCode;
use protocol::{RecordRef, ResourceType, Timestamp};
use serde_json::{Value, json};
use store::{AuditEvent, EventFilter};

use super::answer::{Answer, BundleText};
use super::route::{Asked, Interaction};
use super::search::{Paging, links};
use super::{Call, params, query};
use crate::http::error::Failure;

/// Said in the CapabilityStatement, whose claims are of records.
pub(super) const DOCUMENTATION: &str = "With a credential of the scope administer: the audit of \
    this site and of the sites below, read-only; read, \
    and search by date (eq, ge, gt, le, lt), patient, entity (a record or \
     patient), agent (who did it) and action (R, U, D, E, or a word of the audit such as read, \
     search, change or sent), page by page. With any other credential AuditEvents are records \
     like others.";

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const DAY: i64 = 86_400_000;

/// One kind of row: FHIR's letter for what was done, and the code and name of DICOM's event.
struct Kind {
    letter: &'static str,
    code: &'static str,
    display: &'static str,
    words: &'static [&'static str],
}

const KINDS: [Kind; 5] = [
    Kind {
        letter: "R",
        code: "110110",
        display: "Patient Record",
        words: &[
            "read",
            "history",
            "timeline",
            "why",
            "conflict-read",
            "feed-read",
            "patient-fetch",
        ],
    },
    Kind {
        letter: "E",
        code: "110112",
        display: "Query",
        words: &["search", "patient-find", "audit-who"],
    },
    Kind { letter: "R", code: "110106", display: "Export", words: &["sent", "export", "backup"] },
    Kind { letter: "U", code: "110110", display: "Patient Record", words: &["change"] },
    Kind { letter: "D", code: "110110", display: "Patient Record", words: &["patient-purge"] },
];
/// Everything else.
const OTHER: Kind =
    Kind { letter: "E", code: "110100", display: "Application Activity", words: &[] };

fn kind_of(action: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.words.contains(&action)).unwrap_or(&OTHER)
}

/// Answers an administrator: a read or a search of AuditEvents, and nothing else.
pub(super) async fn answer(call: &Call<'_>, asked: &Asked) -> Result<Answer, Failure> {
    let is_event = asked.kind().is_ok_and(|kind| kind.name() == "AuditEvent");
    match asked.interaction {
        Interaction::Search if is_event => search(call).await,
        Interaction::Read if is_event => read(call, asked.record()?).await,
        _ => {
            let detail = "this credential is for administering the site: of /fhir it reads \
                          AuditEvent only";
            Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

async fn read(call: &Call<'_>, record: &RecordRef) -> Result<Answer, Failure> {
    let absent = || Failure::not_found(format!("{record} is not here"));
    let id = record.id().parse().map_err(|()| absent())?;
    let filter = EventFilter { id: Some(id), limit: 1, ..EventFilter::default() };
    let found = call.site.read(move |store| store.audit_events(&filter)).await?;
    let event = found.first().ok_or_else(absent)?;
    Ok(Answer::of(resource(event).to_string()))
}

async fn search(call: &Call<'_>) -> Result<Answer, Failure> {
    let paging = Paging::of(call)?;
    let mut filter = EventFilter::default();
    for (name, value) in &paging.rest {
        add(&mut filter, name, value, call.prefer.lenient)?;
    }
    filter.after = paging.page.as_deref().map(place).transpose()?;
    let count = usize::try_from(paging.count).unwrap_or(usize::MAX);
    // One more than is shown says whether there is another page.
    filter.limit = count.saturating_add(1);
    let mut events = call.site.read(move |store| store.audit_events(&filter)).await?;
    let more = events.len() > count;
    events.truncate(count);
    let last = events.last().filter(|_| more);
    let next = last.map(|last| format!("{}_{}", last.at.millis(), last.id));
    let links = links(call, "AuditEvent", next.as_deref());
    let mut bundle = BundleText::new("searchset", call.site.now(), None).links(&links);
    for event in &events {
        let url = format!("{}/AuditEvent/{}", call.base(), event.id);
        let mode = [("search", json!({"mode": "match"}))];
        bundle.entry(Some(&url), Some(&resource(event).to_string()), &mode);
    }
    Ok(Answer::of(bundle.finish()))
}

/// Where the page before ended.
fn place(text: &str) -> Result<(Timestamp, store::EventId), Failure> {
    let wrong = || Failure::bad_request("_page is not one that this server gave");
    let (at, id) = text.split_once('_').ok_or_else(wrong)?;
    let at = at.parse().map_err(|_| wrong())?;
    Ok((Timestamp::from_millis(at), id.parse().map_err(|()| wrong())?))
}

fn add(filter: &mut EventFilter, name: &str, value: &str, lenient: bool) -> Result<(), Failure> {
    let values = query::alternatives(value);
    // A token may have its system before it.
    let token = |value: &&str| value.rsplit('|').next().unwrap_or_default().to_owned();
    match name {
        "date" => return add_date(filter, value),
        "patient" | "entity" => {
            let [one] = &values[..] else {
                return Err(Failure::bad_request(format!("{name} takes one reference at a time")));
            };
            filter.about.push(reference(name, one)?);
        }
        "agent" => filter.actors.extend(values.iter().map(token)),
        "action" => add_actions(filter, &values.iter().map(token).collect::<Vec<_>>()),
        _ if lenient => {}
        _ => return Err(params::unknown(name, "a search of AuditEvent")),
    }
    Ok(())
}

/// FHIR's letters stand for all words of their kinds; `E` for everything that no kind has, too.
fn add_actions(filter: &mut EventFilter, wanted: &[String]) {
    let is_wanted =
        |kind: &Kind, word: &str| wanted.iter().any(|value| value == kind.letter || value == word);
    let words = || KINDS.iter().flat_map(|kind| kind.words.iter().map(move |word| (kind, *word)));
    if wanted.iter().any(|value| value == OTHER.letter) {
        let others = words().filter(|(kind, word)| !is_wanted(kind, word));
        filter.not_actions.extend(others.map(|(_, word)| word.to_owned()));
        return;
    }
    let of_letters = words().filter(|(kind, word)| is_wanted(kind, word));
    filter.actions.extend(of_letters.map(|(_, word)| word.to_owned()));
    filter.actions.extend(wanted.iter().cloned());
}

fn reference(name: &str, text: &str) -> Result<RecordRef, Failure> {
    let wrong = || Failure::bad_request(format!("{name} must be a reference such as Patient/ID"));
    if name == "patient" && !text.contains('/') {
        return RecordRef::new(ResourceType::PATIENT, text).map_err(|_| wrong());
    }
    let mut parts = text.rsplit('/');
    let (id, kind) = (parts.next().ok_or_else(wrong)?, parts.next().ok_or_else(wrong)?);
    format!("{kind}/{id}").parse().map_err(|_| wrong())
}

/// A day, or an instant, with a prefix: narrows what was asked for before.
fn add_date(filter: &mut EventFilter, value: &str) -> Result<(), Failure> {
    let wrong = || {
        Failure::bad_request(
            "date must be a day or an instant, with eq, ge, gt, le or lt before it: ge2026-11-23",
        )
    };
    let is_prefix = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    let (prefix, text) = match value.get(..2).filter(is_prefix) {
        Some(prefix) => (prefix, &value[2..]),
        None => ("eq", value),
    };
    let is_day = text.len() == 10;
    let whole = if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let low: Timestamp = whole.parse().map_err(|_| wrong())?;
    let high = low.plus_millis(if is_day { DAY } else { 1 });
    let (since, until) = match prefix {
        "eq" => (Some(low), Some(high)),
        "ge" => (Some(low), None),
        "gt" => (Some(high), None),
        "le" => (None, Some(high)),
        "lt" => (None, Some(low)),
        _ => return Err(wrong()),
    };
    filter.since = filter.since.max(since);
    filter.until = match (filter.until, until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Ok(())
}

/// A row as a resource.
pub(super) fn resource(event: &AuditEvent) -> Value {
    let kind = kind_of(&event.action);
    let identifier = |system: &str, value: &str| {
        let system = format!("urn:tributary:{system}");
        json!({"identifier": {"system": system, "value": value}})
    };
    let refused = event.action.contains("denied") || event.action.contains("refused");
    let mut told = json!({
        "resourceType": "AuditEvent",
        "id": event.id.to_string(),
        "type": {"system": DCM, "code": kind.code, "display": kind.display},
        "subtype": [{"system": "urn:tributary:audit-action", "code": event.action}],
        "action": kind.letter,
        "recorded": event.at.to_string(),
        "outcome": if refused { "4" } else { "0" },
        "agent": [{
            "who": identifier("actor", &event.actor), "altId": event.actor, "requestor": true,
        }],
        "source": {
            "site": event.site.as_str(), "observer": identifier("site", event.site.as_str()),
        },
    });
    if !event.detail.is_empty() {
        told["outcomeDesc"] = event.detail.as_str().into();
    }
    if !event.about.is_empty() {
        told["entity"] = event.about.iter().map(entity).collect();
    }
    told
}

fn entity(name: &RecordRef) -> Value {
    let (kind, role) = if name.is_patient() { ("1", "1") } else { ("2", "4") };
    json!({
        "what": {"reference": name.to_string()},
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": kind},
        "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": role},
    })
}
