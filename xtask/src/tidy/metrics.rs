//! Metrics that dashboards and rules name are documented: one that is gone shows an empty panel,
//! and an alert that never comes.

use std::collections::BTreeSet;

use super::{File, Finding};

/// The list of all metrics.
const DOCUMENT: &str = "docs/metrics.md";
/// What names them.
const FOLDER: &str = "packaging/";
/// How a metric's name begins.
const PREFIX: &str = "tributary_";

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let rows = files.iter().filter(|file| file.path == DOCUMENT);
    let documented: BTreeSet<String> = rows.flat_map(documented).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(FOLDER)) {
        for (number, line) in file.lines() {
            for name in names(line).filter(|name| !documented.contains(*name)) {
                let what = format!("{name} is not in {DOCUMENT}");
                findings.push(Finding::new(&file.path, number, what));
            }
        }
    }
    findings
}

/// The names under which the table's metrics are found.
fn documented(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for (_, line) in file.lines().filter(|(_, line)| line.starts_with("| `")) {
        let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
        let (name, kind) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let suffixes = match kind {
            "histogram" => &["_bucket", "_count", "_sum"][..],
            _ => &[""],
        };
        found.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    found
}

fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split(|each: char| !each.is_ascii_alphanumeric() && each != '_')
        .filter(|word| word.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn a_metric_that_is_not_documented_is_found() {
        let table = "| `tributary_records` | gauge | | | records |\n\
                     | `tributary_seconds` | histogram | seconds | `route` | time |\n";
        let rules = "rate(tributary_seconds_count{route=\"x\"}[5m])\n\
                     sum by (le) (tributary_records) + tributary_gone + tributary_seconds\n\
                     uid: tributary\n";
        let files =
            [a_file("docs/metrics.md", table), a_file("packaging/prometheus/rules.yml", rules)];
        let found: Vec<_> = check(&files).iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "packaging/prometheus/rules.yml:2: tributary_gone is not in docs/metrics.md",
                "packaging/prometheus/rules.yml:2: tributary_seconds is not in docs/metrics.md",
            ]
        );
    }
}
