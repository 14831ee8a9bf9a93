//! `tributary status`: what this site holds, and how it stands with the others.

mod children;
pub(crate) mod emr;
mod forecast;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use protocol::{Limits, SiteId, Timestamp, Urgency};
use store::{LinkName, Pause, SiteStatus};

use crate::alerts;
use crate::cli::open::Dir;
use crate::cli::say;
use crate::cli::source::line as source_line;
use crate::config::{FhirWay, Parent, Up};
use crate::jobs::foreign;
use crate::jobs::gate::{Closed, Spent, Why, local};
use crate::site::Site;
use crate::told::{self, Told};

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
    /// As JSON; with --watch, a line each time
    #[arg(long)]
    json: bool,
    /// Show it again every so many seconds, until it is stopped
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
}

/// Shows the status.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let Some(seconds) = args.watch else {
        let now = site.now();
        let status = site.store().site_status(now)?;
        match args.json {
            true => {
                let told = Told::of(status, &site, now);
                say!("{}", serde_json::to_string_pretty(&told)?);
            }
            false => show(&site, &status, now),
        }
        return Ok(ExitCode::SUCCESS);
    };
    loop {
        let now = site.now();
        let status = site.store().site_status(now)?;
        // Whoever read this has gone: there is nobody to watch.
        let begun = match (args.json, std::io::stdout().is_terminal()) {
            (true, _) => {
                let told = Told::of(status.clone(), &site, now);
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?)
            }
            (false, true) => write!(std::io::stdout(), "\x1b[2J\x1b[H"),
            (false, false) => writeln!(std::io::stdout(), "{now}"),
        };
        if begun.is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        if !args.json {
            show(&site, &status, now);
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn show(site: &Site, status: &SiteStatus, now: Timestamp) {
    say!("{} (epoch {})", status.site, status.epoch);
    say!(
        "  records    {} of {} patients, {} changes",
        status.records,
        status.patients,
        status.changes
    );
    say!("  conflicts  {} open", status.conflicts_open);
    say!("  disk       {}", bytes(status.disk_bytes));
    if let Some(disk) = site.disk().filter(|disk| disk.free < site.config().limits.disk_free_bytes)
    {
        say!(
            "  trouble    {} of the disk that holds the store are free, less than \
             disk_free_bytes: where it is full nothing can be written",
            bytes(disk.free)
        );
    }
    if status.alerts > 0 {
        say!("  ALERTS     {} raised: `tributary alerts` lists them", status.alerts);
    }
    for untaken in alerts::untaken(site.config(), status, now) {
        say!("  trouble    {untaken}");
    }
    if let Some(parent) = &site.config().parent {
        match parent.url.as_str() {
            "" => say!("  parent     {}, which reads this site", parent.site),
            url => say!("  parent     {} at {url}{}", parent.site, make(parent, status)),
        }
        if let Some(pause) = pause_of(status, &LinkName::Parent) {
            say!("  PAUSED     {}", crate::pause::words(pause, status.site.as_str()));
        }
        for closed in told::held(site.config(), &status.link, now) {
            say!("  held       {}", held(&closed));
        }
        if let Some(spent) = told::spent(site.config(), status, now) {
            say!("  {}", budget(&spent));
        }
        show_link(status, (parent, &site.config().limits), now);
    }
    if let Some(beside) = &status.emr {
        emr::show(beside, now);
        if let Some(pause) = pause_of(status, &LinkName::Emr) {
            let words = crate::pause::words(pause, status.site.as_str());
            say!("  PAUSED     record system: {words}");
        }
    }
    if status.inbox > 0 {
        say!("  inbox      {} messages wait to be worked off", status.inbox);
    }
    if status.cohorts > 0 || !status.children.is_empty() {
        say!("  cohorts    {}", status.cohorts);
    }
    for child in &status.children {
        say!("  child      {}", children::line(child, now));
        show_pause(status, &child.site);
    }
    for source in &site.config().sources {
        let state = status.sources.iter().find(|state| state.name == source.name);
        say!("  source     {}", source_line(source, state, now));
        if status.children.iter().all(|child| child.site != source.name) {
            show_pause(status, &source.name);
        }
    }
}

/// That the link to a site below is paused, where it is.
fn show_pause(status: &SiteStatus, below: &SiteId) {
    if let Some(pause) = pause_of(status, &LinkName::Child(below.clone())) {
        say!("  PAUSED     {below}: {}", crate::pause::words(pause, status.site.as_str()));
    }
}

/// What a parent is that is no Tributary site, and how it is written to.
fn make(parent: &Parent, status: &SiteStatus) -> String {
    if !foreign::is_foreign(parent) {
        return String::new();
    }
    let heard = foreign::heard(status.link.peer.as_deref());
    let software = heard.as_ref().and_then(|heard| heard.software.as_deref());
    let way = match parent.fhir.way {
        FhirWay::Offered => heard.as_ref().map_or(FhirWay::Offered, |heard| heard.way),
        way => way,
    };
    format!(" ({}, written to {})", software.unwrap_or("a FHIR server"), way.words())
}

/// What is wrong with who reads this site's changes.
fn show_reader(status: &SiteStatus, limits: &Limits, now: Timestamp) {
    let read = &status.read;
    if let (Some(name), Some(at)) = (&read.reader, read.reader_at) {
        say!("  reader     {name} was here {}, at position {}", ago(now, at), read.position);
    }
    if let Some(unread) = unread(status, limits, now) {
        say!("  trouble    {unread}");
    }
}

/// What is said where the parent, which is to read this site, has not come for `reader_seconds`.
pub(crate) fn unread(status: &SiteStatus, limits: &Limits, now: Timestamp) -> Option<String> {
    let since = status.read.reader_at.or(status.oldest_undelivered)?;
    let millis = now.since(since);
    let limit = i64::try_from(limits.reader_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    (millis >= limit).then(|| format!("nobody has read this site's changes for {}", span(millis)))
}

fn pause_of<'a>(status: &'a SiteStatus, link: &LinkName) -> Option<&'a Pause> {
    status.paused.iter().find(|pause| pause.link == *link)
}

