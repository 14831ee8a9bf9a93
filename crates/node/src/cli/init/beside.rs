//! The record system beside a new site: what `init --emr` is told, what it asks a person for, and
//! where the passwords go. No password is ever an argument: others on the machine see those.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use console::Term;

use crate::config::{EmrConfig, EmrKind, EmrMode, NoticeWay, OpenmrsConfig, check_url, named};

/// Bytes of a password or a token.
const SECRET_BYTES: u64 = 16 << 10;
/// Times that a person is asked the same.
const TIMES: usize = 5;
/// The variables with the passwords.
const PASSWORD: &str = "TRIBUTARY_EMR_PASSWORD";
const DATABASE_PASSWORD: &str = "TRIBUTARY_EMR_DATABASE_PASSWORD";
/// The files with the passwords, in the site's folder.
const SECRET_FILE: &str = "emr.secret";
const DATABASE_SECRET_FILE: &str = "emr-database.secret";
/// A database of OpenMRS on the same machine.
const DATABASE: &str = "mysql://tributary@127.0.0.1:3306/openmrs";

/// What `init` takes for it.
#[derive(Debug, Default, clap::Args)]
#[group(id = "beside")]
#[command(next_help_heading = "The record system beside the site")]
pub(super) struct Args {
    /// What stands beside the site: openmrs, or fhir (any FHIR R4 server). What is not said here
    /// is asked for, where a person is at a terminal
    #[arg(long, value_name = "KIND", value_parser = named::<EmrKind>)]
    emr: Option<EmrKind>,
    /// Its address, for example http://127.0.0.1:8080/openmrs or http://127.0.0.1:8080/fhir
    #[arg(long, value_name = "URL", requires = "emr")]
    emr_url: Option<String>,
    /// Who logs in there; to a FHIR server with a token nobody
    #[arg(long, value_name = "USER", requires = "emr")]
    emr_user: Option<String>,
    /// The file with that user's password, or a token; - for a line of the input. Else it is in
    /// TRIBUTARY_EMR_PASSWORD
    #[arg(long, value_name = "FILE", requires = "emr")]
    emr_password_file: Option<PathBuf>,
    /// Which way records go: two-way, capture-only (a centre collects) or apply-only (a copy)
    #[arg(long, value_name = "MODE", requires = "emr", value_parser = named::<EmrMode>)]
    emr_mode: Option<EmrMode>,
    /// Of OpenMRS, how changes are noticed besides by what was updated last: binlog, atomfeed, or
    /// both with a comma
    #[arg(long, value_name = "WAYS", value_delimiter = ',', requires = "emr",
        value_parser = named::<NoticeWay>)]
    emr_notice: Vec<NoticeWay>,
    /// Of OpenMRS, the database whose binary log is read: mysql://user@127.0.0.1:3306/openmrs
    #[arg(long, value_name = "URL", requires = "emr")]
    emr_database: Option<String>,
    /// The file with the password of the database's user; - for a line of the input. Else it is in
    /// TRIBUTARY_EMR_DATABASE_PASSWORD
    #[arg(long, value_name = "FILE", requires = "emr")]
    emr_database_password_file: Option<PathBuf>,
}

/// The settings, and the secrets by the names of their files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    pub(super) config: EmrConfig,
    pub(super) secrets: Vec<(&'static str, String)>,
}

/// Somebody who can be asked.
trait Person {
    /// A line, without the spaces around it.
    fn line(&mut self, question: &str) -> anyhow::Result<String>;
    /// A line that nobody sees.
    fn secret(&mut self, question: &str) -> anyhow::Result<String>;
    /// Tells what was wrong with an answer.
    fn tell(&mut self, words: &str) -> anyhow::Result<()>;
}

