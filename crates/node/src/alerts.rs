//! What is wrong with a site, by rules: a pure function of what is known of it.

pub mod email;

use std::collections::BTreeMap;

use protocol::{Limits, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Alert, AlertFacts, AlertFound, AlertWay, ChildInfo, SiteStatus, TokenInfo};

pub use self::email::Email;
use crate::cli::status::{ago, ahead, silence};
use crate::config::{Config, Up};
use crate::jobs::gate::Spent;
use crate::told;

/// The rules and where to tell: `[alerts]` in the settings. A bound of 0 switches its rule off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A child, or the parent, that was not heard for so many hours.
    pub silent_hours: u32,
    /// Something that the parent does not hold after so many hours.
    pub undelivered_hours: u32,
    /// A record system beside the site that has been away for so many hours.
    pub emr_hours: u32,
    /// Anything that is parked.
    pub parked: bool,
    /// A conflict that nobody decided for so many days.
    pub conflict_days: u32,
    /// Less room than so many hundredths of the disk.
    pub disk_percent: u8,
    /// A credential that ends within so many days.
    pub credential_days: u32,
    /// A clock that is off from this one by more than `limits.clock_offset_seconds`.
    pub clocks: bool,
    /// Carriers that say delivered what is not there, or do not come.
    pub carriers: bool,
    /// A month's budget of bytes of which four fifths, or all, are spent.
    pub budget: bool,
    /// An audit whose rows do not follow from one another.
    pub audit: bool,
    /// A URL that gets alerts by POST, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// An SMTP server that gets them, and who is to have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            silent_hours: 24,
            undelivered_hours: 24,
            emr_hours: 4,
            parked: true,
            conflict_days: 7,
            disk_percent: 10,
            credential_days: 14,
            clocks: true,
            carriers: true,
            budget: true,
            audit: true,
            webhook: None,
            email: None,
        }
    }
}

/// What the rules look at.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Known<'a> {
    pub config: &'a Config,
    pub status: &'a SiteStatus,
    pub facts: AlertFacts,
    pub tokens: &'a [TokenInfo],
    /// Hundredths of the disk that are free, where that is known.
    pub disk_free: Option<u8>,
    /// What is wrong with the audit, by the last look.
    pub audit_broken: Option<&'a str>,
    pub now: Timestamp,
}

const HOUR: i64 = 3_600_000;

/// The names of all rules.
pub const RULES: [&str; 11] = [
    "silent",
    "clock",
    "undelivered",
    "emr",
    "parked",
    "conflict",
    "disk",
    "credential",
    "carrier",
    "budget",
    "audit",
];

/// Everything that is wrong.
pub fn found(known: &Known<'_>) -> Vec<AlertFound> {
    let rules = &known.config.alerts;
    let mut all = Vec::new();
    let mut add = |rule: &str, subject: &str, text: String| {
        debug_assert!(RULES.contains(&rule), "{rule} is not in the list");
        all.push(AlertFound { rule: rule.to_owned(), subject: subject.to_owned(), text });
    };
    let Known { status, now, .. } = known;
    let is_old = |at: Timestamp, bound: u32, unit: i64| {
        bound > 0 && now.since(at) >= i64::from(bound).saturating_mul(unit)
    };
    of_the_children(known, &is_old, &mut add);
    of_the_sources(known, &is_old, &mut add);
    for child in status.children.iter().filter(|child| child.state == "joined") {
        let name = child.site.as_str();
        let agree = |off: i64| known.config.limits.clocks_agree(off);
        let off = child.clock_offset.filter(|off| rules.clocks && !agree(*off));
        if let Some(off) = off {
            add("clock", name, format!("the clock of {name} is {:+} s off", off / 1_000));
        }
    }
    if known.config.parent.is_some() {
        of_the_link(known, &is_old, &mut add);
        let spent = told::spent(known.config, status, *now).filter(|_| rules.budget);
        if let Some(spent) = spent.filter(Spent::warns) {
            let (subject, what) = match spent.stops() {
                true => {
                    ("spent", "; what is bulk waits for the next month, or `tributary link lift`")
                }
                false => ("warning", ""),
            };
            let text = format!("{} % of the month's budget are spent{what}", spent.percent);
            add("budget", subject, text);
        }
    }
    let parked = status.deliveries.get("parked").copied().unwrap_or(0) + status.parked_lines;
    if rules.parked && parked > 0 {
        add("parked", "", format!("{parked} are parked or stuck: `tributary queue` says why"));
    }
    of_the_emr(known, &is_old, &mut add);
    let conflict = known.facts.oldest_conflict;
    if let Some(at) = conflict.filter(|at| is_old(*at, rules.conflict_days, 24 * HOUR)) {
        let since = ago(*now, at);
        add(
            "conflict",
            "",
            format!("a conflict stands open since {since}: `tributary conflict list`"),
        );
    }
    if let Some(free) = known.disk_free.filter(|free| *free < rules.disk_percent) {
        add("disk", "", format!("{free} % of the disk that holds the store are free"));
    }
    for token in known.tokens.iter().filter(|token| token.revoked.is_none()) {
        let Some(ends) = token.expires else { continue };
        let within = i64::from(rules.credential_days).saturating_mul(24 * HOUR);
        if within > 0 && ends.since(*now) < within {
            let name = &token.name;
            // Whoever uses it is shut out from then on: that is over when somebody revokes it.
            let when = match ends > *now {
                true => format!("ends {}", ahead(*now, ends)),
                false => format!("ended {}: `tributary token revoke`", ago(*now, ends)),
            };
            add("credential", name, format!("the credential {name} {when}"));
        }
    }
    if let Some(reason) = known.audit_broken.filter(|_| rules.audit) {
        add("audit", "", format!("the audit is broken: {reason}"));
    }
    all
}

