//! `tributary demo`: the story of a centre and its clinics, told on the terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::ProgressBar;

use crate::cli::open::block_on;
use crate::cli::say;
use crate::demo::story::{self, Cast, Narrator, Options};
use crate::ports::Clock as _;
use crate::ports::system::SystemClock;
use crate::progress;

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to make the sites' folders; a temporary folder otherwise, which goes in the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many patients to make up
    #[arg(long, value_name = "N", default_value_t = 300)]
    patients: u64,
    /// How many clinics there are
    #[arg(long, value_name = "N", default_value_t = 3)]
    clinics: usize,
    /// Another seed makes other patients
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Use the patients of these FHIR files and folders instead, dealt among the clinics
    #[arg(long, value_name = "PATH", num_args = 1..)]
    import: Vec<PathBuf>,
    /// Stay up at the end and print the addresses, until Ctrl-C
    #[arg(long)]
    serve: bool,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    /// Only the end of the story
    #[arg(long)]
    quiet: bool,
}

/// Tells the story; succeeds only where all sites are in step at its end.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::tempdir().context("failed to make a temporary folder")?;
    let options = Options {
        folder: args.dir.clone().unwrap_or_else(|| temporary.path().to_owned()),
        patients: args.patients,
        clinics: args.clinics,
        seed: args.seed,
        import: args.import.clone(),
        today: SystemClock.now(),
    };
    let quiet = args.quiet || args.json;
    let teller = Teller { quiet, bar: progress::bar(0, "") };
    if quiet {
        teller.bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    block_on(async {
        let (report, cast) = story::run(&options, &teller).await?;
        teller.bar.finish_and_clear();
        if args.json {
            say!("{}", serde_json::to_string(&report)?);
        } else {
            say!("{}", report.table());
            say!("{:.1} s", report.seconds);
            say!("in step: {}", if report.in_step { "yes" } else { "no" });
        }
        if args.serve {
            stay_up(&cast).await?;
        }
        Ok(if report.in_step { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })?
}

async fn stay_up(cast: &Cast) -> anyhow::Result<()> {
    for site in std::iter::once(&cast.centre).chain(&cast.clinics) {
        let url = &site.site().config().public_url;
        say!("{:<14} {url}/fhir/metadata  {url}/feeds", site.id());
    }
    say!("Ctrl-C ends it.");
    tokio::signal::ctrl_c().await.context("failed to wait for Ctrl-C")
}

struct Teller {
    quiet: bool,
    bar: ProgressBar,
}

impl Narrator for Teller {
    fn tell(&self, what: &str) {
        if !self.quiet {
            self.bar.suspend(|| say!("- {what}"));
        }
    }

    fn progress(&self, what: &str, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_message(what.to_owned());
        self.bar.set_position(done);
    }
}