/// What is wrong with those who carry this site's messages.
fn show_carriers(status: &SiteStatus, limits: &Limits, now: Timestamp) {
    let outbox = &status.outbox;
    if let (Some(name), Some(at)) = (&outbox.carrier, outbox.carrier_at) {
        say!("  carrier    {name} was here {}", ago(now, at));
    }
    if let Some(silence) = silence(status, limits, now) {
        say!("  trouble    {silence}");
    }
    if outbox.missing > 0 {
        say!(
            "  trouble    {} messages: the carrier says delivered, the parent does not have it",
            outbox.missing
        );
    }
}

/// What is said where something waits and nobody has come for it for `carrier_seconds`.
pub(crate) fn silence(status: &SiteStatus, limits: &Limits, now: Timestamp) -> Option<String> {
    let oldest = status.oldest_undelivered?;
    let since = status.outbox.carrier_at.unwrap_or(oldest);
    let millis = now.since(since);
    let limit = i64::try_from(limits.carrier_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    (millis >= limit).then(|| format!("no carrier has come for {}", span(millis)))
}

fn show_link(status: &SiteStatus, (parent, limits): (&Parent, &Limits), now: Timestamp) {
    let link = &status.link;
    match link.last_contact {
        Some(at) => say!("  contact    {}", ago(now, at)),
        None if parent.url.is_empty() => {}
        None => say!("  contact    never yet"),
    }
    if let Some(error) = &link.last_error {
        let next =
            link.next_attempt.map_or(String::new(), |at| format!(", next try {}", ahead(now, at)));
        say!("  trouble    {} failures in a row{next}: {error}", link.failures);
    }
    let count = |state: &str| status.deliveries.get(state).copied().unwrap_or(0);
    let oldest =
        status.oldest_undelivered.map_or(String::new(), |at| format!(", oldest {}", ago(now, at)));
    say!(
        "  to send    {} waiting{}, {} to be retried, {} parked{oldest}",
        count("ready"),
        lanes(status),
        count("retry"),
        count("parked")
    );
    let up = forecast::to_go(&status.forecast.up, "changes")
        .filter(|_| matches!(parent.up, Up::Direct | Up::Fhir));
    if let Some(up) = up {
        say!("  up         {up}");
    }
    if let Some(down) = forecast::to_go(&status.forecast.down, "entries of the parent's feeds") {
        say!("  down       {down}");
    }
    if let Some(speed) = forecast::speed(&link.pace) {
        say!("  speed      {speed}");
    }
    let (leased, handed) = (count("leased"), count("handed-over"));
    if leased + handed > 0 || parent.up == Up::Carried {
        say!("  carried    {leased} leased, {handed} handed over without a receipt yet");
    }
    match parent.up {
        Up::Direct | Up::Fhir => {}
        Up::Carried => show_carriers(status, limits, now),
        Up::Read => show_reader(status, limits, now),
    }
    show_feeds(status);
}

/// A lane that does not move now.
pub(crate) fn held(closed: &Closed) -> String {
    let until = closed.until.and_then(local);
    // A rest by a rate is one of seconds.
    let form = if closed.why == Why::Rate { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    let until = until.map_or(String::new(), |at| format!(", until {}", at.format(form)));
    let why = match closed.why {
        Why::Windows => "it is none of its times of the day",
        Why::Rate => "it has moved as much as its rate allows",
        Why::Budget => "the month's budget is spent (`tributary link lift` lets it go on)",
    };
    format!("{}: {why}{until}", closed.lane.as_str())
}

/// What was spent of the month's budget.
fn budget(spent: &Spent) -> String {
    let head = if spent.warns() { "BUDGET    " } else { "budget    " };
    let lifted = spent.lifted.as_ref();
    let lifted = lifted.map_or(String::new(), |why| format!("; lifted for this month: {why}"));
    let (moved, budget, percent) = (bytes(spent.bytes), bytes(spent.budget), spent.percent);
    format!("{head} {moved} of {budget} this month ({percent} %){lifted}")
}

/// How much of what waits is of which lane; nothing where all of it is normal.
fn lanes(status: &SiteStatus) -> String {
    let other = status.lanes.iter().filter(|(lane, _)| **lane != Urgency::Normal);
    let told = other.map(|(lane, count)| format!("{count} {}", lane.as_str()));
    let told = told.collect::<Vec<_>>();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

/// What came from the parent, and what moved in all.
fn show_feeds(status: &SiteStatus) {
    let link = &status.link;
    if status.parked_lines > 0 {
        say!(
            "  stuck here {} lines from the parent: `tributary queue` says why",
            status.parked_lines
        );
    }
    if status.patients_left > 0 {
        say!("  left       {} patients are no longer of this site's cohorts", status.patients_left);
    }
    for marker in &status.markers {
        say!("  feed       {} {} up to {}", marker.name, marker.lane.as_str(), marker.position);
    }
    say!(
        "  moved      {} sent, {} received ({} and {} before compression)",
        bytes(link.wire_sent),
        bytes(link.wire_received),
        bytes(link.raw_sent),
        bytes(link.raw_received)
    );
}

/// How long ago, in the largest fitting unit.
pub(crate) fn ago(now: Timestamp, at: Timestamp) -> String {
    format!("{} ago", span(now.since(at)))
}

/// In how much time, likewise.
pub(crate) fn ahead(now: Timestamp, at: Timestamp) -> String {
    format!("in {}", span(at.since(now)))
}

/// Milliseconds in words.
fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of bytes in words.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1_000),
        10_000_000..10_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{} GB", count / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_said_in_words() {
        let now = Timestamp::from_millis(1_000_000_000);
        for (millis, words) in [
            (-5_000, "0 s ago"),
            (119_000, "119 s ago"),
            (120_000, "2 min ago"),
            (7_200_000, "2 h ago"),
            (172_800_000, "2 days ago"),
        ] {
            assert_eq!(ago(now, now.plus_millis(-millis)), words);
        }
        assert_eq!(bytes(9_999), "9999 B");
        assert_eq!(bytes(10_000), "10 kB");
        assert_eq!(bytes(12_345_678), "12 MB");
    }
}