/// What is said of ways that are set and by which nobody can be told of alerts at present.
pub fn untaken(config: &Config, status: &SiteStatus, now: Timestamp) -> Vec<String> {
    let rules = &config.alerts;
    let told = status.alert_troubles.iter().filter_map(|trouble| {
        let way = match trouble.way {
            AlertWay::Webhook => rules.webhook.as_ref().map(|_| "the webhook")?,
            AlertWay::Email => rules.email.as_ref().map(|_| "e-mail")?,
        };
        let (since, error) = (ago(now, trouble.since), &trouble.error);
        let tries = trouble.failures;
        Some(format!("nobody is told of alerts by {way} since {since}, {tries} tries: {error}"))
    });
    told.collect()
}

/// Children that do not come, or never came. Those that this site reads have no need to.
fn of_the_children(
    known: &Known<'_>,
    is_old: &impl Fn(Timestamp, u32, i64) -> bool,
    add: &mut impl FnMut(&str, &str, String),
) {
    let Known { config, status, now, .. } = known;
    let is_read = |child: &ChildInfo| config.sources.iter().any(|one| one.name == child.site);
    for child in status.children.iter().filter(|child| child.state != "revoked") {
        let name = child.site.as_str();
        let is_in = child.state == "joined";
        if !is_in && is_read(child) {
            continue;
        }
        let at = child.last_seen.filter(|at| is_in || *at > child.added).unwrap_or(child.added);
        if is_old(at, config.alerts.silent_hours, HOUR) {
            let what = if is_in { "was here last" } else { "has not come; it was invited" };
            add("silent", name, format!("{name} {what} {}", ago(*now, at)));
        }
    }
}

/// Sources that could not be read for long. One that is asked more seldom than that is none.
fn of_the_sources(
    known: &Known<'_>,
    is_old: &impl Fn(Timestamp, u32, i64) -> bool,
    add: &mut impl FnMut(&str, &str, String),
) {
    let Known { config, status, now, .. } = known;
    for source in &config.sources {
        let state = status.sources.iter().find(|state| state.name == source.name);
        let Some(state) = state else { continue };
        let overdue = state.next_at.is_none_or(|at| now.since(at) >= HOUR);
        let at = state.last_contact.or(state.since).filter(|_| state.failures > 0 || overdue);
        let Some(at) = at.filter(|at| is_old(*at, config.alerts.silent_hours, HOUR)) else {
            continue;
        };
        let name = source.name.as_str();
        let read = match state.last_contact {
            Some(_) => format!("{name} was read last {}", ago(*now, at)),
            None => format!("{name} could not be read since {}", ago(*now, at)),
        };
        let error = state.last_error.as_deref();
        add("silent", name, error.map_or(read.clone(), |error| format!("{read}: {error}")));
    }
}

/// What is wrong on the way to the parent.
fn of_the_link(
    known: &Known<'_>,
    is_old: &impl Fn(Timestamp, u32, i64) -> bool,
    add: &mut impl FnMut(&str, &str, String),
) {
    let Known { config, status, now, .. } = known;
    let rules = &config.alerts;
    let heard = match config.up() {
        Some(Up::Read) => status.read.reader_at,
        _ => status.link.last_contact,
    };
    // A FHIR server of another make is spoken to only when there is something for it.
    let speaks = config.up() != Some(Up::Fhir) || status.oldest_undelivered.is_some();
    if let Some(at) = heard.filter(|at| speaks && is_old(*at, rules.silent_hours, HOUR)) {
        add("silent", "parent", format!("the parent was heard last {}", ago(*now, at)));
    }
    let oldest = status.oldest_undelivered;
    if let Some(at) = oldest.filter(|at| is_old(*at, rules.undelivered_hours, HOUR)) {
        let text = format!("the parent lacks a change of {}: `tributary queue`", ago(*now, at));
        add("undelivered", "", text);
    }
    if rules.carriers && config.parent.as_ref().is_some_and(|parent| parent.up == Up::Carried) {
        if let Some(text) = silence(status, &config.limits, *now) {
            add("carrier", "absent", text);
        }
        if status.outbox.missing > 0 {
            let text = format!(
                "{} messages: the carrier says delivered, the parent does not have it",
                status.outbox.missing
            );
            add("carrier", "no-receipt", text);
        }
    }
}

