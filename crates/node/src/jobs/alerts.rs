//! Looking for what is wrong, and telling people: in the log at once, and by a webhook and by
//! e-mail in jobs of their own, so that one that hangs delays nobody.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::Timestamp;
use protocol::delivery::backoff_millis;
use serde_json::json;
use store::{Alert, AlertFound, AlertWay, StoreError};
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
    let news = watch::Sender::new(Vec::new());
    let (webhook, email) = (news.subscribe(), news.subscribe());
    tokio::join!(
        look(site, &news),
        tell(site, AlertWay::Webhook, webhook),
        tell(site, AlertWay::Email, email)
    );
}

async fn look(site: &Site, news: &watch::Sender<Vec<Alert>>) {
    let mut well = Well::new();
    let mut audit = Audit::default();
    loop {
        match step(site, &mut well, &mut audit).await {
            Ok(unstored) => drop(news.send_replace(unstored)),
            Err(error) => {
                tracing::warn!(%error, "failed to look for what is wrong");
                news.send_modify(|_| ());
            }
        }
        site.clock().sleep(LOOK_EVERY).await;
    }
}

/// The last look at the whole audit.
#[derive(Debug, Default)]
pub struct Audit {
    at: Option<Timestamp>,
    broken: Option<String>,
}

/// One look: raises, clears, and says so in the log. Gives what is to be raised and cannot be
/// stored, since the disk is full: people are told all the same.
pub async fn step(
    site: &Site,
    well: &mut Well,
    audit: &mut Audit,
) -> Result<Vec<Alert>, StoreError> {
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
    let raised = raise.clone();
    match site.read(move |store| store.alert_update(&raise, &clear, now)).await {
        Ok(()) => Ok(Vec::new()),
        Err(StoreError::Full) => {
            tracing::warn!("the disk is full: alerts are told, and cannot be kept");
            Ok(raised.into_iter().map(|found| unstored(found, now)).collect())
        }
        Err(error) => Err(error),
    }
}

fn unstored(AlertFound { rule, subject, text }: AlertFound, raised: Timestamp) -> Alert {
    Alert { key: 0, rule, subject, text, raised, cleared: None }
}

/// What was told by one way, as far as the store could not keep it: nobody is told twice.
#[derive(Debug, Default)]
struct Told {
    /// Alerts that are not in the store.
    unstored: Vec<Alert>,
    /// Those in the store, by key and by whether they were over.
    stored: BTreeSet<(u64, bool)>,
}

/// Of alerts that are not in the store, those that nobody was told of yet, and those that are over
/// though they never came to be in the store.
fn news_of(told: &[Alert], unstored: &[Alert], open: &[Alert], now: Timestamp) -> Vec<Alert> {
    let is = |one: &Alert, other: &Alert| one.rule == other.rule && one.subject == other.subject;
    let is_in = |list: &[Alert], one: &Alert| list.iter().any(|other| is(one, other));
    let over = told.iter().filter(|one| !is_in(unstored, one) && !is_in(open, one));
    let over = over.map(|one| Alert { cleared: Some(now), ..one.clone() });
    unstored.iter().filter(|one| !is_in(told, one)).cloned().chain(over).collect()
}

/// Tells of what nobody was told of by this way; again, ever more seldom, until it is taken.
async fn tell(site: &Site, way: AlertWay, mut news: watch::Receiver<Vec<Alert>>) {
    let rules = &site.config().alerts;
    let is_set = match way {
        AlertWay::Webhook => rules.webhook.is_some(),
        AlertWay::Email => rules.email.is_some(),
    };
    if !is_set {
        return;
    }
    let (mut failures, mut told) = (0u32, Told::default());
    loop {
        // Whoever looks lives as long as this.
        let _ = news.changed().await;
        while let Err(error) = tell_all(site, way, &mut news, &mut told).await {
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

/// What the store does not have, and then what it has.
async fn tell_all(
    site: &Site,
    way: AlertWay,
    news: &mut watch::Receiver<Vec<Alert>>,
    told: &mut Told,
) -> Result<(), LinkError> {
    let unstored = news.borrow_and_update().clone();
    if !(unstored.is_empty() && told.unstored.is_empty()) {
        let open = site.read(move |store| store.alert_list(false, ALERTS)).await.map_err(ours)?;
        let fresh = news_of(&told.unstored, &unstored, &open, site.now());
        if !fresh.is_empty() {
            send(site, way, &fresh).await?;
        }
        told.unstored = unstored;
    }
    tell_once(site, way, told).await
}

fn ours(error: StoreError) -> LinkError {
    LinkError(format!("this site's own store failed: {error}"))
}

/// One message with all that is new in the store, at most `AT_ONCE`.
async fn tell_once(site: &Site, way: AlertWay, told: &mut Told) -> Result<(), LinkError> {
    let untold = site.read(move |store| store.alert_untold(way, AT_ONCE)).await.map_err(ours)?;
    if untold.is_empty() {
        return Ok(());
    }
    let name = |alert: &Alert| (alert.key, alert.cleared.is_some());
    let fresh = untold.iter().filter(|alert| !told.stored.contains(&name(alert)));
    let fresh = fresh.cloned().collect::<Vec<_>>();
    if !fresh.is_empty() {
        send(site, way, &fresh).await?;
        told.stored.extend(fresh.iter().map(name));
    }
    match site.read(move |store| store.alert_told(way, &untold)).await {
        Ok(()) => {
            told.stored.clear();
            Ok(())
        }
        // It is noted as soon as there is room.
        Err(StoreError::Full) => Ok(()),
        Err(error) => Err(ours(error)),
    }
}

/// Sends one message.
async fn send(site: &Site, way: AlertWay, alerts: &[Alert]) -> Result<(), LinkError> {
    let rules = &site.config().alerts;
    match (way, &rules.webhook, &rules.email) {
        (AlertWay::Webhook, Some(url), _) => post(site, url, alerts).await,
        (AlertWay::Email, _, Some(email)) => mail(site, email, alerts).await,
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_told_once_and_that_it_is_over_once() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let disk = AlertFound { rule: "disk".into(), subject: String::new(), text: "0 %".into() };
        let raised = unstored(disk, now);
        let over = Alert { cleared: Some(now), ..raised.clone() };
        let stored = Alert { key: 7, ..raised.clone() };
        let one = std::slice::from_ref(&raised);
        assert_eq!(news_of(&[], one, &[], now), *one);
        assert_eq!(news_of(one, one, &[], now), []);
        assert_eq!(news_of(one, &[], &[stored], now), [], "from now on the store tells of it");
        assert_eq!(news_of(one, &[], &[], now), [over]);
    }
}
