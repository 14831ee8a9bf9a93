//! How the record system beside the site stands, in a few lines.

use protocol::Timestamp;
use store::EmrStatus;

use super::{ago, ahead};
use crate::cli::say;
use crate::ports::Capabilities;

/// The lines of `status`, and of `emr status`.
pub(crate) fn show(emr: &EmrStatus, now: Timestamp) {
    for line in lines(emr, now) {
        say!("{line}");
    }
}

fn lines(emr: &EmrStatus, now: Timestamp) -> Vec<String> {
    let said = emr.capabilities.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let said: Capabilities = said.unwrap_or_default();
    let product = match (&said.product[..], &said.version) {
        ("", _) => emr.kind.clone(),
        (product, None) => product.to_owned(),
        (product, Some(version)) => format!("{product} {version}"),
    };
    let way = match (emr.captures, emr.applies) {
        (true, true) => "both ways",
        (true, false) => "only read",
        _ => "only written",
    };
    let heard = emr.last_contact.map_or("never".to_owned(), |at| ago(now, at));
    let mut lines =
        vec![format!("  emr        {product} at {}, {way}; last contact {heard}", emr.url)];
    if emr.failures > 0 {
        let since = emr.away_since.map_or(String::new(), |at| format!(" since {}", ago(now, at)));
        let next =
            emr.next_attempt.map_or(String::new(), |at| format!(", next try {}", ahead(now, at)));
        let error = emr.last_error.as_deref().unwrap_or("no reason is known");
        lines.push(format!("  emr AWAY  {since}{next}: {error}"));
    }
    if emr.loading && emr.captures {
        let left = emr.remaining.map_or(String::new(), |left| format!(", {left} to go"));
        let why = emr.reload_reason.as_deref().map_or(String::new(), |why| format!(" ({why})"));
        lines.push(format!("  emr load   {} records read{left}{why}", emr.loaded));
    }
    let waits = [
        (emr.due, "to be written"),
        (emr.retry, "to be tried again"),
        (emr.waits, "waiting for others"),
        (emr.parked, "PARKED"),
        (emr.hints, "to be read again"),
        (emr.kept, "kept here, which it cannot hold"),
        (emr.dropped, "given up"),
    ];
    let waits: Vec<String> = waits
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let oldest =
        emr.oldest_due.map_or(String::new(), |at| format!(" (the oldest of {})", ago(now, at)));
    if !waits.is_empty() {
        lines.push(format!("  emr queue  {}{oldest}", waits.join(", ")));
    }
    lines.extend(said.missing.iter().map(|lack| format!("  emr lacks  {lack}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_and_what_waits_is_told_and_nothing_else() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let quiet = EmrStatus {
            kind: "openmrs".to_owned(),
            url: "http://127.0.0.1:8080/openmrs".to_owned(),
            captures: true,
            applies: true,
            loading: false,
            loaded: 0,
            remaining: None,
            reload_reason: None,
            captured: 3,
            applied: 4,
            due: 0,
            retry: 0,
            waits: 0,
            parked: 0,
            kept: 0,
            dropped: 0,
            hints: 0,
            oldest_due: None,
            capabilities: None,
            failures: 0,
            last_error: None,
            last_attempt: None,
            last_contact: Some(now),
            away_since: None,
            next_attempt: None,
        };
        assert_eq!(lines(&quiet, now).len(), 1);
        let said = r#"{"product":"OpenMRS","version":"2.8.1","missing":["the module x: add it"]}"#;
        let bad = EmrStatus {
            capabilities: Some(said.to_owned()),
            failures: 2,
            away_since: Some(now.plus_millis(-3_600_000)),
            last_error: Some("connection refused".to_owned()),
            loading: true,
            loaded: 500,
            remaining: Some(9_500),
            parked: 1,
            due: 7,
            ..quiet
        };
        let told = lines(&bad, now).join("\n");
        for words in [
            "OpenMRS 2.8.1 at http://127.0.0.1:8080/openmrs",
            "connection refused",
            "500 records read, 9500 to go",
            "7 to be written, 1 PARKED",
            "the module x: add it",
        ] {
            assert!(told.contains(words), "{told}");
        }
    }
}
