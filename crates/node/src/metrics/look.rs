//! One look at a site: all metrics with their values now.

use std::collections::BTreeSet;
use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use protocol::Timestamp;
use store::{Alert, ChildInfo, LinkName, SiteStatus, SourceInfo, StoreError};

use super::Labels;
use super::list::{self, Kind, Metric};
use crate::alerts;
use crate::disk::Disk;
use crate::http::sync::status::ChildReport;
use crate::site::Site;

/// Alerts that are counted, at the most.
const ALERTS: usize = 10_000;
/// States of changes on their way up.
const QUEUE_STATES: [&str; 7] =
    ["ready", "leased", "handed-over", "retry", "parked", "done", "dropped"];
/// Characters of what a child says of its version.
const VERSION: usize = 32;

/// All metrics of a site, as OpenMetrics text.
pub async fn text(site: &Site) -> Result<String, StoreError> {
    let now = site.now();
    let found =
        site.read(move |store| Ok((store.site_status(now)?, store.alert_list(false, ALERTS)?)));
    let (status, alerts) = found.await?;
    let look = Look { site: site.clone(), status, alerts, disk: site.disk(), now };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(look));
    let mut text = String::new();
    text::encode(&mut text, &registry).map_err(|error| StoreError::Database {
        step: "write its metrics",
        source: error.into(),
    })?;
    Ok(text)
}

/// What is known at one moment.
struct Look {
    site: Site,
    status: SiteStatus,
    alerts: Vec<Alert>,
    disk: Option<Disk>,
    now: Timestamp,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a look at {}", self.status.site)
    }
}

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let values = self.values();
        for metric in list::ALL {
            let unit = match metric.unit() {
                "seconds" => Some(Unit::Seconds),
                "bytes" => Some(Unit::Bytes),
                _ => None,
            };
            let bare = metric.family().strip_suffix(&format!("_{}", metric.unit()));
            let bare = bare.unwrap_or(metric.family());
            let kind = match metric.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let encoder = encoder.encode_descriptor(bare, metric.help, unit.as_ref(), kind)?;
            self.encode_one(metric, &values, encoder)?;
        }
        Ok(())
    }
}

