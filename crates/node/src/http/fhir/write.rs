//! Creating, updating and deleting records, with and without conditions. A request writes one
//! record, a transaction many; both first find out which record each write aims at.

use axum::http::StatusCode;
use protocol::conflict;
use protocol::feed::Action;
use protocol::json::{self, Json};
use protocol::resource::{Record, kind, with_id};
use protocol::{Limits, RecordRef, Refusal, ResourceType};
use store::{Draft, Expect, Recorded, Scope, SearchQuery, StoreError, Write, Written};

use super::answer::{Answer, all_well, with_meta};
use super::conditions::{Conditions, Return, Wanted};
use super::route::{Asked, Interaction};
use super::{Call, read, search};
use crate::http::error::Failure;
use crate::site::Site;

/// Times that a conditional write is worked out anew when somebody else was faster.
pub(super) const TRIES: u32 = 3;

/// Searches, with the records that they found when a write was worked out from them.
pub(super) type Searches = Vec<(SearchQuery, Vec<RecordRef>)>;

/// A write as it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteAsk<'a> {
    pub(super) asked: &'a Asked,
    pub(super) conditions: &'a Conditions,
    /// The criteria in the URL.
    pub(super) query: &'a [(String, String)],
    /// What was sent, where something has to be.
    pub(super) resource: Option<&'a Json<'a>>,
}

/// What a write comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Aim {
    /// This record is written (or deleted), if this is there.
    Write(RecordRef, Expect),
    /// The record that was to be created is there already.
    Found(RecordRef),
    /// There is nothing to delete.
    Nothing,
}

/// Any write of one record.
pub(super) async fn write(call: &Call<'_>, asked: &Asked) -> Result<Answer, Failure> {
    let limits = limits(call.site);
    let resource = match asked.interaction.takes_resource() {
        true => Some(json::parse(&call.resource, limits.json_depth)?),
        false => None,
    };
    let ask = WriteAsk {
        asked,
        conditions: &call.conditions,
        query: &call.query,
        resource: resource.as_ref(),
    };
    for _ in 0..TRIES {
        let mut searches = Searches::new();
        let (reference, expect) = match aim(call.site, ask, &[], &mut searches).await? {
            Aim::Write(reference, expect) => (reference, expect),
            Aim::Found(record) => return found_already(call, &record).await,
            Aim::Nothing => return Ok(gone(None)),
        };
        let record = record_of(&reference, resource.as_ref(), limits)?;
        let body = record.body.clone();
        match record_change(call, vec![Write { record, expect }], searches).await {
            Err(StoreError::Raced) => {}
            done => return written(call, done?, body.as_deref()),
        }
    }
    Err(StoreError::Raced.into())
}

/// Finds out which record a write aims at. `leaving`: records that the same transaction deletes,
/// which conditions do not match any more.
pub(super) async fn aim(
    site: &Site,
    ask: WriteAsk<'_>,
    leaving: &[RecordRef],
    searches: &mut Searches,
) -> Result<Aim, Failure> {
    let of = ask.asked.kind()?;
    if let Some(resource) = ask.resource {
        check_type(resource, of)?;
    }
    match ask.asked.interaction {
        Interaction::Create => match &ask.conditions.if_none_exist {
            None => Ok(Aim::Write(new_record(site, of)?, Expect::Absent)),
            Some(criteria) => {
                let query = search::criteria(of, criteria, limits(site))?;
                match only_match(site, query, leaving, searches, "If-None-Exist").await? {
                    Some(one) => Ok(Aim::Found(one)),
                    None => Ok(Aim::Write(new_record(site, of)?, Expect::Absent)),
                }
            }
        },
        Interaction::Update => {
            let record = ask.asked.record()?;
            check_id(ask.resource, record)?;
            Ok(Aim::Write(record.clone(), expected(site, ask.conditions, record).await?))
        }
        Interaction::UpdateWhere => {
            let query = search::conditional(of, ask.query, limits(site))?;
            match only_match(site, query, leaving, searches, "the conditional update").await? {
                Some(one) => {
                    if ask.resource.is_some_and(|resource| resource.get("id").is_some()) {
                        check_id(ask.resource, &one)?;
                    }
                    let expect = expected(site, ask.conditions, &one).await?;
                    Ok(Aim::Write(one, expect))
                }
                None => match ask.resource.and_then(|resource| resource.str_at("id")) {
                    Some(own) => Ok(Aim::Write(RecordRef::new(of, &own)?, Expect::Absent)),
                    None => Ok(Aim::Write(new_record(site, of)?, Expect::Absent)),
                },
            }
        }
        Interaction::Delete => deletion(site, ask.conditions, ask.asked.record()?.clone()).await,
        Interaction::DeleteWhere => {
            let query = search::conditional(of, ask.query, limits(site))?;
            match only_match(site, query, leaving, searches, "the conditional delete").await? {
                Some(one) => deletion(site, ask.conditions, one).await,
                None => Ok(Aim::Nothing),
            }
        }
        _ => Err(Failure::bad_request("this is no write")),
    }
}

