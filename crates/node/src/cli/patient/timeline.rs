//! `tributary patient timeline`: grouped by change, one line an element, in 80 columns.

use std::process::ExitCode;

use anyhow::bail;
use protocol::diff::ElementChange;
use protocol::{RecordRef, Timestamp};
use store::{
    RecordChange, RecordStep, Scope, TimelineChange, TimelineEntry, TimelineEvent, TimelinePage,
    TimelineQuery, TimelineVia,
};

use crate::cli::open::Dir;
use crate::cli::say;
use crate::http::sync::timeline::{Timeline, read};
use crate::site::Site;

/// Entries that are shown unless asked for more.
const ENTRIES: u32 = 100;

/// Of a conflict's id, so many letters are shown: enough to name it by.
const CONFLICT_ID: usize = 10;

/// Columns of the text.
const COLUMNS: usize = 80;

/// What `patient timeline` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The patient's id, with or without `Patient/` before it
    #[arg(value_name = "ID", value_parser = super::patient)]
    patient: RecordRef,
    #[command(flatten)]
    dir: Dir,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only what this site recorded from this day or time on (2026-11-23, 2026-11-23T08:15:30Z)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// The newest first
    #[arg(long)]
    reverse: bool,
    /// At most so many changes, joins and leaves
    #[arg(long, value_name = "N", default_value_t = ENTRIES)]
    limit: u32,
}

/// A day or a time.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    whole.parse().map_err(|_| "not a day or time in the form of 2026-11-23T08:15:30Z".to_owned())
}

/// Shows the timeline.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let Some(page) = entries(&site, args)? else {
        bail!(
            "failed to show a timeline: {} is not known to {}; `tributary patient find` asks the \
             parent who somebody is",
            args.patient,
            site.id()
        );
    };
    if args.json {
        let told = Timeline { patient: args.patient.clone(), site: site.id().clone(), page };
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    say!("{} as {} recorded it", args.patient, site.id());
    for entry in &page.entries {
        say!("{}", text(entry));
    }
    if page.entries.is_empty() {
        say!("Nothing: this site holds no record of the patient from that time.");
    }
    if page.next.is_some() {
        say!("There is more: --limit shows it, --reverse begins with the newest.");
    }
    Ok(ExitCode::SUCCESS)
}

/// As many entries as were asked for, from as many pages as it takes.
fn entries(site: &Site, args: &Args) -> anyhow::Result<Option<TimelinePage>> {
    let most = site.config().limits.search_page_max;
    let mut told = TimelinePage { entries: Vec::new(), next: None };
    loop {
        let shown = u32::try_from(told.entries.len()).unwrap_or(u32::MAX);
        let query = TimelineQuery {
            patient: args.patient.clone(),
            since: args.since,
            reverse: args.reverse,
            limit: args.limit.saturating_sub(shown).clamp(1, most),
            after: told.next.take(),
        };
        let operator = "operator".to_owned();
        let page = read(site.store(), &query, &Scope::Everything, operator, site.now())?;
        let Some(page) = page else { return Ok(None) };
        told.entries.extend(page.entries);
        told.next = page.next;
        if told.next.is_none() || told.entries.len() >= args.limit as usize {
            return Ok(Some(told));
        }
    }
}

/// One entry in lines, after an empty one.
pub(crate) fn text(entry: &TimelineEntry) -> String {
    let when = short(entry.recorded);
    match &entry.event {
        TimelineEvent::Change(change) => change_text(&when, change),
        TimelineEvent::Join { cohort } => format!("\n{when}  joined {}", named(cohort)),
        TimelineEvent::Leave { cohort, reason } => {
            let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            wrapped(&format!("\n{when}  left {}{reason}", named(cohort)), 18)
        }
        TimelineEvent::Purge {} => {
            format!("\n{when}  the records were removed here: the patient had left")
        }
    }
}

fn named(cohort: &str) -> String {
    if cohort.is_empty() { "a cohort".to_owned() } else { format!("the cohort {cohort}") }
}

