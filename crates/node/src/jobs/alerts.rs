//! Looking for what is wrong, and telling people: in the log at once, and by a webhook and by
//! e-mail in jobs of their own, so that one that hangs delays nobody.

use std::path::Path;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::Timestamp;
use protocol::delivery::backoff_millis;
use serde_json::json;
use store::{Alert, AlertWay, StoreError};
use tokio::sync::watch;

use crate::alerts::{self, Email, Known, Well, email};
use crate::disk::Disk;
use crate::ports::{LinkError, Request};
use crate::site::Site;

/// Milliseconds between two looks.
const LOOK_EVERY: u64 = 60_000;
/// Milliseconds between two looks at the whole audit.
const AUDIT_EVERY: i64 = 24 * 3_600_000;
/// Alerts that are looked at, and that one message tells of, at the most.
const ALERTS: usize = 10_000;
const AT_ONCE: usize = 50;
/// Seconds without a byte after which a webhook is given up, until the next try.
const IDLE_SECONDS: u64 = 20;
/// Seconds that one e-mail may take.
const MAIL_SECONDS: u64 = 60;

/// Looks and tells, for ever.
pub async fn run(site: &Site) {
    let news = watch::Sender::new(());
    let (webhook, email) = (news.subscribe(), news.subscribe());
    tokio::join!(
        look(site, &news),
        tell(site, AlertWay::Webhook, webhook),
        tell(site, AlertWay::Email, email)
    );
}

async fn look(site: &Site, news: &watch::Sender<()>) {
    let mut well = Well::new();
    let mut audit = Audit::default();
    loop {
        if let Err(error) = step(site, &mut well, &mut audit).await {
            tracing::warn!(%error, "failed to look for what is wrong");
        }
        news.send_replace(());
        site.clock().sleep(LOOK_EVERY).await;
    }
}

/// The last look at the whole audit.
#[derive(Debug, Default)]
pub struct Audit {
    at: Option<Timestamp>,
    broken: Option<String>,
}

/// One look: raises, clears, and says so in the log.
pub async fn step(site: &Site, well: &mut Well, audit: &mut Audit) -> Result<(), StoreError> {
    let now = site.now();
    if site.config().alerts.audit && audit.at.is_none_or(|at| now.since(at) >= AUDIT_EVERY) {
        audit.broken = site.read(|store| store.audit_verify()).await?.broken;
        audit.at = Some(now);
    }
    let (status, facts, tokens, open) = site
        .read(move |store| {
            let open = store.alert_list(false, ALERTS)?;
            Ok((store.site_status(now)?, store.alert_facts()?, store.token_list()?, open))
        })
        .await?;
    let known = Known {
        config: site.config(),
        status: &status,
        facts,
        tokens: &tokens,
        disk_free: site.disk().map(Disk::free_percent),
        audit_broken: audit.broken.as_deref(),
        now,
    };
    let (raise, clear) = alerts::due(&open, &alerts::found(&known), well, now);
    for one in &raise {
        tracing::warn!(rule = one.rule, subject = one.subject, "alert: {}", one.text);
    }
    for one in open.iter().filter(|alert| clear.contains(&alert.key)) {
        tracing::info!(rule = one.rule, subject = one.subject, "alert is over: {}", one.text);
    }
    site.read(move |store| store.alert_update(&raise, &clear, now)).await
}

/// Tells of what nobody was told of by this way; again, ever more seldom, until it is taken.
async fn tell(site: &Site, way: AlertWay, mut news: watch::Receiver<()>) {
    let rules = &site.config().alerts;
    let is_set = match way {
        AlertWay::Webhook => rules.webhook.is_some(),
        AlertWay::Email => rules.email.is_some(),
    };
    if !is_set {
        return;
    }
    let mut failures = 0u32;
    loop {
        // Whoever looks lives as long as this.
        let _ = news.changed().await;
        while let Err(error) = tell_once(site, way).await {
            failures = failures.saturating_add(1);
            tracing::warn!(?way, failures, %error, "alerts are not taken");
            let (text, now) = (error.0, site.now());
            let noted = site.read(move |store| store.alert_not_told(way, &text, now));
            if let Err(error) = noted.await {
                tracing::warn!(%error, "failed to note that alerts are not taken");
            }
            let limits = &site.config().limits;
            let pause = backoff_millis(failures, limits, site.entropy().number());
            site.clock().sleep(pause).await;
        }
        failures = 0;
    }
}

/// One message with all that is new, at most `AT_ONCE`.
pub async fn tell_once(site: &Site, way: AlertWay) -> Result<(), LinkError> {
    let ours = |error: StoreError| LinkError(format!("this site's own store failed: {error}"));
    let untold = site.read(move |store| store.alert_untold(way, AT_ONCE)).await.map_err(ours)?;
    if untold.is_empty() {
        return Ok(());
    }
    let rules = &site.config().alerts;
    match (way, &rules.webhook, &rules.email) {
        (AlertWay::Webhook, Some(url), _) => post(site, url, &untold).await?,
        (AlertWay::Email, _, Some(email)) => mail(site, email, &untold).await?,
        _ => return Ok(()),
    }
    site.read(move |store| store.alert_told(way, &untold)).await.map_err(ours)
}

/// Hands them to the SMTP server, in a bounded time.
async fn mail(site: &Site, email: &Email, untold: &[Alert]) -> Result<(), LinkError> {
    let plain = |error: anyhow::Error| LinkError(format!("{error:#}"));
    let folder = site.run_lock().and_then(Path::parent).unwrap_or(Path::new(""));
    let credentials = email.credentials(folder).map_err(plain)?;
    let told = email::told(site.id(), site.now(), untold);
    tokio::select! {
        biased;
        sent = email.send(credentials, &told) => sent.map_err(plain),
        () = site.clock().sleep(MAIL_SECONDS * 1_000) => {
            Err(LinkError(format!("the SMTP server took longer than {MAIL_SECONDS} s")))
        }
    }
}

/// Posts them to the webhook.
async fn post(site: &Site, url: &str, untold: &[Alert]) -> Result<(), LinkError> {
    let of = |cleared: bool| {
        untold.iter().filter(|alert| alert.cleared.is_some() == cleared).collect::<Vec<&Alert>>()
    };
    let body = json!({
        "site": site.id(), "at": site.now(), "raised": of(false), "cleared": of(true),
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request {
        method: Method::POST,
        url: url.to_owned(),
        headers,
        body: Bytes::from(body.to_string()),
        idle_seconds: IDLE_SECONDS,
    };
    let mut response = site.transport().send(request).await?;
    // Nothing of what it says matters, and it may say it for ever.
    let _ = response.body.next().await;
    if !response.status.is_success() {
        return Err(LinkError(format!("it answered {}", response.status)));
    }
    Ok(())
}