/// What is wrong on the way to the record system.
fn of_the_emr(
    known: &Known<'_>,
    is_old: &impl Fn(Timestamp, u32, i64) -> bool,
    add: &mut impl FnMut(&str, &str, String),
) {
    let Known { config, status, now, .. } = known;
    let Some(emr) = &status.emr else { return };
    if let Some(at) = emr.away_since.filter(|at| is_old(*at, config.alerts.emr_hours, HOUR)) {
        let error = emr.last_error.as_deref().unwrap_or("no reason is known");
        add("emr", "away", format!("the record system is away since {}: {error}", ago(*now, at)));
    }
    let oldest = emr.oldest_due.filter(|_| emr.applies);
    if let Some(at) = oldest.filter(|at| is_old(*at, config.alerts.undelivered_hours, HOUR)) {
        let ago = ago(*now, at);
        let text = format!("the record system lacks a change of {ago}: `tributary emr list`");
        add("emr", "undelivered", text);
    }
    if config.alerts.parked && emr.parked > 0 {
        let text = format!(
            "the record system refused {} records: `tributary emr list` says why",
            emr.parked
        );
        add("emr", "parked", text);
    }
}

/// How long something has to be well before its alert is cleared, in milliseconds: what comes and
/// goes is one alert.
pub const SETTLE: i64 = 10 * 60_000;

/// Since when what is raised was not found any more, by rule and subject.
pub type Well = BTreeMap<(String, String), Timestamp>;

/// What is to be raised and what is to be cleared.
pub fn due(
    open: &[Alert],
    found: &[AlertFound],
    well: &mut Well,
    now: Timestamp,
) -> (Vec<AlertFound>, Vec<u64>) {
    let is = |alert: &Alert, found: &AlertFound| {
        alert.rule == found.rule && alert.subject == found.subject
    };
    let is_raised = |one: &AlertFound| open.iter().any(|alert| is(alert, one));
    let raise = found.iter().filter(|one| !is_raised(one)).cloned().collect();
    let mut clear = Vec::new();
    let mut still = Well::new();
    for alert in open.iter().filter(|alert| !found.iter().any(|one| is(alert, one))) {
        let name = (alert.rule.clone(), alert.subject.clone());
        let since = well.get(&name).copied().unwrap_or(now);
        match now.since(since) >= SETTLE {
            true => clear.push(alert.key),
            false => drop(still.insert(name, since)),
        }
    }
    *well = still;
    (raise, clear)
}

/// Whether the settings can be kept to; else what is wrong.
pub fn check(rules: &Rules, limits: &Limits) -> anyhow::Result<()> {
    if rules.disk_percent > 100 {
        anyhow::bail!("alerts.disk_percent is over 100");
    }
    if limits.clock_offset_seconds == 0 && rules.clocks {
        anyhow::bail!("limits.clock_offset_seconds is 0: every clock would raise an alert");
    }
    if let Some(email) = &rules.email {
        email.check()?;
    }
    match &rules.webhook {
        Some(url) if !(url.starts_with("https://") || url.starts_with("http://")) => {
            anyhow::bail!("alerts.webhook must begin with https:// or http://")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn one(rule: &str) -> AlertFound {
        AlertFound { rule: rule.to_owned(), subject: String::new(), text: String::new() }
    }

    fn raised(rule: &str, key: u64) -> Alert {
        let (rule, subject, text) = (rule.to_owned(), String::new(), String::new());
        Alert { key, rule, subject, text, raised: NOW, cleared: None }
    }

    #[test]
    fn what_comes_and_goes_is_one_alert_and_what_is_well_for_a_while_is_cleared() {
        let mut well = Well::new();
        let (raise, clear) = due(&[], &[one("disk")], &mut well, NOW);
        assert_eq!((raise, clear), (vec![one("disk")], vec![]));
        let open = [raised("disk", 7)];
        let later = |minutes: i64| NOW.plus_millis(minutes * 60_000);
        for (minutes, is_found) in [(1, true), (2, false), (8, false), (9, true), (10, false)] {
            let found = if is_found { vec![one("disk")] } else { vec![] };
            assert_eq!(
                due(&open, &found, &mut well, later(minutes)),
                (vec![], vec![]),
                "{minutes}"
            );
        }
        assert_eq!(due(&open, &[], &mut well, later(19)), (vec![], vec![]));
        assert_eq!(due(&open, &[], &mut well, later(20)), (vec![], vec![7]));
    }
}