/// To the minute: nobody reads a history by its milliseconds.
fn short(at: Timestamp) -> String {
    at.to_string().chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

fn change_text(when: &str, change: &TimelineChange) -> String {
    let made = change.origin.as_ref().map_or(String::new(), |site| format!(" at {site}"));
    let way = match (change.via, &change.child) {
        (TimelineVia::Here, _) => String::new(),
        (TimelineVia::Parent, _) => ", from the parent".to_owned(),
        (TimelineVia::Child, Some(child)) if Some(child) != change.origin.as_ref() => {
            format!(", brought by {child}")
        }
        (TimelineVia::Child, _) => ", pushed".to_owned(),
    };
    let who = match (change.via, &change.id) {
        // With a join comes the record as it is, and no word of who made it so.
        (TimelineVia::Parent, None) => "as the parent held it".to_owned(),
        _ => format!("{}{made}{way}", change.author),
    };
    let mut lines = wrapped(&format!("\n{when}  {who}"), 18);
    for record in &change.records {
        lines.push_str(&record_text(record));
    }
    if change.more {
        lines.push_str("\n    and more that is not shown here");
    }
    lines
}

fn record_text(record: &RecordChange) -> String {
    let name = &record.record;
    let mut lines = match record.what {
        RecordStep::Created => format!("\n    {name} created"),
        RecordStep::Updated => format!("\n    {name}"),
        RecordStep::Deleted => format!("\n    {name} deleted"),
        RecordStep::Restored => format!("\n    {name} is there again"),
        RecordStep::Again => format!("\n    {name} offered to the parent again, unchanged"),
        RecordStep::Merging => format!("\n    {name} changed apart; it changed here:"),
        RecordStep::Merged => format!("\n    {name} merged; unlike what came in:"),
        RecordStep::MovedHere => format!("\n    {name} was another patient's before"),
        RecordStep::MovedAway => format!("\n    {name} is another patient's from now on"),
        RecordStep::Follows => {
            let whom = record.follows.as_ref().map_or(String::new(), |whom| format!(" {whom}"));
            wrapped(&format!("\n    {name} follows{whom}"), 8)
        }
        RecordStep::ConflictOpened => conflict_text(record, "changed apart"),
        RecordStep::ConflictConfirmed => conflict_text(record, "confirmed"),
        RecordStep::ConflictDecided => conflict_text(record, "decided"),
        RecordStep::ConflictReopened => conflict_text(record, "opened again"),
    };
    if record.elements.is_empty() && record.what == RecordStep::Merging {
        lines.push_str(" nothing");
    }
    for element in &record.elements {
        lines.push('\n');
        lines.push_str(&element_text(element));
    }
    lines
}

/// A conflict: what became of it and by whom, both sides' values, and what stood then.
fn conflict_text(record: &RecordChange, what: &str) -> String {
    let id = record.record.id();
    let Some(told) = &record.conflict else { return format!("\n    {id} {what}") };
    let (parent, child) = (&told.parent, &told.child);
    let short: String = id.rsplit('-').next().unwrap_or(id).chars().take(CONFLICT_ID).collect();
    let who = match &told.by {
        Some(mark) => format!("by {} at {}", mark.by.as_str(), mark.site),
        None => format!("at {parent} and {child}"),
    };
    let how = told.how.as_ref().map_or(String::new(), |how| format!(": {how}"));
    let head = format!("\n    conflict {short} on {}, {what} {who}{how}", told.record);
    let mut lines = wrapped(&head, 6);
    if let Some(why) = told.by.as_ref().and_then(|mark| mark.why.as_ref()) {
        lines.push_str(&wrapped(&format!("\n      why: {why}"), 8));
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    for row in &told.elements {
        let sides = (value(&row.parent), value(&row.child));
        lines.push_str(&wrapped(&format!("\n      {}  {parent}: {}", row.path, sides.0), 10));
        lines.push_str(&wrapped(&format!("\n        {child}: {}", sides.1), 10));
        lines.push_str(&wrapped(&format!("\n        stands: {}", value(&row.now)), 10));
    }
    lines
}

/// An element in a line, or in three where one does not hold it.
fn element_text(element: &ElementChange) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    let whole = element.path.starts_with('(');
    let line = match (&element.from, &element.to) {
        (Some(one), None) | (None, Some(one)) if whole => {
            return wrapped(&format!("      {one}"), 8);
        }
        (from, to) => format!("      {}  {} -> {}", element.path, value(from), value(to)),
    };
    if line.chars().count() <= COLUMNS {
        return line;
    }
    let from = wrapped(&format!("        from  {}", value(&element.from)), 14);
    let to = wrapped(&format!("        to    {}", value(&element.to)), 14);
    format!("      {}\n{from}\n{to}", element.path)
}

/// The text in lines that fit, broken at spaces, later ones indented. A word that is longer than
/// a line is broken as well.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (index, word) in text.split(' ').enumerate() {
        let long = word.chars().count();
        if index > 0 && column + 1 + long > COLUMNS && column > indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        for c in word.chars() {
            if column >= COLUMNS {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            }
            out.push(c);
            column = if c == '\n' { 0 } else { column + 1 };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, from: &str, to: &str) -> ElementChange {
        let of = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ElementChange { path: path.to_owned(), from: of(from), to: of(to) }
    }

    #[test]
    fn an_element_is_a_line_or_three() {
        let short = element_text(&change("birthDate", "1990-01-02", "1990-02-02"));
        assert_eq!(short, "      birthDate  1990-01-02 -> 1990-02-02");
        assert_eq!(element_text(&change("gender", "", "female")), "      gender  (none) -> female");
        assert_eq!(element_text(&change("(created)", "", "Amina, 1990")), "      Amina, 1990");
        let long = element_text(&change("note[0]", &"ab ".repeat(60), &"x".repeat(200)));
        assert!(long.starts_with("      note[0]\n        from  ab ab"), "{long}");
        assert!(long.contains("\n        to    xxxx"), "{long}");
        assert!(long.lines().all(|line| line.chars().count() <= COLUMNS), "{long}");
        assert_eq!(long.matches('x').count(), 200);
        assert_eq!(long.matches("ab").count(), 60);
    }

    #[test]
    fn a_change_says_who_made_it_where_and_how_it_came() {
        let change = TimelineChange {
            id: None,
            origin: "kisumu".parse().ok(),
            author: "nurse-3".to_owned(),
            at: Timestamp::from_millis(0),
            via: TimelineVia::Child,
            child: "west".parse().ok(),
            records: vec![RecordChange {
                record: "Patient/amina".parse().unwrap(),
                what: RecordStep::Updated,
                follows: None,
                conflict: None,
                from_version: Some(1),
                to_version: 2,
                elements: vec![change("birthDate", "1990", "1991")],
            }],
            more: false,
        };
        let recorded = Timestamp::from_millis(1_795_000_000_000);
        let event = TimelineEvent::Change(change);
        assert_eq!(
            text(&TimelineEntry { sequence: 2, recorded, event }),
            "\n2026-11-18 11:06  nurse-3 at kisumu, brought by west\
             \n    Patient/amina\n      birthDate  1990 -> 1991"
        );
    }

    #[test]
    fn a_day_or_a_time_is_understood() {
        assert_eq!(time("2026-11-23"), time("2026-11-23T00:00:00Z"));
        assert!(time("2026-11-23").is_ok());
        assert!(time("yesterday").is_err());
    }
}
