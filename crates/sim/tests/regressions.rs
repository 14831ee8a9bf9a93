//! Worlds that went wrong once, each a list of steps in `plans/`, named by what must hold. The
//! command line writes such a file where it finds something (`docs/testing.md`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so what it expects")]

use std::path::PathBuf;

use sim::op::Plan;
use sim::run::run;

#[test]
fn what_went_wrong_once_goes_well() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    files.sort();
    assert!(!files.is_empty(), "there is no plan in {}", folder.display());
    for file in files {
        let plan = Plan::of_text(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let outcome = run(&plan, false);
        assert_eq!(outcome.violations, [], "{}", file.display());
        assert!(outcome.site_days > 0, "{}", file.display());
    }
}
