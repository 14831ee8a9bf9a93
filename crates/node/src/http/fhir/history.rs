//! Histories: of a record, of a type, of everything; newest version first.

use axum::http::StatusCode;
use protocol::feed::Action;
use protocol::{RecordRef, ResourceType, Timestamp};
use serde_json::json;
use store::{Disclosure, HistoryQuery, StoredVersion};

use super::answer::{Answer, BundleText, shown};
use super::conditions::etag;
use super::search::{Paging, bad_page, links};
use super::{Call, params, read};
use crate::disclosure;
use crate::http::error::Failure;

/// `GET Type/id/_history`
pub(super) async fn of_record(call: &Call<'_>, record: &RecordRef) -> Result<Answer, Failure> {
    // 404 for what is not there, and an audit row for what is nobody's business.
    read::fetch(call, record, None).await?;
    let query = HistoryQuery { record: Some(record.clone()), ..HistoryQuery::default() };
    give(call, query, &format!("{record}/_history")).await
}

/// `GET Type/_history`
pub(super) async fn of_type(call: &Call<'_>, kind: ResourceType) -> Result<Answer, Failure> {
    let query = HistoryQuery { kind: Some(kind), ..HistoryQuery::default() };
    give(call, query, &format!("{kind}/_history")).await
}

/// `GET _history`
pub(super) async fn of_system(call: &Call<'_>) -> Result<Answer, Failure> {
    give(call, HistoryQuery::default(), "_history").await
}

async fn give(call: &Call<'_>, mut query: HistoryQuery, path: &str) -> Result<Answer, Failure> {
    let paging = Paging::of(call)?;
    for (name, value) in &paging.rest {
        match name.as_str() {
            "_since" => query.since = Some(since(value)?),
            _ if call.prefer.lenient => {}
            _ => return Err(params::unknown(name, "a history")),
        }
    }
    query.limit = paging.count;
    query.after = paging.page.clone();
    let scope = call.scope();
    let page = call.site.read(move |store| store.record_history(&query, &scope)).await;
    let page = page.map_err(bad_page)?;
    let records = disclosure::records(page.versions.iter().map(|version| &version.reference));
    let detail = format!("{path}: {} versions", page.versions.len());
    let read = disclosure::by(call.caller, "history", detail);
    disclosure::note(call.site, Disclosure { records, former: true, ..read }).await?;
    let base = call.base();
    let links = links(call, path, page.next.as_deref());
    let mut bundle = BundleText::new("history", call.site.now(), Some(page.total)).links(&links);
    for version in &page.versions {
        let (method, status) = match version.action {
            Action::Created => ("PUT", StatusCode::CREATED),
            Action::Updated => ("PUT", StatusCode::OK),
            Action::Deleted => ("DELETE", StatusCode::NO_CONTENT),
        };
        let url = format!("{base}/{}", version.reference);
        let request = json!({"method": method, "url": version.reference.to_string()});
        let rest = [("request", request), ("response", response(version, status))];
        bundle.entry(Some(&url), shown(version).as_deref(), &rest);
    }
    Ok(Answer::of(bundle.finish()))
}

fn response(version: &StoredVersion, status: StatusCode) -> serde_json::Value {
    json!({
        "status": status.to_string(),
        "etag": etag(version.sequence),
        "lastModified": version.recorded.to_string(),
    })
}

fn since(value: &str) -> Result<Timestamp, Failure> {
    value.parse().map_err(|_| {
        Failure::bad_request("_since must be an instant, for example 2026-11-23T08:15:30Z")
    })
}
