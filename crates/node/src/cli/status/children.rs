//! A line a child, as it stands by what it said last and by what its feeds hold.

use protocol::Timestamp;
use store::{ChildInfo, ChildLag};

use super::{ago, bytes, span};
use crate::http::sync::status::ChildReport;

/// All that is known of a child, in one line.
pub(super) fn line(child: &ChildInfo, now: Timestamp) -> String {
    let seen = child.last_seen.map_or("never seen".to_owned(), |at| ago(now, at));
    let report = child.report.as_deref().and_then(|t| serde_json::from_str::<ChildReport>(t).ok());
    // Who is read has no need to join.
    let state = match &report {
        Some(report) if report.one_way && child.state == "invited" => "read",
        _ => &child.state,
    };
    let head = format!("{:<20} {state:<8} {seen}", child.site.as_str());
    let Some(report) = report else { return head };
    let behind = match report.one_way {
        true => "nothing goes down to it".to_owned(),
        false => behind(child.lag.as_ref(), now),
    };
    let oldest = report.oldest_undelivered;
    let oldest = oldest.map_or(String::new(), |at| format!(" (oldest {})", ago(now, at)));
    format!(
        "{head}{}, version {}; {}; {} to send{oldest}, {} parked, {} conflicts; {} records, {}{}",
        paused(&report),
        report.version,
        behind,
        report.undelivered,
        report.parked,
        report.conflicts,
        report.records,
        bytes(report.disk_bytes),
        clock(child.clock_offset),
    )
}

/// The child's own word that it has paused the link.
fn paused(report: &ChildReport) -> String {
    let Some(pause) = &report.paused else { return String::new() };
    let at = |at: Timestamp| at.to_string().chars().take(16).collect::<String>().replace('T', " ");
    let until = pause.until.map_or(String::new(), |until| format!(" until {}", at(until)));
    format!(", PAUSED there since {}{until} ({})", at(pause.since), pause.reason)
}

/// How far it is behind, and how long that will take.
fn behind(lag: Option<&ChildLag>, now: Timestamp) -> String {
    let Some(lag) = lag else { return "how far behind is unknown".to_owned() };
    let since = lag.since.map_or(String::new(), |at| format!(" (oldest {})", ago(now, at)));
    let what = match (lag.changes, lag.joins) {
        (0, 0) => return "up to date".to_owned(),
        (changes, 0) => format!("{changes} changes"),
        (0, joins) => format!("{joins} whole patients"),
        (changes, joins) => format!("{changes} changes and {joins} whole patients"),
    };
    let left = match lag.catch_up_millis {
        Some(millis) => format!("about {}", span(i64::try_from(millis).unwrap_or(i64::MAX))),
        None => "unknown time".to_owned(),
    };
    format!("behind {what}{since}, {left} to catch up")
}

fn clock(offset: Option<i64>) -> String {
    match offset.map(|millis| millis / 1_000) {
        Some(seconds) if seconds != 0 => format!(", clock {seconds:+} s"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn child() -> ChildInfo {
        let hour_ago = NOW.plus_millis(-3_600_000);
        let report = format!(
            r#"{{"version":"0.1.0","at":"{NOW}","undelivered":4,"oldest_undelivered":"{hour_ago}",
                "parked":1,"conflicts":2,"records":900,"disk_bytes":12000000,"markers":{{}}}}"#
        );
        ChildInfo {
            epoch: None,
            site: "east".parse().unwrap(),
            state: "joined".to_owned(),
            cohorts: Vec::new(),
            added: NOW.plus_millis(-360_000),
            last_seen: Some(NOW.plus_millis(-180_000)),
            report: Some(report),
            clock_offset: Some(-75_400),
            lag: None,
        }
    }

    #[test]
    fn a_child_is_told_in_one_line() {
        let told = line(&child(), NOW);
        for words in [
            "east                 joined   3 min ago, version 0.1.0; how far behind is unknown; ",
            "4 to send (oldest 60 min ago), 1 parked, 2 conflicts; 900 records, 12 MB, clock -75 s",
        ] {
            assert!(told.contains(words), "{words:?} is not in {told:?}");
        }
        let paused = child().report.unwrap().replacen(
            '{',
            r#"{"paused":{"since":"2026-11-23T08:15:30Z","reason":"the mast is mended"},"#,
            1,
        );
        let told = line(&ChildInfo { report: Some(paused), ..child() }, NOW);
        assert!(
            told.contains(", PAUSED there since 2026-11-23 08:15 (the mast is mended), version")
        );
        let read = child().report.unwrap().replacen('{', r#"{"one_way":true,"#, 1);
        let read = ChildInfo { report: Some(read), state: "invited".to_owned(), ..child() };
        let told = line(&read, NOW);
        assert!(told.contains("read     3 min ago, version 0.1.0; nothing goes down to it; 4 to"));
        let invited = ChildInfo { last_seen: None, report: None, ..child() };
        assert!(line(&invited, NOW).ends_with("never seen"));
    }

    #[test]
    fn how_far_it_is_behind_is_told_with_the_time_that_it_will_take() {
        let since = Some(NOW.plus_millis(-300_000));
        let lag = |changes, joins, catch_up_millis| {
            behind(Some(&ChildLag { changes, joins, since, catch_up_millis }), NOW)
        };
        for (told, expected) in [
            (lag(0, 0, Some(0)), "up to date"),
            (
                lag(5, 0, Some(90_000)),
                "behind 5 changes (oldest 5 min ago), about 90 s to catch up",
            ),
            (
                lag(5, 7, None),
                "behind 5 changes and 7 whole patients (oldest 5 min ago), unknown time to",
            ),
            (lag(0, 7, Some(7_200_000)), "behind 7 whole patients (oldest 5 min ago), about 2 h"),
        ] {
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
