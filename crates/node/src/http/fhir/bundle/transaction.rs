//! The writes of a transaction, as one change: found out first, then recorded whole or not at all.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use protocol::{RecordRef, Refusal, ResourceType};
use store::{StoreError, Write, Written};

use super::super::answer::with_meta;
use super::super::search;
use super::super::write::{
    Aim, Searches, TRIES, WriteAsk, aim, limits, nothing_written, only_match, record_change,
    record_of, status_of, what_was_done,
};
use super::super::{Call, read};
use super::entry::Entry;
use super::references::{self, Links};
use super::{Reply, at};
use crate::http::error::Failure;

/// An entry with its place in the Bundle.
type Placed<'a> = (usize, Entry<'a>);

/// The writes among these entries, as one change; gives a reply for each of them.
pub(super) async fn write(
    call: &Call<'_>,
    entries: &[Placed<'_>],
) -> Result<Vec<(usize, Reply)>, Failure> {
    let mut writes: Vec<&Placed<'_>> =
        entries.iter().filter(|(_, entry)| entry.asked.interaction.writes()).collect();
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let most = limits(call.site).change_records;
    if writes.len() > most {
        return Err(Refusal::over_limit("change_records", most).into());
    }
    writes.sort_by_key(|(_, entry)| entry.rank());
    for _ in 0..TRIES {
        let plan = Plan::of(call, &writes).await?;
        match plan.record(call).await {
            Err(StoreError::Raced) => {}
            Err(error) => return Err(error.into()),
            Ok(written) => return plan.replies(call, written).await,
        }
    }
    Err(StoreError::Raced.into())
}

/// What the writes come to.
struct Plan {
    aims: Vec<(usize, Aim)>,
    /// With the places of their entries, in dependency order.
    writes: Vec<(usize, Write)>,
    searches: Searches,
}

impl Plan {
    async fn of(call: &Call<'_>, entries: &[&Placed<'_>]) -> Result<Plan, Failure> {
        let mut plan = Plan { aims: Vec::new(), writes: Vec::new(), searches: Searches::new() };
        let mut leaving = Vec::new();
        for (index, entry) in entries {
            let ask = WriteAsk {
                asked: &entry.asked,
                conditions: &entry.conditions,
                query: &entry.query,
                resource: entry.resource,
            };
            let aim = aim(call.site, ask, &leaving, &mut plan.searches).await;
            let aim = aim.map_err(|failure| at(*index, failure))?;
            if let (Aim::Write(record, _), None) = (&aim, entry.resource) {
                leaving.push(record.clone());
            }
            plan.aims.push((*index, aim));
        }
        check_once(&plan.aims)?;
        let mut links = links_of(entries, &plan.aims)?;
        find_conditional(call, entries, &leaving, &mut plan.searches, &mut links).await?;
        for ((index, entry), (_, aim)) in entries.iter().zip(&plan.aims) {
            let Aim::Write(record, expect) = aim else { continue };
            let write = one_write(call, entry, record, &links).map_err(|f| at(*index, f))?;
            plan.writes.push((*index, Write { record: write, expect: *expect }));
        }
        plan.writes.sort_by_key(|(_, write)| depends(write));
        Ok(plan)
    }

    async fn record(&self, call: &Call<'_>) -> Result<Vec<(usize, Written)>, StoreError> {
        if self.writes.is_empty() {
            return Ok(Vec::new());
        }
        let writes = self.writes.iter().map(|(_, write)| write.clone()).collect();
        let recorded = record_change(call, writes, self.searches.clone()).await?;
        if recorded.writes.len() != self.writes.len() {
            return Err(nothing_written());
        }
        let places = self.writes.iter().map(|(index, _)| *index);
        Ok(places.zip(recorded.writes).collect())
    }

    async fn replies(
        &self,
        call: &Call<'_>,
        written: Vec<(usize, Written)>,
    ) -> Result<Vec<(usize, Reply)>, Failure> {
        let mut replies = Vec::with_capacity(self.aims.len());
        for ((index, written), (_, write)) in written.iter().zip(&self.writes) {
            let body = write.record.body.as_deref();
            let shown = body.map(|body| with_meta(body, written.sequence, written.recorded));
            let reply = reply(status_of(written), &written.reference, written);
            replies.push((*index, reply.written(call.prefer, &what_was_done(written), shown)));
        }
        for (index, aim) in &self.aims {
            match aim {
                Aim::Write(..) => {}
                Aim::Found(record) => replies.push((*index, found(call, record).await?)),
                Aim::Nothing => replies.push((*index, nothing())),
            }
        }
        Ok(replies)
    }
}

