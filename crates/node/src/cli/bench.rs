//! `tributary bench`: how fast and how small, on this machine.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use indicatif::ProgressBar;

use crate::bench::{self, FIGURES, Figure, LONG, Listener, Options, target};
use crate::cli::open::block_on;
use crate::cli::say;
use crate::progress;

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object a figure: name, value, unit, settings
    #[arg(long)]
    json: bool,
    /// Measure with the records of these FHIR files and folders instead of generated ones
    #[arg(long, value_name = "PATH", num_args = 1..)]
    import: Vec<PathBuf>,
    /// How many records the rates are measured with
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    records: usize,
    /// Measure these figures only
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Also measure what takes long: a site with a million records
    #[arg(long)]
    full: bool,
    /// Fewer records: 10,000 for the rates, 100,000 instead of a million
    #[arg(long)]
    quick: bool,
    /// Where sites are made for the time of a measurement; the folder for temporary files
    /// otherwise
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Measures. Fails where something could not be measured, not where a target was missed.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(name) = args.only.iter().find(|name| !FIGURES.iter().any(|(n, _)| n == name)) {
        let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
        bail!("failed to measure {name}: there is no such figure; there are {}", names.join(", "));
    }
    let wanted = FIGURES.iter().map(|(name, _)| *name).filter(|name| {
        let chosen = args.only.iter().any(|only| only == name);
        chosen || (args.only.is_empty() && (args.full || !LONG.contains(name)))
    });
    let options = Options {
        import: args.import.clone(),
        records: if args.quick { args.records.min(10_000) } else { args.records },
        many: if args.quick { 100_000 } else { 1_000_000 },
        quick: args.quick,
        names: wanted.map(str::to_owned).collect(),
        folder: args.folder.clone().unwrap_or_else(std::env::temp_dir),
    };
    let teller = Teller {
        json: args.json,
        bar: progress::spinner("starting"),
        missed: RefCell::new(Vec::new()),
    };
    if !args.json {
        say!("{:<34} {:>12} {:<12} {:>16}", "figure", "value", "unit", "target");
    }
    block_on(bench::run(&options, &teller))??;
    teller.bar.finish_and_clear();
    let missed = teller.missed.into_inner();
    if !args.json {
        match missed.as_slice() {
            [] => say!("all targets are met"),
            names => say!("missed: {}", names.join(", ")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Teller {
    json: bool,
    bar: ProgressBar,
    missed: RefCell<Vec<&'static str>>,
}

impl Listener for Teller {
    fn progress(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    fn figure(&self, figure: &Figure) {
        let target = target(figure.name);
        let met = target.is_met(figure.value);
        if met == Some(false) {
            self.missed.borrow_mut().push(figure.name);
        }
        let text = if self.json {
            serde_json::to_string(figure).unwrap_or_default()
        } else {
            let (name, value, unit) = (figure.name, rounded(figure.value), figure.unit);
            let mark = if met == Some(false) { "  missed" } else { "" };
            format!("{name:<34} {value:>12} {unit:<12} {:>16}{mark}", target.to_string())
        };
        self.bar.suspend(|| say!("{text}"));
    }
}

fn rounded(value: f64) -> String {
    if value >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