impl Person for Term {
    fn line(&mut self, question: &str) -> anyhow::Result<String> {
        self.write_str(question)?;
        let line = self.read_line().context("failed to read the answer")?;
        Ok(line.trim().to_owned())
    }
    fn secret(&mut self, question: &str) -> anyhow::Result<String> {
        self.write_str(question)?;
        let line = self.read_secure_line().context("failed to read the answer")?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
    fn tell(&mut self, words: &str) -> anyhow::Result<()> {
        Ok(self.write_line(words)?)
    }
}

impl Args {
    /// What is to stand beside the site; nothing where `--emr` was not said.
    pub(super) fn choose(&self) -> anyhow::Result<Beside> {
        let is_there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let mut terminal = is_there.then(Term::stderr);
        let person = terminal.as_mut().map(|terminal| terminal as &mut dyn Person);
        let variable = |name: &str| std::env::var(name).ok();
        let asking = Asking { args: self, person, variable: &variable };
        asking.all().context("failed to make the site")
    }
}

struct Asking<'a> {
    args: &'a Args,
    person: Option<&'a mut dyn Person>,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Asking<'_> {
    fn all(mut self) -> anyhow::Result<Beside> {
        let args = self.args;
        // With neither, the site's own store is the record system.
        let Some(kind) = args.emr.filter(|kind| *kind != EmrKind::Embedded) else {
            return Ok(Beside::default());
        };
        let sample = match kind {
            EmrKind::Openmrs => "http://127.0.0.1:8080/openmrs",
            EmrKind::Embedded | EmrKind::Fhir => "http://127.0.0.1:8080/fhir",
        };
        let url = self.value(args.emr_url.clone(), "Its address", sample, "--emr-url", |text| {
            let text = text.trim_end_matches('/').to_owned();
            check_url("the address", &text).map_err(|error| error.to_string())?;
            Ok(text)
        })?;
        let user = self.user(kind)?;
        let secret = self.password(user.as_deref())?;
        let mode = match (args.emr_mode, self.person.is_some()) {
            (Some(mode), _) => mode,
            (None, false) => EmrMode::default(),
            (None, true) => {
                let question = "Which way records go (two-way, capture-only, apply-only)";
                self.ask(question, EmrMode::default().name(), named)?
            }
        };
        let (openmrs, database) = match kind {
            EmrKind::Openmrs => self.openmrs(mode)?,
            _ if args.emr_database.is_some() || !args.emr_notice.is_empty() => {
                bail!("--emr-notice and --emr-database are for OpenMRS")
            }
            _ => (OpenmrsConfig::default(), None),
        };
        let secret_file = secret.is_some().then(|| SECRET_FILE.into());
        let secret = secret.map(|secret| (SECRET_FILE, secret));
        let database = database.map(|secret| (DATABASE_SECRET_FILE, secret));
        let url = Some(url);
        let config =
            EmrConfig { kind, url, user, secret_file, mode, openmrs, ..EmrConfig::default() };
        Ok(Beside { config, secrets: secret.into_iter().chain(database).collect() })
    }

    fn user(&mut self, kind: EmrKind) -> anyhow::Result<Option<String>> {
        if let Some(user) = &self.args.emr_user {
            return Ok(Some(user.clone()));
        }
        if kind == EmrKind::Openmrs {
            let any = |text: &str| match text {
                "" => Err("OpenMRS lets nobody in without a user".to_owned()),
                user => Ok(user.to_owned()),
            };
            return self.value(None, "Tributary's user there", "", "--emr-user", any).map(Some);
        }
        let Some(person) = &mut self.person else { return Ok(None) };
        let user =
            person.line("Tributary's user there (nothing: it asks for none, or for a token): ")?;
        Ok(Some(user).filter(|user| !user.is_empty()))
    }

    fn password(&mut self, user: Option<&str>) -> anyhow::Result<Option<String>> {
        let what = match user {
            Some(user) => format!("Password of {user}"),
            None => "Token (nothing: it asks for none)".to_owned(),
        };
        let secret = self.secret(&what, self.args.emr_password_file.as_deref(), PASSWORD)?;
        if user.is_some() && secret.is_none() {
            bail!(
                "the password of the record system's user is missing: name its file with \
                 --emr-password-file (- for a line of the input), or set {PASSWORD}"
            );
        }
        Ok(secret)
    }

    /// What OpenMRS needs besides, and the password of its database's user.
    fn openmrs(&mut self, mode: EmrMode) -> anyhow::Result<(OpenmrsConfig, Option<String>)> {
        let args = self.args;
        let mut config = OpenmrsConfig::default();
        let mut ways = args.emr_notice.clone();
        if args.emr_database.is_some() && !ways.contains(&NoticeWay::Binlog) {
            ways.push(NoticeWay::Binlog);
        }
        if ways.is_empty() && mode.captures() && self.person.is_some() {
            let question = "How changes are noticed (binlog, atomfeed, or both with a comma; \
                            last-updated alone shows deletions once a day)";
            let all = |text: &str| text.split(',').map(|way| named(way.trim())).collect();
            ways = self.ask(question, "binlog", all)?;
        }
        if !ways.contains(&NoticeWay::LastUpdated) {
            ways.insert(0, NoticeWay::LastUpdated);
        }
        config.notice = ways;
        if !config.has(NoticeWay::Binlog) {
            return Ok((config, None));
        }
        let given = args.emr_database.clone();
        let url = self.value(given, "Its database", DATABASE, "--emr-database", |text| {
            let tried = OpenmrsConfig { database: Some(text.to_owned()), ..Default::default() };
            tried.check().map(|()| text.to_owned()).map_err(|error| error.to_string())
        })?;
        config.database = Some(url);
        let file = args.emr_database_password_file.as_deref();
        let what = "Password of the database's user (nothing: it has none)";
        let secret = self.secret(what, file, DATABASE_PASSWORD)?;
        config.database_secret_file = secret.is_some().then(|| DATABASE_SECRET_FILE.into());
        Ok((config, secret))
    }

    /// What was said, or what a person says; `option` is named where there is neither.
    fn value(
        &mut self,
        given: Option<String>,
        question: &str,
        otherwise: &str,
        option: &str,
        good: impl Fn(&str) -> Result<String, String>,
    ) -> anyhow::Result<String> {
        match (given, self.person.is_some()) {
            (Some(given), _) => good(&given).map_err(|why| anyhow::anyhow!("{option}: {why}")),
            (None, true) => self.ask(question, otherwise, good),
            (None, false) => bail!("{option} is missing, and nobody is at a terminal to be asked"),
        }
    }

    fn ask<T>(
        &mut self,
        question: &str,
        otherwise: &str,
        good: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let question = match otherwise {
            "" => format!("{question}: "),
            otherwise => format!("{question} [{otherwise}]: "),
        };
        for _ in 0..TIMES {
            let Some(person) = &mut self.person else { break };
            let said = person.line(&question)?;
            let said = if said.is_empty() { otherwise } else { &said };
            match good(said) {
                Ok(value) => return Ok(value),
                Err(why) => person.tell(&format!("  {why}"))?,
            }
        }
        bail!("no answer to this was one that can be: {question}")
    }

    /// A secret: from its file, else its variable, else a person.
    fn secret(
        &mut self,
        question: &str,
        file: Option<&Path>,
        variable: &str,
    ) -> anyhow::Result<Option<String>> {
        let secret = match (file, (self.variable)(variable), &mut self.person) {
            (Some(file), _, _) => read(file)?,
            (None, Some(secret), _) => secret,
            (None, None, Some(person)) => person.secret(&format!("{question}: "))?,
            (None, None, None) => return Ok(None),
        };
        if secret.is_empty() {
            match file {
                Some(file) => bail!("{} is empty", file.display()),
                None => return Ok(None),
            }
        }
        if secret.trim() != secret || secret.contains(['\n', '\r']) {
            bail!("a password begins or ends with a space, or has several lines");
        }
        Ok(Some(secret))
    }
}

/// What a file says, or the next line of the input.
fn read(file: &Path) -> anyhow::Result<String> {
    let failed = || format!("failed to read {}", file.display());
    let mut text = String::new();
    if file == Path::new("-") {
        let input = std::io::stdin().lock();
        input.take(SECRET_BYTES).read_line(&mut text).with_context(failed)?;
    } else {
        let opened = std::fs::File::open(file).with_context(failed)?;
        opened.take(SECRET_BYTES + 1).read_to_string(&mut text).with_context(failed)?;
        if text.len() as u64 > SECRET_BYTES {
            bail!("{}: it is longer than {SECRET_BYTES} bytes, and no password", failed());
        }
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        beside: Args,
    }

    /// Gives these answers, and keeps what it was asked.
    struct Desk {
        answers: VecDeque<&'static str>,
        asked: Vec<String>,
    }

    impl Person for Desk {
        fn line(&mut self, question: &str) -> anyhow::Result<String> {
            self.asked.push(question.to_owned());
            Ok(self.answers.pop_front().unwrap().to_owned())
        }
        fn secret(&mut self, question: &str) -> anyhow::Result<String> {
            self.asked.push(format!("hidden {question}"));
            Ok(self.answers.pop_front().unwrap().to_owned())
        }
        fn tell(&mut self, words: &str) -> anyhow::Result<()> {
            self.asked.push(words.to_owned());
            Ok(())
        }
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(["init"].into_iter().chain(line.split_whitespace())).unwrap().beside
    }

    /// What comes of these words and answers, and what was asked.
    fn asked(line: &str, answers: &[&'static str]) -> (anyhow::Result<Beside>, Vec<String>) {
        let mut desk = Desk { answers: answers.iter().copied().collect(), asked: Vec::new() };
        let args = args(line);
        let person = Some(&mut desk as &mut dyn Person);
        let told = Asking { args: &args, person, variable: &|_| None }.all();
        assert!(desk.answers.is_empty(), "nobody asked for {:?}", desk.answers);
        (told, desk.asked)
    }

    #[test]
    fn a_person_is_asked_for_what_was_not_said_and_again_where_it_cannot_be() {
        let answers = [
            "127.0.0.1/openmrs",
            "https://emr.example/openmrs/",
            "",
            "sync",
            "Pass:word1",
            "both",
            "capture-only",
            "binlog, atomfeed",
            "mysql://sync:secret@db.example/openmrs",
            "",
            "",
        ];
        let (told, questions) = asked("--emr openmrs", &answers);
        let Beside { config, secrets } = told.unwrap();
        assert_eq!(config.url.as_deref(), Some("https://emr.example/openmrs"));
        assert_eq!((config.user.as_deref(), config.mode), (Some("sync"), EmrMode::CaptureOnly));
        let ways = [NoticeWay::LastUpdated, NoticeWay::Binlog, NoticeWay::Atomfeed];
        assert_eq!(config.openmrs.notice, ways);
        assert_eq!(config.openmrs.database.as_deref(), Some(DATABASE));
        assert_eq!(config.openmrs.database_secret_file, None);
        assert_eq!(secrets, [(SECRET_FILE, "Pass:word1".to_owned())]);
        let hidden = questions.iter().filter(|asked| asked.starts_with("hidden")).count();
        assert_eq!(hidden, 2, "{questions:?}");
        for words in ["must be of the form", "without a user", "expected one of", "has a password"]
        {
            assert!(questions.iter().any(|asked| asked.contains(words)), "{words}: {questions:?}");
        }
        let (told, _) = asked("--emr fhir --emr-url http://emr/fhir", &["", "a token", ""]);
        let Beside { config, secrets } = told.unwrap();
        assert_eq!((config.user, config.mode), (None, EmrMode::TwoWay));
        assert_eq!(secrets, [(SECRET_FILE, "a token".to_owned())]);
        let (told, _) = asked("--emr fhir", &["x"; TIMES]);
        assert!(told.is_err(), "nobody is asked for ever");
    }

    #[test]
    fn without_a_person_all_has_to_be_said_and_the_first_thing_that_is_not_is_named() {
        let variable = |name: &str| (name == PASSWORD).then(|| "secret".to_owned());
        let told = |line: &str| {
            let told = Asking { args: &args(line), person: None, variable: &variable }.all();
            told.map_err(|error| error.to_string())
        };
        assert_eq!(told("").unwrap(), Beside::default());
        let Beside { config, secrets } = told(
            "--emr openmrs --emr-url http://a/openmrs --emr-user u --emr-database mysql://u@d/o",
        )
        .unwrap();
        assert_eq!(config.openmrs.notice, [NoticeWay::LastUpdated, NoticeWay::Binlog]);
        assert_eq!(secrets, [(SECRET_FILE, "secret".to_owned())]);
        for (line, words) in [
            ("--emr openmrs", "--emr-url is missing"),
            ("--emr openmrs --emr-url http://a/openmrs", "--emr-user is missing"),
            ("--emr fhir --emr-url http://u:p@a/fhir", "--emr-url: the address must be"),
            ("--emr fhir --emr-url http://a/fhir --emr-notice binlog", "are for OpenMRS"),
            (
                "--emr openmrs --emr-url http://a/o --emr-user u --emr-notice binlog",
                "--emr-database is missing",
            ),
            ("--emr fhir --emr-url http://a/fhir --emr-password-file /dev/null", "is empty"),
            ("--emr fhir --emr-url http://a/fhir --emr-password-file /dev/zero", "no password"),
        ] {
            let error = told(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
        let args = args("--emr fhir --emr-url http://a/fhir --emr-user u");
        let told = Asking { args: &args, person: None, variable: &|_| None }.all();
        assert!(told.unwrap_err().to_string().contains(PASSWORD));
        for line in ["--emr-url http://a/fhir", "--emr hl7v2", "--emr fhir --emr-mode both"] {
            let words = ["init"].into_iter().chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }
}
