//! `tributary status`, once and again and again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::folder::Folder;

/// `tributary status --watch 1` with these words besides, and what it says.
struct Watching(Child, BufReader<std::process::ChildStdout>);

impl Watching {
    fn start(site: &Folder, words: &[&str]) -> Watching {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tributary"))
            .args(["status", "--watch", "1", "--dir"])
            .arg(site.dir())
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Watching(child, said)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.1.read_line(&mut line).unwrap() > 0, "it ended by itself");
        line
    }

    /// The next line with these words.
    fn next(&mut self, words: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_status_that_is_watched_is_shown_again_as_it_is_by_then() {
    let site = Folder::new("clinic");
    let mut people = Watching::start(&site, &[]);
    let mut programs = Watching::start(&site, &["--json"]);
    let mut told = || serde_json::from_str::<Value>(&programs.line()).unwrap();
    assert!(people.line().ends_with("Z\n"), "each begins with the time");
    assert!(people.next("records ").contains("0 of 0 patients, 0 changes"));
    assert_eq!(told()["records"], 0);
    let file = site.write("amina.json", crate::folder::patient("amina", "Otieno"));
    site.run(&["import", &file]).ok();
    while !people.next("records ").contains("1 of 1 patients, 1 changes") {}
    while told()["records"] != 1 {}
}

#[test]
fn a_status_that_nobody_reads_any_more_is_not_watched_any_more() {
    let site = Folder::new("clinic");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["status", "--watch", "1", "--json", "--dir"])
        .arg(site.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn times_for_watching_that_make_no_sense_are_refused() {
    let site = Folder::new("clinic");
    for seconds in ["0", "86401", "often"] {
        site.run(&["status", "--watch", seconds]).refused(&["--watch"]);
    }
}

#[test]
fn settings_of_a_link_that_is_none_are_named() {
    let site = Folder::new("centre");
    let settings = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    assert_eq!(site.run(&["doctor"]).code, Some(0));
    std::fs::write(&settings, format!("{text}\n[link.bulk]\nrate = \"20 kB/s\"\n")).unwrap();
    let told = site.run(&["doctor"]);
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("[link] is set and this site has no parent"), "{}", told.out);
}
