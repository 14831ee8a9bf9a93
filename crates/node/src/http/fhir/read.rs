//! Reading one record, or one version of it.

use axum::http::StatusCode;
use protocol::RecordRef;
use store::{Disclosure, Scope, StoredVersion};

use super::answer::{Answer, shown};
use super::{Call, denied};
use crate::disclosure;
use crate::http::error::Failure;

/// `GET Type/id`
pub(super) async fn read(call: &Call<'_>, record: &RecordRef) -> Result<Answer, Failure> {
    let version = fetch(call, record, None).await?;
    give(call, version, false).await
}

/// `GET Type/id/_history/version`
pub(super) async fn vread(
    call: &Call<'_>,
    record: &RecordRef,
    version: u64,
) -> Result<Answer, Failure> {
    let version = fetch(call, record, Some(version)).await?;
    give(call, version, true).await
}

async fn give(call: &Call<'_>, version: StoredVersion, old: bool) -> Result<Answer, Failure> {
    let Some(body) = shown(&version) else {
        return Err(Failure::new(
            StatusCode::GONE,
            "deleted",
            format!("{} was deleted in version {}", version.reference, version.sequence),
        ));
    };
    let known = Some((version.sequence, version.recorded));
    if call.conditions.not_modified(version.sequence) {
        let status = StatusCode::NOT_MODIFIED;
        return Ok(Answer { status, body: None, version: known, location: None });
    }
    let (action, detail) = match old {
        false => ("read", String::new()),
        true => ("history", format!("version {}", version.sequence)),
    };
    let records = vec![version.reference.clone()];
    let shown = Disclosure { records, former: old, ..disclosure::by(call.caller, action, detail) };
    disclosure::note(call.site, shown).await?;
    Ok(Answer { status: StatusCode::OK, body: Some(body), version: known, location: None })
}

/// A version as the caller may see it; 404 where there is none, or none for this caller.
pub(super) async fn fetch(
    call: &Call<'_>,
    record: &RecordRef,
    version: Option<u64>,
) -> Result<StoredVersion, Failure> {
    let (wanted, scope) = (record.clone(), call.scope());
    let found = call
        .site
        .read(move |store| {
            let found = store.record_get(&wanted, version, &scope)?;
            let hidden = found.is_none()
                && scope != Scope::Everything
                && store.record_get(&wanted, version, &Scope::Everything)?.is_some();
            Ok((found, hidden))
        })
        .await?;
    match found {
        (Some(version), _) => Ok(version),
        (None, hidden) => {
            if hidden {
                let detail = "GET of a record outside the caller's cohorts".to_owned();
                denied(call.site, call.caller, record.to_string(), detail).await?;
            }
            Err(Failure::not_found(match version {
                Some(version) => format!("{record} has no version {version} here"),
                None => format!("{record} is not here"),
            }))
        }
    }
}
