//! `tributary doctor`: what is wrong with this site, and what to do about it.

use std::process::ExitCode;

use protocol::{SiteId, Timestamp};
use store::{SiteStatus, TokenScope};

use crate::alerts;
use crate::cli::open::{CREDENTIAL, Dir, block_on};
use crate::cli::say;
use crate::cli::status::{silence, unread};
use crate::config::Up;
use crate::fhir_server::FhirError;
use crate::jobs::foreign::Foreign;
use crate::jobs::link::Link;
use crate::jobs::round::report;
use crate::ports::LinkError;
use crate::progress;
use crate::site::Site;

/// Links and shared identifiers that are looked at.
const SHOWN: usize = 20;

/// What `doctor` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
    /// Do not call the parent
    #[arg(long)]
    offline: bool,
}

/// Looks at everything; succeeds where nothing is wrong.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    say!("ok    settings and store of {} can be read", site.id());
    let mut findings = Vec::new();
    let bar = progress::spinner("reading the whole store");
    findings.extend(site.store().site_check(&mut |what| bar.set_message(what.to_owned()))?);
    bar.finish_and_clear();
    if findings.is_empty() {
        say!("ok    the store is whole");
    }
    let status = site.store().site_status(site.now())?;
    findings.extend(queue_findings(&status));
    findings.extend(carrier_findings(&site, &status)?);
    findings.extend(reading_findings(&site, &status));
    findings.extend(file_findings(&site)?);
    findings.extend(credential_findings(&args.dir));
    findings.extend(site.config().idle_link().map(str::to_owned));
    findings.extend(mail_findings(&site, &args.dir));
    findings.extend(alerts::untaken(site.config(), &status, site.now()));
    if !args.offline {
        findings.extend(parent_findings(&site));
    }
    for finding in &findings {
        say!("WRONG {finding}");
    }
    if findings.is_empty() {
        say!("Nothing is wrong.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn queue_findings(status: &SiteStatus) -> Vec<String> {
    let mut findings = Vec::new();
    let parked = status.deliveries.get("parked").copied().unwrap_or(0);
    if parked > 0 {
        findings.push(format!(
            "{parked} changes were refused by the parent and are parked: `tributary queue` says why"
        ));
    }
    if status.parked_lines > 0 {
        findings.push(format!(
            "{} lines from the parent or a source are stuck here: `tributary queue` says why",
            status.parked_lines
        ));
    }
    findings
}

/// Where third parties carry this site's messages: whether anybody does.
fn carrier_findings(site: &Site, status: &SiteStatus) -> anyhow::Result<Vec<String>> {
    let carried = site.config().parent.as_ref().is_some_and(|parent| parent.up == Up::Carried);
    if !carried {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    findings.extend(silence(status, &site.config().limits, site.now()));
    if status.outbox.missing > 0 {
        findings.push(format!(
            "{} messages were said to be delivered, and the parent does not have them",
            status.outbox.missing
        ));
    }
    if !has_carrier(site)? {
        findings.push(format!("this site's messages are to be carried, and {NOBODY}"));
    }
    Ok(findings)
}

/// Where this site is read, and where it reads others: whether that goes on.
fn reading_findings(site: &Site, status: &SiteStatus) -> Vec<String> {
    let (config, now) = (site.config(), site.now());
    let unread = unread(status, &config.limits, now).filter(|_| config.up() == Some(Up::Read));
    let failing = status.sources.iter().filter_map(|source| {
        let error = source.last_error.as_ref()?;
        config.sources.iter().find(|known| known.name == source.name)?;
        Some(format!("the source {} cannot be read: {error}", source.name))
    });
    unread.into_iter().chain(failing).collect()
}

/// What is said where no third party has a credential.
pub(super) const NOBODY: &str =
    "nobody can: `tributary token add NAME --scope outbox` makes a credential for a third party";

/// Whether a third party has a credential for the outbox.
pub(super) fn has_carrier(site: &Site) -> anyhow::Result<bool> {
    has_token(site, TokenScope::Outbox)
}

/// Whether somebody has a credential of that scope, which is good now.
fn has_token(site: &Site, scope: TokenScope) -> anyhow::Result<bool> {
    let now = site.now();
    Ok(site.store().token_list()?.iter().any(|token| {
        token.scope == scope && token.revoked.is_none() && token.expires.is_none_or(|end| end > now)
    }))
}

/// Two files of one person.
fn file_findings(site: &Site) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for link in site.store().patient_replaced(SHOWN)? {
        if let Some(reason) = &link.reason {
            let (loser, winner) = (&link.loser, &link.winner);
            findings.push(format!(
                "{loser} is said to be replaced by {winner}, and nothing follows: {reason}"
            ));
        }
    }
    let twice = site.store().patient_duplicates(SHOWN)?.len();
    if twice > 0 {
        findings.push(format!(
            "{twice} identifiers are of several patients: `tributary patient duplicates` says whose"
        ));
    }
    Ok(findings)
}

fn credential_findings(dir: &Dir) -> Vec<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.dir.join(CREDENTIAL);
        let open =
            std::fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
        if open {
            let path = path.display();
            return vec![format!("others on this machine can read {path}: chmod 600 {path}")];
        }
    }
    Vec::new()
}

