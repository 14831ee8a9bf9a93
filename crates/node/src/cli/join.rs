//! `tributary join`: a code from the parent becomes this site's credential.

use std::process::ExitCode;

use anyhow::bail;
use protocol::{FeedId, SiteId};
use store::{LeavePolicy, TokenDraft, TokenScope};

use crate::cli::open::{CREDENTIAL, Dir, block_on, write_secret};
use crate::cli::say;
use crate::config::{Config, FhirParent, Parent, Up, check_url};
use crate::http::auth::credential_hash;
use crate::http::sync::join::new_secret;
use crate::jobs::enrol;

/// What `join` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The parent's URL, for example https://centre.example
    #[arg(value_name = "URL", required_unless_present = "read_by")]
    url: Option<String>,
    /// The code that `tributary child add` printed at the parent
    #[arg(long, value_name = "CODE", required_unless_present = "read_by")]
    code: Option<String>,
    /// Join a parent that reads this site and cannot be reached from here: its site id. Nothing
    /// comes down from it
    #[arg(long, value_name = "SITE", conflicts_with_all = ["url", "code", "up"])]
    read_by: Option<SiteId>,
    /// What becomes of patients who leave this site's cohorts: keep, freeze (read only) or purge
    #[arg(long, value_name = "POLICY", default_value = "keep", value_parser = leave_policy)]
    leave: LeavePolicy,
    /// How changes go up: direct (this site sends them), carried (third parties do) or read (the
    /// parent reads them here); as before, or direct, where it is not said
    #[arg(long, value_name = "WAY", value_parser = way_up)]
    up: Option<Up>,
    /// Send the code and all records without TLS: only on a network that is private itself
    #[arg(long)]
    insecure_http: bool,
    #[command(flatten)]
    dir: Dir,
}

fn leave_policy(text: &str) -> Result<LeavePolicy, String> {
    match text {
        "keep" => Ok(LeavePolicy::Keep),
        "freeze" => Ok(LeavePolicy::Freeze),
        "purge" => Ok(LeavePolicy::Purge),
        _ => Err("it must be keep, freeze or purge".to_owned()),
    }
}

fn way_up(text: &str) -> Result<Up, String> {
    match text {
        "direct" => Ok(Up::Direct),
        "carried" => Ok(Up::Carried),
        "read" => Ok(Up::Read),
        _ => Err("it must be direct, carried or read".to_owned()),
    }
}

/// Joins.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (Some(url), Some(code)) = (&args.url, &args.code) else { return join_reader(args) };
    let url = url.trim_end_matches('/').to_owned();
    check_url("URL", &url)?;
    if url.starts_with("http://") && !args.insecure_http && !is_loopback(&url) {
        bail!(
            "failed to join {url}: it is not encrypted. Use https://, or say --insecure-http if \
             the network itself is private"
        );
    }
    let site = args.dir.open()?;
    let mut config = site.config().clone();
    if let Some(parent) = config.parent.as_ref().filter(|parent| parent.url != url) {
        say!("This site's parent was {} so far.", parent.url);
    }
    let answer = block_on(enrol::redeem(&site, &url, code))??;
    write_secret(&args.dir.dir.join(CREDENTIAL), &answer.credential)?;
    let before = config.parent.as_ref().map(|parent| parent.up).filter(|up| *up != Up::Fhir);
    config.parent = Some(Parent {
        url: url.clone(),
        site: answer.site.clone(),
        leave: args.leave,
        up: args.up.or(before).unwrap_or_default(),
        fhir: FhirParent::default(),
    });
    Config::save(&config, &args.dir.dir)?;
    site.store().parent_set(site.now(), &FeedId::from_random(site.entropy().uuid_bytes()))?;
    let cohorts: Vec<&str> = answer.cohorts.iter().map(|name| name.as_str()).collect();
    say!("{} has joined {} ({url}).", site.id(), answer.site);
    say!("Cohorts: {}", cohorts.join(", "));
    say!(
        "Next: restart `tributary serve --dir {0}`, or `tributary sync --dir {0}`.",
        args.dir.dir.display()
    );
    if args.up == Some(Up::Read) {
        say!("The parent needs a credential to read this site: `tributary token add NAME");
        say!("--scope read-outgoing --dir {}` makes one.", args.dir.dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Joins a parent that comes itself: nobody is called, and a credential is made for it.
fn join_reader(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(parent) = args.read_by.clone() else { bail!("name the parent's URL and the code") };
    let site = args.dir.open()?;
    let mut config = site.config().clone();
    if let Some(before) = config.parent.as_ref().filter(|before| before.site != parent) {
        say!("This site's parent was {} so far.", before.site);
    }
    let leave = args.leave;
    config.parent = Some(Parent {
        url: String::new(),
        site: parent.clone(),
        leave,
        up: Up::Read,
        fhir: FhirParent::default(),
    });
    let (now, secret) = (site.now(), new_secret(&site));
    let draft = TokenDraft {
        name: format!("reader-{parent}"),
        scope: TokenScope::ReadOutgoing,
        children: Vec::new(),
        hash: credential_hash(&secret),
        expires: None,
    };
    site.store().token_add(&draft, now)?;
    Config::save(&config, &args.dir.dir)?;
    site.store().parent_set(now, &FeedId::from_random(site.entropy().uuid_bytes()))?;
    let (name, url) = (site.id(), &site.config().public_url);
    say!("{name} is read by {parent}. Its credential for that, shown only now:");
    say!("  {secret}");
    say!("At {parent}: put it into a file that only its owner can read, and into tributary.toml");
    say!("  [[source]]");
    say!("  name = \"{name}\"");
    say!("  url = \"{url}\"");
    say!("  token_file = \"{name}.token\"");
    Ok(ExitCode::SUCCESS)
}

fn is_loopback(url: &str) -> bool {
    let host = url.trim_start_matches("http://");
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}