/// Values with their labels, in the order in which they are shown.
#[derive(Default)]
struct Values(Vec<(&'static str, Labels, f64)>);

impl Values {
    fn add(&mut self, metric: &'static Metric, labels: &[&str], value: impl Into<Value>) {
        let Some(value) = value.into().0 else { return };
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = metric.labels.iter().copied().zip(labels.iter().map(|it| (*it).to_owned()));
        self.0.push((metric.name, labels.collect(), value));
    }
}

/// A number; `None`: it is not known, and is not shown.
struct Value(Option<f64>);

impl From<u64> for Value {
    #[allow(clippy::cast_precision_loss, reason = "the format has no other numbers")]
    fn from(number: u64) -> Value {
        Value(Some(number as f64))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value(Some(number))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(number: Option<T>) -> Value {
        Value(number.and_then(|number| number.into().0))
    }
}

#[allow(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

/// A time as seconds since 1970.
fn time(at: Option<Timestamp>) -> Option<f64> {
    at.map(|at| seconds(at.millis()))
}

impl Look {
    /// How old something is, in seconds; 0 where there is nothing.
    fn age(&self, at: Option<Timestamp>) -> f64 {
        at.map_or(0.0, |at| seconds(self.now.since(at).max(0)))
    }

    fn encode_one(
        &self,
        metric: &'static Metric,
        values: &Values,
        mut encoder: MetricEncoder<'_>,
    ) -> Result<(), Error> {
        let counted = self.site.metrics();
        match metric.name {
            name if name == list::REQUESTS.name => return counted.requests.encode(encoder),
            name if name == list::DURATIONS.name => return counted.durations.encode(encoder),
            name if name == list::APPLIED.name => return counted.applied.encode(encoder),
            name if name == list::ROUNDS.name => return counted.rounds.encode(encoder),
            name if name == list::LINK_BYTES.name => {
                for (labels, count) in self.parent_bytes() {
                    encoder
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
                }
                return counted.child_bytes.encode(encoder);
            }
            _ => {}
        }
        for (_, labels, value) in values.0.iter().filter(|(name, ..)| *name == metric.name) {
            match (metric.kind, labels.is_empty()) {
                (Kind::Info, _) => encoder.encode_info(labels)?,
                (Kind::Counter, true) => {
                    encoder.encode_counter::<NoLabelSet, _, f64>(value, None)?
                }
                (Kind::Counter, false) => {
                    encoder
                        .encode_family(labels)?
                        .encode_counter::<NoLabelSet, _, f64>(value, None)?;
                }
                (_, true) => encoder.encode_gauge(value)?,
                (_, false) => encoder.encode_family(labels)?.encode_gauge(value)?,
            }
        }
        Ok(())
    }

    fn values(&self) -> Values {
        let mut all = Values::default();
        let version = env!("CARGO_PKG_VERSION");
        all.add(&list::BUILD, &[self.status.site.as_str(), version], 1.0);
        self.add_store(&mut all);
        self.add_queue(&mut all);
        self.add_parent(&mut all);
        for child in &self.status.children {
            self.add_child(&mut all, child);
        }
        for source in &self.site.config().sources {
            let known = self.status.sources.iter().find(|known| known.name == source.name);
            if let Some(known) = known {
                self.add_source(&mut all, known);
            }
        }
        self.add_emr(&mut all);
        for rule in alerts::RULES {
            let raised = self.alerts.iter().filter(|alert| alert.rule == rule).count();
            all.add(&list::ALERTS, &[rule], raised as u64);
        }
        all
    }

    fn add_store(&self, all: &mut Values) {
        let status = &self.status;
        for (metric, value) in [
            (&list::RECORDS, status.records),
            (&list::PATIENTS, status.patients),
            (&list::PATIENTS_LEFT, status.patients_left),
            (&list::CHANGES, status.changes),
            (&list::MERGES, status.merged),
            (&list::CONFLICTS_OPEN, status.conflicts_open),
            (&list::AUDIT_ROWS, status.audit_rows),
            (&list::PARKED_LINES, status.parked_lines),
            (&list::INBOX, status.inbox),
            (&list::STORE, status.disk_bytes),
        ] {
            all.add(metric, &[], value);
        }
        all.add(&list::DISK_FREE, &[], self.disk.map(|disk| disk.free));
        all.add(&list::DISK_SIZE, &[], self.disk.map(|disk| disk.size));
    }

    fn add_queue(&self, all: &mut Values) {
        let status = &self.status;
        for state in QUEUE_STATES {
            let count = status.deliveries.get(state).copied().unwrap_or(0);
            all.add(&list::QUEUE, &[state], count);
        }
        all.add(&list::OLDEST_UNDELIVERED, &[], self.age(status.oldest_undelivered));
        all.add(&list::CARRIER_CONTACT, &[], time(status.outbox.carrier_at));
        all.add(&list::CARRIER_MISSING, &[], status.outbox.missing);
        all.add(&list::READER_CONTACT, &[], time(status.read.reader_at));
    }

    fn add_parent(&self, all: &mut Values) {
        let (status, link) = (&self.status, &self.status.link);
        all.add(&list::SENT, &[], self.site.metrics().sent.get());
        for marker in &status.markers {
            let labels = [marker.name.as_str(), marker.lane.as_str()];
            all.add(&list::MARKER, &labels, marker.position);
        }
        let paused = |link: &LinkName| {
            if status.paused.iter().any(|pause| pause.link == *link) { 1.0 } else { 0.0 }
        };
        if self.site.config().parent.is_some() {
            all.add(&list::PARENT_CONTACT, &[], time(link.last_contact));
            all.add(&list::PARENT_FAILURES, &[], u64::from(link.failures));
            all.add(&list::LINK_PAUSED, &["parent"], paused(&LinkName::Parent));
        }
        let children = status.children.iter().map(|child| &child.site);
        let sources = self.site.config().sources.iter().map(|source| &source.name);
        for below in children.chain(sources).collect::<BTreeSet<_>>() {
            let name = LinkName::Child(below.clone());
            all.add(&list::LINK_PAUSED, &[below.as_str()], paused(&name));
        }
    }

    fn add_emr(&self, all: &mut Values) {
        let Some(emr) = &self.status.emr else { return };
        all.add(&list::EMR_CONTACT, &[], time(emr.last_contact));
        all.add(&list::EMR_FAILURES, &[], u64::from(emr.failures));
        all.add(&list::EMR_LOADING, &[], u64::from(emr.loading && emr.captures));
        for (state, count) in [
            ("due", emr.due),
            ("retry", emr.retry),
            ("waits", emr.waits),
            ("parked", emr.parked),
            ("kept", emr.kept),
            ("dropped", emr.dropped),
            ("unread", emr.hints),
        ] {
            all.add(&list::EMR_RECORDS, &[state], count);
        }
        all.add(&list::EMR_CAPTURED, &[], emr.captured);
        all.add(&list::EMR_APPLIED, &[], emr.applied);
        all.add(&list::EMR_OLDEST, &[], self.age(emr.oldest_due));
        let paused = self.status.paused.iter().any(|pause| pause.link == LinkName::Emr);
        all.add(&list::LINK_PAUSED, &["emr"], u64::from(paused));
    }

    /// What went over the link to the parent, and what came.
    fn parent_bytes(&self) -> Vec<(Labels, u64)> {
        let link = &self.status.link;
        let of = |direction: &str, bytes| {
            (vec![("link", "parent".to_owned()), ("direction", direction.to_owned())], bytes)
        };
        match self.site.config().parent {
            Some(_) => vec![of("received", link.wire_received), of("sent", link.wire_sent)],
            None => Vec::new(),
        }
    }

    fn add_child(&self, all: &mut Values, child: &ChildInfo) {
        let name = &[child.site.as_str()][..];
        let report = child.report.as_deref();
        let report = report.and_then(|text| serde_json::from_str::<ChildReport>(text).ok());
        let version = report.as_ref().map_or("", |report| &report.version);
        all.add(&list::CHILD, &[name[0], &child.state, &plain(version)], 1.0);
        all.add(&list::CHILD_CONTACT, name, time(child.last_seen));
        all.add(&list::CHILD_CLOCK, name, child.clock_offset.map(seconds));
        if let Some(lag) = &child.lag {
            all.add(&list::CHILD_LAG_CHANGES, name, lag.changes);
            all.add(&list::CHILD_LAG_PATIENTS, name, lag.joins);
            all.add(&list::CHILD_LAG_AGE, name, self.age(lag.since));
            let left = lag.catch_up_millis.map(|millis| seconds(millis.cast_signed()));
            all.add(&list::CHILD_CATCH_UP, name, left);
        }
        let Some(report) = report else { return };
        all.add(&list::CHILD_UNDELIVERED, name, report.undelivered);
        all.add(&list::CHILD_OLDEST, name, self.age(report.oldest_undelivered));
        all.add(&list::CHILD_PARKED, name, report.parked);
        all.add(&list::CHILD_CONFLICTS, name, report.conflicts);
        all.add(&list::CHILD_STORE, name, report.disk_bytes);
    }

    fn add_source(&self, all: &mut Values, source: &SourceInfo) {
        let name = &[source.name.as_str()][..];
        all.add(&list::SOURCE_CONTACT, name, time(source.last_contact));
        all.add(&list::SOURCE_FAILURES, name, u64::from(source.failures));
        let behind = source.head.saturating_sub(source.position);
        all.add(&list::SOURCE_LAG_CHANGES, name, behind);
        all.add(&list::SOURCE_LAG_AGE, name, self.age(source.oldest));
        all.add(&list::SOURCE_PARKED, name, source.parked);
    }
}

/// What another site says, for a label: nothing that could be taken for anything else.
fn plain(text: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || ".+-_".contains(*c);
    text.chars().filter(good).take(VERSION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_word_cannot_break_a_line() {
        for (said, shown) in [
            ("0.1.0", "0.1.0"),
            ("1.2.3-rc.1+deb_2", "1.2.3-rc.1+deb_2"),
            ("1\"} 5\ntributary_records 0", "15tributary_records0"),
            ("", ""),
        ] {
            assert_eq!(plain(said), shown);
        }
        assert_eq!(plain(&"9".repeat(99)).len(), VERSION);
    }
}
