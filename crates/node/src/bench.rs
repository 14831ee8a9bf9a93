//! `tributary bench`: how fast, how small. Each figure is measured on real sites that do their
//! real work; a run that did not end in step gives an error instead of a figure.

mod below;
pub mod data;
mod emr;
mod foreign;
mod link;
mod merge;
mod outbox;
pub mod pair;
mod process;
pub mod proxy;
mod rates;
mod scale;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use protocol::Limits;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bench::data::Data;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its name; names do not change from release to release.
    pub name: &'static str,
    /// Its value, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it was measured with.
    pub settings: Map<String, Value>,
}

impl Figure {
    fn new(name: &'static str, value: f64, unit: &'static str, settings: Value) -> Figure {
        let settings = match settings {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        Figure { name, value: (value * 1_000.0).round() / 1_000.0, unit, settings }
    }
}

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
    /// Told for comparison.
    None,
}

impl Target {
    /// Whether a value reaches it; `None` where there is nothing to reach.
    pub fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Target::AtLeast(target) => Some(value >= target),
            Target::AtMost(target) => Some(value <= target),
            Target::None => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::AtLeast(target) => write!(f, "at least {target}"),
            Target::AtMost(target) => write!(f, "at most {target}"),
            Target::None => f.write_str("-"),
        }
    }
}

/// Every figure with its target, in the order in which they are measured.
pub const FIGURES: &[(&str, Target)] = &[
    ("import_rate", Target::AtLeast(10_000.0)),
    ("reconcile_micros", Target::AtMost(50.0)),
    ("reconcile_per_parse", Target::AtMost(4.0)),
    ("apply_rate", Target::AtLeast(15_000.0)),
    ("first_load_rate", Target::AtLeast(15_000.0)),
    ("disk_bytes_per_record", Target::AtMost(1_500.0)),
    ("stream_rate", Target::AtLeast(30_000.0)),
    ("wire_bytes_per_resource_10000", Target::AtMost(75.0)),
    ("wire_bytes_per_resource_1000", Target::AtMost(90.0)),
    ("wire_bytes_per_resource_newcomers", Target::None),
    ("wire_bytes_visit", Target::AtMost(1_000.0)),
    ("wire_bytes_visit_round", Target::None),
    ("wire_bytes_idle_poll", Target::AtMost(600.0)),
    ("link_256k_1000_seconds", Target::AtMost(6.0)),
    ("link_256k_10000_seconds", Target::AtMost(30.0)),
    ("foreign_records_per_request", Target::AtLeast(10.0)),
    ("foreign_rate", Target::None),
    ("push_rate_50", Target::AtLeast(5_000.0)),
    ("emr_first_load_ratio", Target::AtLeast(0.7)),
    ("emr_apply_ratio", Target::AtLeast(0.7)),
    ("emr_rss", Target::AtMost(120.0)),
    ("message_p99_ms", Target::AtMost(50.0)),
    ("sources_650_idle_cpu", Target::AtMost(20.0)),
    ("lease_million_ms", Target::AtMost(5.0)),
    ("rss_child_million", Target::AtMost(100.0)),
    ("start_million_seconds", Target::AtMost(0.5)),
    ("disk_bytes_per_record_million", Target::AtMost(1_500.0)),
    ("catchup_ratio", Target::AtMost(1.3)),
];

/// The figures that take long, or minutes of doing nothing: they are measured only when asked for.
pub const LONG: &[&str] = &[
    "sources_650_idle_cpu",
    "emr_first_load_ratio",
    "emr_apply_ratio",
    "emr_rss",
    "lease_million_ms",
    "rss_child_million",
    "start_million_seconds",
    "disk_bytes_per_record_million",
    "catchup_ratio",
];

/// The target of a figure.
pub fn target(name: &str) -> Target {
    FIGURES.iter().find(|(known, _)| *known == name).map_or(Target::None, |(_, target)| *target)
}

/// What to measure, and with what.
#[derive(Debug, Clone)]
pub struct Options {
    /// FHIR files instead of generated records.
    pub import: Vec<PathBuf>,
    /// Records of the figures that measure a rate.
    pub records: usize,
    /// Records of a site that holds a lot: the "million".
    pub many: usize,
    /// Whether fewer records are wanted.
    pub quick: bool,
    /// The figures that are wanted.
    pub names: Vec<String>,
    /// Where the sites' folders are made for the time of a measurement.
    pub folder: PathBuf,
}

/// Who hears of figures and of progress.
pub trait Listener {
    /// A measurement goes on.
    fn progress(&self, what: &str);
    /// A figure is there.
    fn figure(&self, figure: &Figure);
}

/// What a measurement works with.
struct Bench<'a> {
    options: &'a Options,
    data: Data,
    listener: &'a dyn Listener,
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        self.options.names.iter().any(|wanted| wanted == name)
    }

    /// A new folder for sites, which goes when it is dropped.
    fn folder(&self) -> anyhow::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("tributary-bench-")
            .tempdir_in(&self.options.folder)
            .with_context(|| format!("failed to make a folder in {}", folder(self.options)))
    }

    fn say(&self, what: &str) {
        self.listener.progress(what);
    }

    fn tell(&self, figure: &Figure) {
        self.listener.figure(figure);
    }
}

fn folder(options: &Options) -> std::path::Display<'_> {
    Path::display(&options.folder)
}

/// Measures what is wanted, one after the other.
pub async fn run(options: &Options, listener: &dyn Listener) -> anyhow::Result<()> {
    listener.progress("reading records");
    let data = Data::load(&options.import, &Limits::default())?;
    let bench = Bench { options, data, listener };
    rates::import(&bench).await?;
    merge::measure(&bench)?;
    rates::apply(&bench).await?;
    rates::first_load(&bench).await?;
    rates::stream(&bench).await?;
    link::catch_up(&bench, "wire_bytes_per_resource_10000", 10_000).await?;
    link::catch_up(&bench, "wire_bytes_per_resource_1000", 1_000).await?;
    link::newcomers(&bench).await?;
    link::visit(&bench).await?;
    link::idle_poll(&bench).await?;
    link::slow(&bench, "link_256k_1000_seconds", 1_000).await?;
    link::slow(&bench, "link_256k_10000_seconds", 10_000).await?;
    foreign::backlog(&bench).await?;
    below::senders(&bench).await?;
    emr::measure(&bench).await?;
    outbox::answers(&bench).await?;
    below::idle_sources(&bench).await?;
    outbox::leases(&bench).await?;
    scale::many(&bench).await
}