/// Whether the password is at hand that alerts by e-mail need.
fn mail_findings(site: &Site, dir: &Dir) -> Option<String> {
    let email = site.config().alerts.email.as_ref()?;
    let error = email.credentials(&dir.dir).err()?;
    Some(format!("no alert can be sent by e-mail, and the site does not start: {error:#}"))
}

fn parent_findings(site: &Site) -> Vec<String> {
    let Some(parent) = &site.config().parent else { return Vec::new() };
    if let Some(foreign) = Foreign::of(site) {
        return foreign_findings(foreign);
    }
    if parent.is_reader() {
        return reader_findings(site, &parent.site);
    }
    let Some(link) = Link::of(site) else {
        return vec![format!(
            "there is no credential for the parent {}: `tributary join` gets one",
            parent.site
        )];
    };
    let heard = block_on(async { link.status(site, &report(site).await?).await });
    match heard {
        Ok(Ok(view)) => {
            say!("ok    the parent {} answers and knows this site", view.site);
            clock_findings(site, site.now(), view.at)
        }
        Ok(Err(error)) => vec![format!("the parent does not answer as it should: {error}")],
        Err(error) => vec![format!("the parent could not be called: {error}")],
    }
}

/// Of a parent that reads this site, which cannot call it: whether it is let in.
fn reader_findings(site: &Site, parent: &SiteId) -> Vec<String> {
    match has_token(site, TokenScope::ReadOutgoing) {
        Ok(true) => {
            say!("ok    the parent {parent} reads this site, and has a credential");
            Vec::new()
        }
        Ok(false) => vec![format!(
            "the parent {parent} is to read this site, and cannot: `tributary token add NAME \
             --scope read-outgoing` makes its credential"
        )],
        Err(error) => vec![format!("credentials cannot be listed: {error:#}")],
    }
}

/// Of a parent that is a FHIR server of another make: whether it is one, and lets us in.
fn foreign_findings(foreign: Result<Foreign, LinkError>) -> Vec<String> {
    let asked = block_on(async { foreign.map_err(FhirError::from)?.offers().await });
    match asked {
        Ok(Ok((offered, way))) => {
            let software = offered.software.as_deref().unwrap_or("a FHIR server");
            say!("ok    the parent answers: {software}, written to {}", way.words());
            Vec::new()
        }
        Ok(Err(error)) => vec![format!("the parent does not answer as it should: {error}")],
        Err(error) => vec![format!("the parent could not be called: {error}")],
    }
}

fn clock_findings(site: &Site, here: Timestamp, there: Timestamp) -> Vec<String> {
    let offset = here.since(there).unsigned_abs() / 1_000;
    if offset > site.config().limits.clock_offset_seconds {
        return vec![format!(
            "this machine's clock and the parent's are {offset} s apart: set the clock, or let NTP \
             do it"
        )];
    }
    Vec::new()
}
