//! `tributary restore`: a site's store from a backup, in a new epoch.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use protocol::Epoch;
use store::Store as _;
use store::sqlite::SqliteStore;

use crate::cli::open::{Dir, options};
use crate::cli::say;
use crate::config::Config;
use crate::ports::system::{OsEntropy, SystemClock};
use crate::ports::{Clock as _, Entropy as _};

/// What `restore` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    dir: Dir,
    /// Set the store that is there now aside (its name gets the ending .replaced)
    #[arg(long)]
    replace: bool,
}

/// Restores.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.dir.dir)?;
    let lock = std::fs::File::options()
        .create(true)
        .append(true)
        .open(args.dir.dir.join("serve.lock"))
        .context("failed to open serve.lock")?;
    if lock.try_lock().is_err() {
        bail!("failed to restore: stop `tributary serve` first");
    }
    let path = args.dir.store();
    let aside = path.with_extension("db.restoring");
    std::fs::copy(&args.file, &aside)
        .with_context(|| format!("failed to copy {}", args.file.display()))?;
    let epoch = Epoch::from_random(OsEntropy.uuid_bytes());
    let result = SqliteStore::restore_as(&aside, &epoch, SystemClock.now())
        .and_then(|()| SqliteStore::open(&aside, options(&config))?.site())
        .with_context(|| format!("failed to restore {}", args.file.display()));
    let held = match result {
        Ok(held) if held.site == config.site => held,
        Ok(held) => {
            remove(&aside);
            bail!(
                "failed to restore: the backup is of {}, this site is {}",
                held.site,
                config.site
            );
        }
        Err(error) => {
            remove(&aside);
            return Err(error);
        }
    };
    replace(&path, &aside, args.replace)?;
    say!("Restored {} up to change {}, in the new epoch {epoch}.", held.site, held.sequence);
    say!(
        "Its children compare all records with it at their next contact and give back what it lost."
    );
    say!("What its parent has sent since the backup, it asks for again.");
    Ok(ExitCode::SUCCESS)
}

/// The file and what SQLite keeps beside it.
fn beside(path: &std::path::Path) -> [PathBuf; 3] {
    let with = |ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
    [path.to_owned(), with("-wal"), with("-shm")]
}

fn remove(path: &std::path::Path) {
    for file in beside(path) {
        // What is not there need not be removed.
        drop(std::fs::remove_file(file));
    }
}

fn replace(path: &std::path::Path, by: &std::path::Path, allowed: bool) -> anyhow::Result<()> {
    if path.exists() && !allowed {
        remove(by);
        bail!("failed to restore: {} is there; --replace sets it aside", path.display());
    }
    for file in beside(path).iter().filter(|file| file.exists()) {
        let aside = PathBuf::from(format!("{}.replaced", file.display()));
        std::fs::rename(file, &aside)
            .with_context(|| format!("failed to set {} aside", file.display()))?;
    }
    for (from, to) in beside(by).iter().zip(beside(path)).filter(|(from, _)| from.exists()) {
        std::fs::rename(from, &to)
            .with_context(|| format!("failed to put {} in place", to.display()))?;
    }
    Ok(())
}