/// What never was here gets no version for having been deleted.
async fn deletion(site: &Site, conditions: &Conditions, record: RecordRef) -> Result<Aim, Failure> {
    let expect = expected(site, conditions, &record).await?;
    if expect == Expect::Any && current(site, &record).await?.is_none() {
        return Ok(Aim::Nothing);
    }
    Ok(Aim::Write(record, expect))
}

/// What must be there for the write of this record.
async fn expected(
    site: &Site,
    conditions: &Conditions,
    record: &RecordRef,
) -> Result<Expect, Failure> {
    match conditions.wanted()? {
        Wanted::Of(expect) => Ok(expect),
        Wanted::Present => match current(site, record).await? {
            Some(version) => Ok(Expect::Version(version)),
            None => Err(StoreError::Precondition {
                record: record.clone(),
                reason: "If-Match: * wants it to be there, and it is not".to_owned(),
            }
            .into()),
        },
    }
}

/// The current version of a record that is not deleted.
async fn current(site: &Site, record: &RecordRef) -> Result<Option<u64>, Failure> {
    let wanted = record.clone();
    let found = site.read(move |store| store.record_get(&wanted, None, &Scope::Everything)).await?;
    Ok(found.filter(|version| version.body.is_some()).map(|version| version.sequence))
}

/// The one record that matches; 412 where several do. Notes the search, so that the store can
/// tell whether it still finds the same when the change is recorded.
pub(super) async fn only_match(
    site: &Site,
    mut query: SearchQuery,
    leaving: &[RecordRef],
    searches: &mut Searches,
    what: &str,
) -> Result<Option<RecordRef>, Failure> {
    query.limit += u32::try_from(leaving.len()).unwrap_or(u32::MAX / 2);
    let wanted = query.clone();
    let page = site.read(move |store| store.record_search(&wanted, &Scope::Everything)).await?;
    let found: Vec<_> = page.records.into_iter().map(|version| version.reference).collect();
    let mut staying = found.iter().filter(|record| !leaving.contains(record));
    let one = match (staying.next(), staying.next()) {
        (_, Some(_)) => {
            return Err(Failure::new(
                StatusCode::PRECONDITION_FAILED,
                "multiple-matches",
                format!("more than one record matches {what}"),
            ));
        }
        (one, None) => one.cloned(),
    };
    searches.push((query, found));
    Ok(one)
}

/// Records one change in the caller's name.
pub(super) async fn record_change(
    call: &Call<'_>,
    writes: Vec<Write>,
    expect: Searches,
) -> Result<Recorded, StoreError> {
    let names = writes.iter().map(|write| &write.record.reference);
    if let Some(name) = names.into_iter().find(|name| conflict::is_name(name)) {
        let reason = format!("{name} is a conflict: that is decided at /sync/conflicts");
        return Err(Refusal::invalid(reason).into());
    }
    let draft = Draft {
        author: call.caller.author(),
        writes,
        expect,
        again: false,
        lane: protocol::Urgency::Normal,
    };
    let now = call.site.now();
    call.site.write(move |store| store.change_record(&draft, now)).await
}

