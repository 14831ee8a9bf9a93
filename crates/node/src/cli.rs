//! The command line: one verb, one file.

mod alerts;
mod audit;
mod backup;
mod bench;
mod child;
mod cohort;
mod completion;
mod conflict;
mod courier;
mod demo;
mod doctor;
mod emr;
mod export;
mod import;
mod init;
mod join;
mod link;
pub(crate) mod open;
pub(crate) mod patient;
mod queue;
mod restore;
mod serve;
mod source;
pub(crate) mod status;
mod sync;
mod token;
mod verify;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Writes a line to standard output; a reader that went away (`| head`) is no error of ours. What
/// a terminal would obey is spelt out: much of what is shown was written elsewhere.
macro_rules! say {
    ($($part:tt)*) => { $crate::cli::write_line(std::io::stdout(), format_args!($($part)*)) };
}
pub(crate) use say;

fn write_line(mut out: impl std::io::Write, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{}", protocol::plain::spelt(&line.to_string()));
}

/// Keeps patient records in step between clinics and a centre, over links that fail.
///
/// Each place runs one `tributary` beside its record system. Its data live in one folder, which
/// every command names with --dir.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new site: its folder, its settings and its empty store
    Init(init::Args),
    /// Run the site: answer requests and keep in step with the parent
    Serve(serve::Args),
    /// Show what this site holds and how it stands with its parent and its children
    Status(status::Args),
    /// List what the running site found wrong and told of
    Alerts(alerts::Args),
    /// Look for what is wrong with this site and say what to do about it
    Doctor(doctor::Args),
    /// At the parent: let children in, list them, shut one out
    Child(child::Args),
    /// At the child: join a parent with the code that its `child add` printed
    Join(join::Args),
    /// Say which patients belong together for a child to hold
    Cohort(cohort::Args),
    /// Give programs that use the FHIR API a credential of their own
    Token(token::Args),
    /// Read FHIR files into this site
    Import(import::Args),
    /// Write this site's records to a file
    Export(export::Args),
    /// Exchange everything with the parent once, now
    Sync(sync::Args),
    /// Pause and resume the links to the parent and to children
    Link(link::Args),
    /// Show and act on the way to the record system beside the site, and check what it lacks
    Emr(emr::Args),
    /// Carry records and answers on a stick where there is no link
    Courier(courier::Args),
    /// Show the sites below that this site reads itself, and read one now
    Source(source::Args),
    /// Show what waits for the parent and what is stuck, and act on it
    Queue(queue::Args),
    /// Say where a record is on its way, or why it is not here
    Why(why::Args),
    /// Show what happened to a patient's records; find and fetch patients; merge two files of one
    Patient(patient::Args),
    /// Show what two sites changed apart, and decide what holds
    Conflict(conflict::Args),
    /// Show who did what to what, and prove that no row of that was altered
    Audit(audit::Args),
    /// Prove that this site holds the same as its parent, or name what differs
    Verify(verify::Args),
    /// Copy the store of a running site to a file
    Backup(backup::Args),
    /// Make a site's store from a backup
    Restore(restore::Args),
    /// Watch a centre and its clinics live through cut links and power failures
    Demo(demo::Args),
    /// Measure how fast and how small everything is on this machine
    Bench(bench::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
}

/// Runs the verb that was asked for and says how it went.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::start(matches!(cli.verb, Verb::Serve(_)));
    let result = match cli.verb {
        Verb::Init(args) => init::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Alerts(args) => alerts::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Child(args) => child::run(&args),
        Verb::Join(args) => join::run(&args),
        Verb::Cohort(args) => cohort::run(&args),
        Verb::Token(args) => token::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Sync(args) => sync::run(&args),
        Verb::Link(args) => link::run(&args),
        Verb::Emr(args) => emr::run(&args),
        Verb::Courier(args) => courier::run(&args),
        Verb::Source(args) => source::run(&args),
        Verb::Queue(args) => queue::run(&args),
        Verb::Why(args) => why::run(&args),
        Verb::Patient(args) => patient::run(&args),
        Verb::Conflict(args) => conflict::run(&args),
        Verb::Audit(args) => audit::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Backup(args) => backup::run(&args),
        Verb::Restore(args) => restore::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Completion(args) => completion::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            write_line(std::io::stderr(), format_args!("tributary: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_the_readme_shows_are_understood() {
        let readme = include_str!("../../../README.md");
        let commands = readme.lines().filter(|line| line.starts_with("tributary "));
        let mut count = 0;
        for command in commands {
            let words = command.split_whitespace().filter(|word| *word != "&");
            // A placeholder stands for something that has a form of its own.
            let words = words.map(|word| if word == "PATH..." { "patients.json" } else { word });
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
            count += 1;
        }
        assert!((1..=8).contains(&count), "a set-up of {count} commands");
    }
}
