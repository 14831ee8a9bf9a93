//! A page of a feed as a FHIR Bundle of type `history`: the same entries, with the records in
//! them as they are now, in one answer.

use axum::http::StatusCode;
use protocol::feed::{Action, Entry, FeedPage};
use protocol::{RecordRef, Timestamp};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use store::{Scope, StoredVersion};

use crate::http::error::Failure;
use crate::site::Site;

/// The Bundle's text. A record that is no longer the reader's appears without its resource.
pub(super) async fn of_page(
    site: &Site,
    page: &FeedPage,
    scope: &Scope,
) -> Result<String, Failure> {
    let mut wanted: Vec<RecordRef> = page
        .entries
        .iter()
        .flat_map(|entry| &entry.records)
        .map(|(record, _)| record.clone())
        .collect();
    wanted.sort();
    wanted.dedup();
    let (feed, scope) = (page.feed.name.clone(), scope.clone());
    let found = site.read(move |store| store.feed_fetch(&feed, &wanted, &scope)).await?;
    let found: BTreeMap<RecordRef, StoredVersion> = found
        .unwrap_or_default()
        .into_iter()
        .map(|version| (version.reference.clone(), version))
        .collect();
    let base = &site.config().public_url;
    let mut entries = Vec::new();
    for entry in &page.entries {
        for (record, action) in &entry.records {
            entries.push(entry_of(base, entry, record, *action, found.get(record))?);
        }
    }
    let url = format!("{base}/feeds/{}/{}", page.feed.name, page.number);
    let bundle = json!({
        "resourceType": "Bundle",
        "type": "history",
        "total": entries.len(),
        "link": [{"relation": "self", "url": url}],
        "entry": entries,
    });
    Ok(bundle.to_string())
}

fn entry_of(
    base: &str,
    entry: &Entry,
    record: &RecordRef,
    action: Action,
    version: Option<&StoredVersion>,
) -> Result<Box<RawValue>, Failure> {
    let (method, status) = match action {
        Action::Created => ("PUT", "201"),
        Action::Updated => ("PUT", "200"),
        Action::Deleted => ("DELETE", "204"),
    };
    let mut text = format!("{{\"fullUrl\":\"{base}/fhir/{record}\"");
    if let Some(body) = version.and_then(|version| version.body.as_deref()) {
        // The body stands as it is stored: no number is written anew.
        text.push_str(",\"resource\":");
        text.push_str(body);
    }
    let modified = version.map_or(entry.at, |version| version.recorded);
    text.push_str(&tail(method, record, status, modified));
    RawValue::from_string(text).map_err(|_| {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "exception",
            format!("the stored body of {record} is not JSON"),
        )
    })
}

fn tail(method: &str, record: &RecordRef, status: &str, modified: Timestamp) -> String {
    format!(
        ",\"request\":{{\"method\":\"{method}\",\"url\":\"{record}\"}},\
         \"response\":{{\"status\":\"{status}\",\"lastModified\":\"{modified}\"}}}}"
    )
}
