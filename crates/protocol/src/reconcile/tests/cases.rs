//! Runs the table of cases in `cases.txt`.

use super::{canonical, outcome};
use crate::reconcile::Policy;

/// One case as it stands in the table.
#[derive(Default)]
struct Case<'t> {
    title: &'t str,
    fields: Vec<(&'t str, &'t str)>,
}

impl<'t> Case<'t> {
    fn field(&self, name: &str) -> Option<&'t str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }
    fn required(&self, name: &str) -> &'t str {
        self.field(name).unwrap_or_else(|| panic!("`{}` has no {name}", self.title))
    }
    /// A side's body, `None` where it is deleted.
    fn body(&self, name: &str) -> Option<&'t str> {
        match self.required(name) {
            "same" => self.body("base"),
            "deleted" => None,
            body => Some(body),
        }
    }
}

fn table() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = Vec::new();
    for line in include_str!("cases.txt").lines() {
        if let Some(title) = line.strip_prefix("= ") {
            cases.push(Case { title, fields: Vec::new() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let (name, value) = line.split_once(' ').expect("a field has a value");
            cases.last_mut().expect("a title first").fields.push((name, value.trim()));
        }
    }
    cases
}

/// Says what is wrong with a case, if anything is.
fn check(case: &Case<'_>, policy: Policy, expected: &str) -> Result<(), String> {
    let base = match case.required("base") {
        "-" => None,
        _ => Some(case.body("base")),
    };
    let [parent, child] = ["parent", "child"].map(|side| case.body(side));
    let found = outcome(base, parent, child, policy);
    let body = match expected {
        "parent" => parent,
        "child" => child,
        body => Some(body),
    };
    // The words stand for what a side holds, whatever its key order; a text for these bytes.
    let same = match expected {
        "parent" | "child" => canonical(found.body.as_deref()) == canonical(body),
        body => found.body.as_deref() == Some(body),
    };
    let conflict = case.field("conflict").unwrap_or_default();
    if same && found.elements.join(", ") == conflict {
        return Ok(());
    }
    Err(format!(
        "{} ({policy:?})\n  expected {}\n  found    {}\n  named    {conflict}\n  found    {}\n",
        case.title,
        body.unwrap_or("deleted"),
        found.body.as_deref().unwrap_or("deleted"),
        found.elements.join(", "),
    ))
}

#[test]
fn every_case_of_the_table_comes_to_its_result_at_both_ends() {
    let mut failures = Vec::new();
    let cases = table();
    for case in &cases {
        let result = case.required("result");
        failures.extend(check(case, Policy::Parent, result).err());
        let by_child = case.field("by-child").unwrap_or(result);
        failures.extend(check(case, Policy::Child, by_child).err());
    }
    let count = cases.len() + super::lines::count();
    assert!(count >= 250, "only {count} cases were read");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn titles_and_fields_of_the_table_are_well_formed() {
    let mut titles = std::collections::BTreeSet::new();
    for case in table() {
        assert!(titles.insert(case.title), "`{}` stands twice", case.title);
        for (name, _) in &case.fields {
            let known = ["base", "parent", "child", "result", "by-child", "conflict"];
            assert!(known.contains(name), "`{}` has a field {name}", case.title);
        }
    }
}
