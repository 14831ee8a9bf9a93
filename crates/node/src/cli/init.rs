//! `tributary init`: a new site.

mod beside;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use protocol::{Epoch, FeedId, Limits, SiteId};
use store::NewSite;
use store::sqlite::SqliteStore;

use crate::cli::open::{Dir, options, write_secret};
use crate::cli::{emr, say};
use crate::config::{Config, FILE_NAME};
use crate::ports::system::{OsEntropy, SystemClock};
use crate::ports::{Clock as _, Entropy as _};

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
    /// The site's id: lower-case letters, digits and '-', for example kisumu-east
    #[arg(long, value_name = "ID")]
    site: SiteId,
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// The URL under which other sites reach this one [default: http://ADDR]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Listen beyond this machine without TLS: only on a network that is private itself
    #[arg(long)]
    insecure_http: bool,
    /// Let programs on this machine use /fhir without a credential
    #[arg(long)]
    open_on_loopback: bool,
    #[command(flatten)]
    beside: beside::Args,
}

/// Makes the folder, the settings and the store; then asks the record system, where there is one.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = &args.dir.dir;
    if folder.join(FILE_NAME).exists() || args.dir.store().exists() {
        bail!("failed to make a site in {}: there is one already", folder.display());
    }
    let beside = args.beside.choose()?;
    let config = Config {
        site: args.site.clone(),
        listen: args.listen,
        public_url: args
            .public_url
            .clone()
            .map(|url| url.trim_end_matches('/').to_owned())
            .unwrap_or_else(|| format!("http://{}", args.listen)),
        insecure_http: args.insecure_http,
        open_on_loopback: args.open_on_loopback,
        parent: None,
        merge: BTreeMap::new(),
        link: crate::config::LinkConfig::default(),
        emr: beside.config.clone(),
        visitors: protocol::visit::Rules::default(),
        alerts: crate::alerts::Rules::default(),
        limits: Limits::default(),
        sources: Vec::new(),
    };
    config.check()?;
    make_folder(folder)?;
    for (file, secret) in &beside.secrets {
        write_secret(&folder.join(file), secret)?;
    }
    let new = NewSite {
        site: args.site.clone(),
        epoch: Epoch::from_random(OsEntropy.uuid_bytes()),
        reference: FeedId::from_random(OsEntropy.uuid_bytes()),
    };
    SqliteStore::create(&args.dir.store(), &new, options(&config), SystemClock.now())
        .with_context(|| format!("failed to make {}", args.dir.store().display()))?;
    config.save(folder)?;
    say!("Made the site {} in {}.", args.site, folder.display());
    let code = match config.emr.is_system() {
        true => ask(&args.dir),
        false => ExitCode::SUCCESS,
    };
    say!("Next:");
    say!("  tributary serve --dir {}", folder.display());
    say!("  as a parent: tributary cohort set ... and tributary child add ...");
    say!("  as a child:  tributary join URL --code CODE --dir {}", folder.display());
    Ok(code)
}

/// Asks the record system what it can do and lacks. The site is made, whatever it says.
fn ask(dir: &Dir) -> ExitCode {
    let asked = dir.open().and_then(|site| emr::check(&site));
    let code = match asked {
        Ok(code) => code,
        Err(error) => {
            say!("{error:#}");
            ExitCode::FAILURE
        }
    };
    if code != ExitCode::SUCCESS {
        let folder = dir.dir.display();
        say!("The site is made, and is not ready for its record system. Mend what is named here");
        say!("(the settings are in [emr] of {folder}/{FILE_NAME}), then ask again:");
        say!("  tributary emr check --dir {folder}");
    }
    code
}

fn make_folder(folder: &std::path::Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        // Patients' records live here: nobody else on this machine needs to look in.
        builder.mode(0o700);
    }
    builder.create(folder).with_context(|| format!("failed to make {}", folder.display()))
}