fn reply(status: StatusCode, record: &RecordRef, written: &Written) -> Reply {
    Reply {
        status,
        location: Some(format!("{record}/_history/{}", written.sequence)),
        version: Some((written.sequence, written.recorded)),
        outcome: None,
        resource: None,
    }
}

fn nothing() -> Reply {
    Reply {
        status: StatusCode::NO_CONTENT,
        location: None,
        version: None,
        outcome: None,
        resource: None,
    }
}

/// The reply where `ifNoneExist` found the record.
async fn found(call: &Call<'_>, record: &RecordRef) -> Result<Reply, Failure> {
    let version = read::fetch(call, record, None).await?;
    let shown = super::super::answer::shown(&version);
    let reply = Reply {
        status: StatusCode::OK,
        location: Some(format!("{record}/_history/{}", version.sequence)),
        version: Some((version.sequence, version.recorded)),
        outcome: None,
        resource: None,
    };
    Ok(reply.written(call.prefer, &format!("{record} was there already"), shown))
}

fn one_write(
    call: &Call<'_>,
    entry: &Entry<'_>,
    record: &RecordRef,
    links: &Links,
) -> Result<protocol::resource::Record, Failure> {
    let resource = entry.resource.map(|resource| references::resolved(resource, links));
    record_of(record, resource.transpose()?.as_ref(), limits(call.site))
}

/// Refuses a record that two entries write: FHIR gives no order between them.
fn check_once(aims: &[(usize, Aim)]) -> Result<(), Failure> {
    let mut seen = BTreeMap::new();
    for (index, aim) in aims {
        let Aim::Write(record, _) = aim else { continue };
        if let Some(before) = seen.insert(record, index) {
            return Err(Failure::bad_request(format!(
                "{record} is written by Bundle.entry[{before}] and by Bundle.entry[{index}]; \
                 a transaction may write a record once"
            )));
        }
    }
    Ok(())
}

/// What the full URLs of the entries mean.
fn links_of(entries: &[&Placed<'_>], aims: &[(usize, Aim)]) -> Result<Links, Failure> {
    let mut links = Links::new();
    for ((index, entry), (_, aim)) in entries.iter().zip(aims) {
        let (Aim::Write(record, _) | Aim::Found(record)) = aim else { continue };
        let Some(url) = &entry.full_url else { continue };
        // `http://elsewhere/fhir/Patient/7` is also called `Patient/7` by the entries beside it.
        let own = entry.resource.and_then(|resource| resource.str_at("id"));
        if let Some(own) = own {
            let relative = format!("{}/{own}", record.kind);
            if url.ends_with(&format!("/{relative}")) {
                links.insert(relative, record.clone());
            }
        }
        match links.insert(url.clone(), record.clone()) {
            Some(other) if other != *record => {
                return Err(at(
                    *index,
                    Failure::bad_request(format!(
                        "its fullUrl is also that of the entry that writes {other}"
                    )),
                ));
            }
            _ => {}
        }
    }
    Ok(links)
}

/// Looks up what the conditional references mean: each must match one record.
async fn find_conditional(
    call: &Call<'_>,
    entries: &[&Placed<'_>],
    leaving: &[RecordRef],
    searches: &mut Searches,
    links: &mut Links,
) -> Result<(), Failure> {
    for (index, entry) in entries {
        let mut references = BTreeMap::new();
        if let Some(resource) = entry.resource {
            references::conditional(resource, &mut references);
        }
        for (text, kind) in references {
            if links.contains_key(&text) {
                continue;
            }
            let criteria = text.split_once('?').map_or("", |(_, criteria)| criteria);
            let query =
                search::criteria(kind, criteria, limits(call.site)).map_err(|f| at(*index, f))?;
            let what = format!("its conditional reference to a {kind}");
            let one = only_match(call.site, query, leaving, searches, &what).await;
            let one = one.map_err(|f| at(*index, f))?.ok_or_else(|| {
                let detail = format!("no record matches {what}");
                at(*index, Failure::new(StatusCode::PRECONDITION_FAILED, "not-found", detail))
            })?;
            links.insert(text, one);
        }
    }
    Ok(())
}

/// What others refer to comes before them, deletions the other way round at the end: whoever
/// applies the change in its order never holds a reference to what is not there.
fn depends(write: &Write) -> (bool, u8, &'static str) {
    let kind = write.record.reference.kind;
    let rank = match kind {
        _ if kind.is_reference() => 0,
        ResourceType::PATIENT => 1,
        ResourceType::ENCOUNTER => 2,
        _ => 3,
    };
    match write.record.body {
        Some(_) => (false, rank, kind.name()),
        None => (true, 3 - rank, kind.name()),
    }
}
