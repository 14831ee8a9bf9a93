//! Enrolment, both ends: a one-time code, and what it is exchanged for.

use anyhow::{Context as _, anyhow, bail};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::{CohortName, SiteId, Timestamp};
use store::{ChildDraft, StoreError};

use crate::http::auth::{PROTOCOL_HEADER, credential_hash};
use crate::http::sync::join::{JoinAnswer, JoinRequest, plain_code};
use crate::ports::Request;
use crate::site::Site;

/// At the parent: lets a child in. Gives the code, which works once, and until when.
pub fn invite(
    here: &Site,
    child: &SiteId,
    cohorts: &[CohortName],
) -> Result<(String, Timestamp), StoreError> {
    let code = new_code(here);
    let days = i64::from(here.config().limits.code_days);
    let expires = here.now().plus_millis(days * 86_400_000);
    let draft = ChildDraft {
        site: child.clone(),
        cohorts: cohorts.to_vec(),
        code_hash: credential_hash(&plain_code(&code)),
        code_expires: expires,
    };
    here.store().child_add(&draft, here.now())?;
    Ok((code, expires))
}

/// 120 random bits as 24 characters that cannot be misread, in groups of four.
fn new_code(site: &Site) -> String {
    const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let mut bytes = [0; 24];
    site.entropy().fill(&mut bytes);
    let letters: Vec<char> =
        bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect();
    letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

/// At the child: exchanges the code for this site's credential.
pub async fn redeem(site: &Site, url: &str, code: &str) -> anyhow::Result<JoinAnswer> {
    let epoch = site.store().site()?.epoch;
    let body = JoinRequest { code: code.to_owned(), site: site.id().clone(), epoch };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static(PROTOCOL_HEADER), HeaderValue::from_static("1"));
    let request = Request {
        method: Method::POST,
        url: format!("{url}/sync/join"),
        headers,
        body: Bytes::from(serde_json::to_vec(&body)?),
        idle_seconds: site.config().limits.request_seconds,
    };
    let mut response =
        site.transport().send(request).await.with_context(|| format!("failed to reach {url}"))?;
    let mut text = Vec::new();
    while let Some(part) = response.body.next().await {
        text.extend_from_slice(&part.with_context(|| format!("failed to hear {url}"))?);
        if text.len() > 1 << 20 {
            bail!("failed to join {url}: its answer is too long for that of a Tributary site");
        }
    }
    if !response.status.is_success() {
        let refused = crate::jobs::link::refused(response.status, &text);
        return Err(anyhow!("failed to join {url}: {refused}"));
    }
    serde_json::from_slice(&text)
        .with_context(|| format!("failed to join {url}: its answer is not that of a parent"))
}
