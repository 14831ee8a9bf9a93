//! `tributary export`: this site's records as NDJSON.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use protocol::{RecordRef, ResourceType};
use store::{Disclosure, Scope, SearchQuery};

use crate::cli::open::Dir;
use crate::cli::say;
use crate::disclosure;
use crate::progress;
use crate::site::Site;

/// Records that are read at a time.
const PAGE: u32 = 500;

/// What `export` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write: NDJSON, compressed where its name ends in .gz or .zst
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only the records of these patients
    #[arg(long, value_name = "Patient/ID")]
    patient: Vec<RecordRef>,
    #[command(flatten)]
    dir: Dir,
}

/// Exports all current records.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let aside = PathBuf::from(format!("{}.new", args.file.display()));
    let records = site.store().site_status(site.now())?.records;
    let bar = progress::bar(records, "records");
    let shown = Disclosure {
        patients: args.patient.clone(),
        everything: args.patient.is_empty(),
        ..disclosure::of("export", String::new())
    };
    disclosure::note_once(&site, &shown)?;
    let count = write_file(&site, args, &aside, &bar)
        .with_context(|| format!("failed to write {}", args.file.display()))?;
    std::fs::rename(&aside, &args.file)
        .with_context(|| format!("failed to write {}", args.file.display()))?;
    bar.finish_and_clear();
    say!("{count} records in {}.", args.file.display());
    say!("They are patients' records: keep the file where only you can read it.");
    Ok(ExitCode::SUCCESS)
}

fn write_file(
    site: &Site,
    args: &Args,
    aside: &Path,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<u64> {
    let file = File::create(aside)?;
    let name = args.file.to_string_lossy().to_lowercase();
    if name.ends_with(".gz") {
        let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        let count = write_all(site, args, &mut out, bar)?;
        out.finish()?.sync_all()?;
        return Ok(count);
    }
    if name.ends_with(".zst") {
        let mut out = zstd::stream::write::Encoder::new(file, 9)?;
        let count = write_all(site, args, &mut out, bar)?;
        out.finish()?.sync_all()?;
        return Ok(count);
    }
    let mut out = BufWriter::new(file);
    let count = write_all(site, args, &mut out, bar)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(count)
}

fn write_all(
    site: &Site,
    args: &Args,
    out: &mut dyn Write,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<u64> {
    let patients = (!args.patient.is_empty()).then(|| args.patient.clone());
    let mut count = 0;
    for kind in ResourceType::all() {
        let mut query = SearchQuery {
            kind: Some(kind),
            patients: patients.clone(),
            limit: PAGE,
            ..SearchQuery::default()
        };
        loop {
            let page = site.store().record_search(&query, &Scope::Everything)?;
            for body in page.records.iter().filter_map(|record| record.body.as_deref()) {
                writeln!(out, "{body}")?;
                count += 1;
            }
            bar.set_position(count);
            if page.next.is_none() {
                break;
            }
            query.after = page.next;
        }
    }
    Ok(count)
}