/// What is answered to the write of one record.
fn written(call: &Call<'_>, done: Recorded, body: Option<&str>) -> Result<Answer, Failure> {
    let written = done.writes.into_iter().next().ok_or_else(nothing_written)?;
    let Some(body) = body else { return Ok(gone(Some(&written))) };
    let shown = match call.prefer.returns {
        Some(Return::Minimal) => None,
        Some(Return::Outcome) => Some(all_well(&what_was_done(&written))),
        Some(Return::Representation) | None => {
            Some(with_meta(body, written.sequence, written.recorded))
        }
    };
    Ok(Answer {
        status: status_of(&written),
        body: shown,
        version: Some((written.sequence, written.recorded)),
        location: Some(written.reference),
    })
}

fn gone(written: Option<&Written>) -> Answer {
    Answer {
        status: StatusCode::NO_CONTENT,
        body: None,
        version: written.map(|written| (written.sequence, written.recorded)),
        location: None,
    }
}

/// `If-None-Exist` found the record: it is given as it is.
async fn found_already(call: &Call<'_>, record: &RecordRef) -> Result<Answer, Failure> {
    let mut answer = read::read(call, record).await?;
    answer.location = Some(record.clone());
    answer.body = match call.prefer.returns {
        Some(Return::Minimal) => None,
        Some(Return::Outcome) => Some(all_well(&format!("{record} was there already"))),
        Some(Return::Representation) | None => answer.body,
    };
    Ok(answer)
}

/// What a write did, as FHIR says it.
pub(super) fn status_of(written: &Written) -> StatusCode {
    match written.action {
        Some(Action::Created) => StatusCode::CREATED,
        Some(Action::Deleted) => StatusCode::NO_CONTENT,
        Some(Action::Updated) | None => StatusCode::OK,
    }
}

/// What a write did, for people.
pub(super) fn what_was_done(written: &Written) -> String {
    match written.action {
        Some(Action::Deleted) => format!("{} is deleted", written.reference),
        Some(_) => format!("{} is stored", written.reference),
        None => format!("{} was so already", written.reference),
    }
}

pub(super) fn nothing_written() -> StoreError {
    StoreError::Database { step: "say what it wrote", source: "it said nothing".into() }
}

/// A name for a new record: a UUID of the site's entropy.
fn new_record(site: &Site, kind: ResourceType) -> Result<RecordRef, Failure> {
    let id = uuid::Builder::from_random_bytes(site.entropy().uuid_bytes()).into_uuid();
    Ok(RecordRef::new(kind, &id.to_string())?)
}

/// A resource as the state of this record, under its id; `None` is its deletion.
pub(super) fn record_of(
    reference: &RecordRef,
    resource: Option<&Json<'_>>,
    limits: &Limits,
) -> Result<Record, Failure> {
    match resource {
        None => Ok(Record::deleted(reference.clone())),
        Some(resource) if resource.str_at("id").as_deref() == Some(reference.id()) => {
            Ok(Record::from_json(resource, limits)?)
        }
        Some(resource) => Ok(Record::from_json(&with_id(resource, reference.id())?, limits)?),
    }
}

fn check_type(resource: &Json<'_>, wanted: ResourceType) -> Result<(), Failure> {
    let sent = kind(resource)?;
    if sent == wanted {
        return Ok(());
    }
    Err(Failure::bad_request(format!(
        "the resource is of the type {sent} and the URL means the type {wanted}"
    )))
}

/// The resource's id must be the one in the URL.
fn check_id(resource: Option<&Json<'_>>, wanted: &RecordRef) -> Result<(), Failure> {
    let id = resource.and_then(|resource| resource.get("id"));
    let Some(id) = id else {
        return Err(Failure::bad_request(format!(
            "the resource has no id; the URL means {wanted} and an update must say so itself"
        )));
    };
    let Some(id) = id.as_str() else {
        return Err(Failure::bad_request("the resource's id is no text"));
    };
    let sent =
        RecordRef::new(wanted.kind, &id).map_err(|refusal| Failure::bad_request(refusal.reason))?;
    if sent != *wanted {
        return Err(Failure::bad_request(format!(
            "the resource is {sent} and the URL means {wanted}: the ids must be the same"
        )));
    }
    Ok(())
}

pub(super) fn limits(site: &Site) -> &Limits {
    &site.config().limits
}
