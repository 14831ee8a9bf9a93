//! `tributary cohort`: which patients belong together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use protocol::cohort::{Area, Definition, LocationBy};
use protocol::{CohortName, FeedId, RecordRef, ResourceType};
use store::CohortDraft;

use crate::cli::open::Dir;
use crate::cli::say;
use crate::site::Site;

/// What `cohort` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a cohort or change which patients it holds
    Set(Set),
    /// List the cohorts
    List {
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one cohort and its patients
    Show {
        /// The cohort's name
        #[arg(value_name = "NAME")]
        name: CohortName,
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The cohort's name, which is also its feed's
    #[arg(value_name = "NAME")]
    name: CohortName,
    #[command(flatten)]
    patients: Patients,
    /// With --location, which elements count: managing, encounter, identifier [default: all]
    #[arg(long, value_name = "ELEMENT", requires = "location", value_parser = location_by)]
    by: Vec<LocationBy>,
    /// A title for people
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    #[command(flatten)]
    dir: Dir,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Patients {
    /// Every patient
    #[arg(long)]
    all: bool,
    /// Patients looked after at these places: Location/ID or Organization/ID
    #[arg(long, value_name = "REF", num_args = 1..)]
    location: Vec<RecordRef>,
    /// Patients who live there: "Kenya > Kisumu", from the country downwards
    #[arg(long, value_name = "PREFIX", num_args = 1..)]
    address: Vec<Area>,
    /// Members of these FHIR Groups: Group/ID
    #[arg(long, value_name = "REF", num_args = 1..)]
    group: Vec<RecordRef>,
    /// The patients in a file: one ID or Patient/ID a line
    #[arg(long, value_name = "FILE")]
    patients: Option<PathBuf>,
}

fn location_by(text: &str) -> Result<LocationBy, String> {
    match text {
        "managing" => Ok(LocationBy::Managing),
        "encounter" => Ok(LocationBy::Encounter),
        "identifier" => Ok(LocationBy::Identifier),
        _ => Err("it must be managing, encounter or identifier".to_owned()),
    }
}

/// Runs the action.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Set(set) => set_cohort(&set.dir.open()?, set),
        Action::List { dir, json } => list(&dir.open()?, *json),
        Action::Show { name, dir, json } => show(&dir.open()?, name, *json),
    }
}

fn set_cohort(site: &Site, set: &Set) -> anyhow::Result<ExitCode> {
    let draft = CohortDraft {
        name: set.name.clone(),
        feed: FeedId::from_random(site.entropy().uuid_bytes()),
        title: set.title.clone(),
        definition: definition(site, set)?,
        page_entries: site.config().limits.page_entries,
    };
    let change = site.store().cohort_set(&draft, site.now())?;
    let made = if change.created { "Made" } else { "Changed" };
    say!(
        "{made} the cohort {}: {} patients ({} joined, {} left).",
        set.name,
        change.patients,
        change.joined,
        change.left
    );
    Ok(ExitCode::SUCCESS)
}

fn definition(site: &Site, set: &Set) -> anyhow::Result<Definition> {
    let chosen = &set.patients;
    let of_kinds = |refs: &[RecordRef], kinds: &[&str]| -> anyhow::Result<BTreeSet<RecordRef>> {
        if let Some(odd) = refs.iter().find(|r| !kinds.contains(&r.kind.name())) {
            bail!("failed to define the cohort: {odd} is not a {}", kinds.join(" or "));
        }
        Ok(refs.iter().cloned().collect())
    };
    if chosen.all {
        return Ok(Definition::All {});
    }
    if !chosen.location.is_empty() {
        let places = of_kinds(&chosen.location, &["Location", "Organization"])?;
        return Ok(Definition::Location { places, by: set.by.iter().copied().collect() });
    }
    if !chosen.group.is_empty() {
        return Ok(Definition::Group { groups: of_kinds(&chosen.group, &["Group"])? });
    }
    if let Some(file) = &chosen.patients {
        return patients_of(file, site.config().limits.cohort_patients);
    }
    Ok(Definition::Address { areas: chosen.address.iter().cloned().collect() })
}

fn patients_of(file: &std::path::Path, limit: usize) -> anyhow::Result<Definition> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    let mut patients = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let id = line.strip_prefix("Patient/").unwrap_or(line);
        let patient = RecordRef::new(ResourceType::PATIENT, id)
            .with_context(|| format!("failed to read {} line {}", file.display(), number + 1))?;
        patients.insert(patient);
        if patients.len() > limit {
            bail!("failed to read {}: over the limit cohort_patients = {limit}", file.display());
        }
    }
    Ok(Definition::Patients { patients })
}

fn list(site: &Site, json: bool) -> anyhow::Result<ExitCode> {
    let cohorts = site.store().cohort_list()?;
    if json {
        say!("{}", serde_json::to_string_pretty(&cohorts)?);
        return Ok(ExitCode::SUCCESS);
    }
    if cohorts.is_empty() {
        say!("No cohorts yet: `tributary cohort set NAME --all` makes one of everybody.");
    }
    for cohort in cohorts {
        say!(
            "{:<24} {:>8} patients  {:>8} entries  {}",
            cohort.name,
            cohort.patients,
            cohort.head,
            serde_json::to_string(&cohort.definition)?
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show(site: &Site, name: &CohortName, json: bool) -> anyhow::Result<ExitCode> {
    const PAGE: usize = 1_000;
    let Some(cohort) = site.store().cohort_list()?.into_iter().find(|c| c.name == *name) else {
        bail!("failed to show {name}: there is no such cohort");
    };
    if json {
        say!("{}", serde_json::to_string_pretty(&cohort)?);
    } else {
        say!("{} ({}): {} patients", cohort.name, cohort.title, cohort.patients);
        say!("{}", serde_json::to_string(&cohort.definition)?);
    }
    let mut after = None;
    loop {
        let page = site.store().cohort_patients(name, after.as_ref(), PAGE)?;
        for patient in page.iter().filter(|_| !json) {
            say!("{patient}");
        }
        if page.len() < PAGE {
            return Ok(ExitCode::SUCCESS);
        }
        after = page.into_iter().next_back();
    }
}
