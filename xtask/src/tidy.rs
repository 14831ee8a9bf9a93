//! `cargo xtask tidy`: what a reviewer would otherwise have to look for by hand.
//!
//! Each check is one file with a pure function over the tree's texts, so that its tests can
//! show it failing. This file reads the tree, runs them all and prints what they found.

mod defects;
mod functions;
mod layers;
mod leftovers;
mod metrics;
mod paths;
mod purity;
mod routes;
mod rust_text;
mod sizes;
mod sql;
mod verbs;
mod words;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// One file of the tree.
pub(crate) struct File {
    /// From the workspace's folder, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The lines with their numbers, which count from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines of a document with their numbers and whether they stand in a code block; the
    /// fences themselves left out.
    fn document_lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let mut fenced = false;
        self.lines().filter_map(move |(number, line)| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            (!fence).then_some((number, line, fenced))
        })
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether this is a document that people read to learn what is where.
    fn is_document(&self) -> bool {
        self.path.ends_with(".md") && (!self.path.contains('/') || self.path.starts_with("docs/"))
    }
}

/// Something to mend, and where. Line 0 means the whole file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Runs every check over the tree at `root`, prints what they found, fails if that is anything.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let files = read_tree(root)?;
    let mut findings = check_texts(&files);
    for rule in layers::RULES {
        findings.extend(layers::check_tree(rule, &cargo_tree(root, rule.tree_arguments())?));
    }
    findings.sort();

    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    writeln!(out, "tidy: {} files, {} to mend", files.len(), findings.len())?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every check that needs the texts only.
fn check_texts(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(words::check(file));
        if file.is_rust() {
            findings.extend(sizes::check(file));
            findings.extend(functions::check(file));
            findings.extend(layers::check_text(file));
            findings.extend(purity::check(file));
            findings.extend(routes::check(file));
            findings.extend(sql::check(file));
            findings.extend(leftovers::check(file));
        }
    }
    findings.extend(paths::check(files));
    findings.extend(verbs::check(files));
    findings.extend(metrics::check(files));
    findings.extend(defects::check(files));
    findings
}

/// The text files that git tracks or would track. What is not UTF-8 is data and is left out.
fn read_tree(root: &Path) -> anyhow::Result<Vec<File>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("failed to start git ls-files")?;
    anyhow::ensure!(listed.status.success(), "failed to list the files: is this a git checkout?");
    let mut files = Vec::new();
    for path in String::from_utf8(listed.stdout)?.lines() {
        // A file that was deleted but not yet committed is still listed.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

fn cargo_tree(root: &Path, arguments: Vec<String>) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args(&arguments)
        .current_dir(root)
        .output()
        .context("failed to start cargo tree")?;
    let complaint = String::from_utf8_lossy(&tree.stderr);
    anyhow::ensure!(tree.status.success(), "failed to run cargo {arguments:?}: {complaint}");
    Ok(String::from_utf8(tree.stdout)?)
}

#[cfg(test)]
fn a_file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_as_editors_expect_it() {
        assert_eq!(Finding::new("a/b.rs", 7, "too wide").to_string(), "a/b.rs:7: too wide");
    }

    #[test]
    fn every_check_of_texts_is_run() {
        let wide = "x".repeat(101);
        let vague = concat!("hel", "per");
        let long = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(80));
        let code = format!(
            "// {wide}\n{long}q(\"SELECT 1\"); rusqlite::open(getrandom::u32()); {}!()\n",
            "todo"
        );
        let files = [
            a_file("crates/node/src/a.rs", &code),
            a_file("crates/node/src/cli/serve.rs", ""),
            a_file("packaging/rules.yml", "tributary_gone > 0\n"),
            a_file("README.md", &format!("`docs/gone.md`, `tributary fly`: {vague}\n")),
        ];
        let found: Vec<String> = check_texts(&files).iter().map(Finding::to_string).collect();
        for piece in [
            "104 columns",
            "fn long",
            "SQL",
            "rusqlite",
            "getrandom",
            "todo!",
            "tributary_gone",
            "docs/gone.md",
            "tributary fly",
            vague,
            "defect 1 ",
        ] {
            assert!(found.iter().any(|line| line.contains(piece)), "{piece} not in {found:#?}");
        }
    }
}
