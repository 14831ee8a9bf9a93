//! Runs the cases of `lines.txt`, one a line.

use std::collections::{BTreeMap, BTreeSet};

use super::{canonical, decided, state};
use crate::reconcile::{Contested, Policies, State};
use crate::time::Timestamp;

/// What holds for the cases below it, up to the next heading.
#[derive(Default, Clone)]
struct Setting {
    kind: Option<&'static str>,
    policies: BTreeMap<String, String>,
    made: [Option<Timestamp>; 2],
    clocks_agree: bool,
}

impl Setting {
    /// Reads `@name value`.
    fn take(&mut self, line: &'static str) {
        let (name, value) = line.split_once(' ').unwrap();
        match name {
            "@type" => self.kind = Some(value),
            "@policy" => {
                let (key, policy) = value.split_once('=').unwrap();
                self.policies.insert(key.to_owned(), policy.to_owned());
            }
            "@made" => {
                let (parent, child) = value.split_once(' ').unwrap();
                self.made =
                    [parent, child].map(|time| time.parse().ok().map(Timestamp::from_millis));
            }
            "@clocks" => self.clocks_agree = value == "agree",
            odd => panic!("{odd} is no setting"),
        }
    }
    fn policies(&self) -> Policies {
        let policies = Policies::from_settings(&self.policies).unwrap();
        policies.with_clocks(self.clocks_agree)
    }
}

struct Line {
    setting: Setting,
    cells: Vec<&'static str>,
}

impl Line {
    fn title(&self) -> &'static str {
        self.cells[0]
    }
    /// A cell's body, `None` where the record is deleted.
    fn body(&self, cell: usize) -> Option<String> {
        match self.cells[cell] {
            "deleted" => None,
            "same" => self.body(1),
            text => Some(self.json(text)),
        }
    }
    fn json(&self, text: &str) -> String {
        let body = json(text);
        match self.setting.kind {
            Some(kind) => body.replacen('{', &format!("{{\"resourceType\":\"{kind}\","), 1),
            None => body,
        }
    }
}

pub(super) fn count() -> usize {
    table().len()
}

fn table() -> Vec<Line> {
    let mut lines = Vec::new();
    let mut setting = Setting::default();
    for line in include_str!("lines.txt").lines() {
        if line.starts_with("## ") {
            setting = Setting::default();
        } else if line.starts_with('@') {
            setting.take(line);
        } else if !line.is_empty() && !line.starts_with('#') {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "`{line}` has not title, states, result and conflict");
            lines.push(Line { setting: setting.clone(), cells });
        }
    }
    lines
}

/// JSON of a text in which words stand without quotes.
fn json(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if "{}[]:,".contains(first) {
            out.push(first);
            rest = rest[1..].trim_start();
            continue;
        }
        // A colon inside a word (`urn:a`, `http://a`) is a part of it, at its end it is JSON's.
        let end = rest
            .char_indices()
            .find(|(at, c)| {
                "{}[],".contains(*c) || *c == ':' && rest[at + 1..].starts_with([' ', '{', '['])
            })
            .map_or(rest.len(), |(at, _)| at);
        let word = rest[..end].trim_end();
        let is_number = word.parse::<f64>().is_ok() && !word.starts_with(char::is_alphabetic);
        match is_number || ["true", "false", "null"].contains(&word) {
            true => out.push_str(word),
            false => out.push_str(&format!("\"{word}\"")),
        }
        rest = rest[end..].trim_start();
    }
    out
}

/// Says what is wrong with a case, if anything is.
fn check(line: &Line) -> Result<(), String> {
    let [base, parent, child] = [1, 2, 3].map(|cell| line.body(cell));
    let [made_by_parent, made_by_child] = line.setting.made;
    let base_state = (line.cells[1] != "-").then(|| state(base.as_deref()));
    let parent_state = State { at: made_by_parent, ..state(parent.as_deref()) };
    let child_state = State { at: made_by_child, ..state(child.as_deref()) };
    let (found, contested) =
        decided(base_state, parent_state, child_state, &line.setting.policies());
    let same = match line.cells[4] {
        "base" => canonical(found.as_deref()) == canonical(base.as_deref()),
        "parent" => canonical(found.as_deref()) == canonical(parent.as_deref()),
        "child" => canonical(found.as_deref()) == canonical(child.as_deref()),
        body => found.as_deref() == Some(&*line.json(body)),
    };
    let said = |Contested { path, rule, .. }: &Contested| format!("{path}={rule}");
    let named = contested.iter().map(said).collect::<Vec<_>>().join(", ");
    if same && named == line.cells[5] {
        return Ok(());
    }
    Err(format!(
        "{}\n  expected {}\n  found    {}\n  named    {}\n  found    {named}\n",
        line.title(),
        line.cells[4],
        found.as_deref().unwrap_or("deleted"),
        line.cells[5],
    ))
}

#[test]
fn every_line_of_the_table_comes_to_its_result_at_both_ends() {
    let failures: Vec<String> = table().iter().filter_map(|line| check(line).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn no_line_of_the_table_stands_twice() {
    let mut titles = BTreeSet::new();
    for line in table() {
        assert!(titles.insert(line.title()), "`{}` stands twice", line.title());
    }
}

#[test]
fn what_stands_is_the_side_that_the_result_has() {
    for line in table() {
        let [base, parent, child] = [1, 2, 3].map(|cell| line.body(cell));
        let (Some(parent), Some(child)) = (parent, child) else { continue };
        let base = (line.cells[1] != "-").then(|| state(base.as_deref()));
        let [at_parent, at_child] = line.setting.made;
        let states = [
            State { at: at_parent, ..state(Some(&parent)) },
            State { at: at_child, ..state(Some(&child)) },
        ];
        let policies = line.setting.policies();
        let (body, contested) = decided(base, states[0], states[1], &policies);
        // To choose what stands changes nothing.
        let choices = contested.iter().filter_map(|it| Some((it.path.clone(), it.stands?)));
        let base = base.and_then(|base| base.body);
        let choices = choices.collect();
        let chosen =
            crate::reconcile::resolve(base, Some(&parent), Some(&child), &policies, &choices);
        assert_eq!(
            canonical(chosen.unwrap().as_deref()),
            canonical(body.as_deref()),
            "{}",
            line.title()
        );
    }
}
