//! How commands on this machine ask the running site for something: its address and a secret, in a
//! file that only the site's owner can read, made anew at each start.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LOCK;
use crate::cli::open::write_secret;
use crate::http::auth::credential_hash;
use crate::http::sync::join::new_secret;
use crate::ports::Request;
use crate::site::Site;

/// The file's name in a site's folder.
const CONTROL: &str = "serve.control";
/// The most that an answer may come to, in bytes.
const ANSWER_BYTES: usize = 1 << 20;
/// Seconds without a byte after which a running site counts as hanging.
const IDLE_SECONDS: u64 = 30;

/// The way to the running site.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Control {
    url: String,
    secret: String,
}

impl Control {
    /// Makes the file of a site that is about to answer at `address`.
    pub(super) fn make(site: &Site, dir: &Path, address: SocketAddr) -> anyhow::Result<()> {
        let secret = new_secret(site);
        site.set_control(credential_hash(&secret));
        let host = match address.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let url = format!("http://{}", SocketAddr::new(host, address.port()));
        let text = serde_json::to_string(&Control { url, secret })?;
        write_secret(&dir.join(CONTROL), &text)
    }

    /// The site stops.
    pub(super) fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(CONTROL));
    }

    /// The way to the site that runs on this folder; `None` where none does.
    pub(in crate::cli) fn of_running(dir: &Path) -> anyhow::Result<Option<Control>> {
        let Ok(lock) = File::options().append(true).open(dir.join(LOCK)) else { return Ok(None) };
        if lock.try_lock().is_ok() {
            return Ok(None);
        }
        let path = dir.join(CONTROL);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(
                serde_json::from_str(&text)
                    .with_context(|| format!("failed to understand {}", path.display()))?,
            )),
            // It has only just begun to start, or is of an older version.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    pub(in crate::cli) async fn get(&self, site: &Site, path: &str) -> anyhow::Result<Value> {
        self.ask(site, Method::GET, path).await
    }

    pub(in crate::cli) async fn post(&self, site: &Site, path: &str) -> anyhow::Result<Value> {
        self.ask(site, Method::POST, path).await
    }

    async fn ask(&self, site: &Site, method: Method, path: &str) -> anyhow::Result<Value> {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::try_from(format!("Bearer {}", self.secret))?;
        headers.insert(header::AUTHORIZATION, bearer);
        let request = Request {
            method,
            url: format!("{}{path}", self.url),
            headers,
            body: Bytes::new(),
            idle_seconds: IDLE_SECONDS,
        };
        let sent = site.transport().send(request).await;
        let mut response = sent.context("failed to reach the running site")?;
        let mut text = Vec::new();
        while let Some(part) = response.body.next().await {
            text.extend(part.context("failed to hear the running site out")?);
            if text.len() > ANSWER_BYTES {
                bail!("failed to hear the running site out: its answer is too long");
            }
        }
        let told: Value = serde_json::from_slice(&text).unwrap_or_default();
        if !response.status.is_success() {
            let detail = told.get("detail").and_then(Value::as_str).unwrap_or("it did not say why");
            bail!("failed to ask the running site ({}): {detail}", response.status);
        }
        Ok(told)
    }
}
