//! The record system beside a site: the section `[emr]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::openmrs::OpenmrsConfig;
use super::{LoginConfig, check_url};

/// The settings of the record system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmrConfig {
    /// What it is.
    pub kind: EmrKind,
    /// Its base URL: of a FHIR server the address of its API (`http://127.0.0.1:8080/fhir`), of
    /// OpenMRS that of the web application (`http://127.0.0.1:8080/openmrs`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who logs in there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the password (or token), readable by its owner only; a path below this site's
    /// folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Another login than by `user` and `secret_file`: of a FHIR server by tokens.
    #[serde(skip_serializing_if = "is_no_login")]
    pub login: LoginConfig,
    /// Which way records go.
    pub mode: EmrMode,
    /// Milliseconds between two looks for what changed there.
    pub every_ms: u64,
    /// Records that are read or written at the same time.
    pub at_once: usize,
    /// Most records a second that are read or written, so that it stays quick for people.
    pub records_per_second: u32,
    /// What our names of metadata are in this record system, by kind and name:
    /// `"encounter-type class AMB" = "uuid"`, `"concept http://loinc.org|2339-0" = "uuid"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, String>,
    /// What a FHIR server needs besides.
    #[serde(skip_serializing_if = "FhirEmrConfig::is_default")]
    pub fhir: FhirEmrConfig,
    /// What OpenMRS needs besides.
    #[serde(skip_serializing_if = "OpenmrsConfig::is_default")]
    pub openmrs: OpenmrsConfig,
}

/// What a FHIR server needs beside the settings of every record system: `[emr.fhir]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FhirEmrConfig {
    /// Whose ids its records have.
    pub ids: FhirIds,
    /// With `ids = "map"`: a person has seen that its records still have the ids that they had,
    /// after it had to be compared as a whole.
    pub same_ids: bool,
}

impl FhirEmrConfig {
    fn is_default(&self) -> bool {
        *self == FhirEmrConfig::default()
    }
}

/// Whose ids the records of a FHIR server have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FhirIds {
    /// Ours: a record has the same id on both sides.
    #[default]
    Keep,
    /// Its own: which is which is kept here.
    Map,
}

/// What the record system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmrKind {
    /// There is none: Tributary's own store is the record system, used by `/fhir`.
    #[default]
    Embedded,
    /// A FHIR R4 server.
    Fhir,
    /// OpenMRS.
    Openmrs,
}

impl EmrKind {
    /// As in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            EmrKind::Embedded => "embedded",
            EmrKind::Fhir => "fhir",
            EmrKind::Openmrs => "openmrs",
        }
    }
}

/// Which way records go between the store and the record system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmrMode {
    /// Both.
    #[default]
    TwoWay,
    /// Only out of the record system: a centre collects.
    CaptureOnly,
    /// Only into it: a copy for reports. What is edited there is overwritten.
    ApplyOnly,
}

impl EmrMode {
    /// Whether what changes there is recorded here.
    pub const fn captures(self) -> bool {
        !matches!(self, EmrMode::ApplyOnly)
    }
    /// Whether what changes here is written there.
    pub const fn applies(self) -> bool {
        !matches!(self, EmrMode::CaptureOnly)
    }
    /// As in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            EmrMode::TwoWay => "two-way",
            EmrMode::CaptureOnly => "capture-only",
            EmrMode::ApplyOnly => "apply-only",
        }
    }
}

impl Default for EmrConfig {
    fn default() -> Self {
        EmrConfig {
            kind: EmrKind::Embedded,
            url: None,
            user: None,
            secret_file: None,
            login: LoginConfig::default(),
            mode: EmrMode::TwoWay,
            every_ms: 1_000,
            at_once: 4,
            records_per_second: 500,
            map: BTreeMap::new(),
            fhir: FhirEmrConfig::default(),
            openmrs: OpenmrsConfig::default(),
        }
    }
}

fn is_no_login(login: &LoginConfig) -> bool {
    *login == LoginConfig::default()
}

pub(super) fn is_default(emr: &EmrConfig) -> bool {
    *emr == EmrConfig::default()
}

/// Most records that may be read or written at the same time.
const AT_ONCE_MAX: usize = 64;

impl EmrConfig {
    /// Whether there is a record system beside the site.
    pub fn is_system(&self) -> bool {
        self.kind != EmrKind::Embedded
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.is_system() {
            if self.url.is_some() || self.user.is_some() || self.secret_file.is_some() {
                bail!(
                    "kind is missing: url, user and secret_file are for a record system \
                     (kind = \"fhir\" or \"openmrs\")"
                );
            }
            return Ok(());
        }
        match &self.url {
            Some(url) => check_url("url", url)?,
            None => {
                bail!("url is missing: where the record system is, for example {}", self.sample())
            }
        }
        if self.user.is_some() && self.secret_file.is_none() {
            bail!("secret_file is missing: a file with the password, readable by its owner only");
        }
        self.login.check("login")?;
        if !is_no_login(&self.login) && (self.user.is_some() || self.secret_file.is_some()) {
            bail!("[emr.login] takes the place of user and secret_file: one of both");
        }
        if !is_no_login(&self.login) && self.kind != EmrKind::Fhir {
            bail!("[emr.login] is for a FHIR server (kind = \"fhir\")");
        }
        if self.every_ms < 100 {
            bail!(
                "every_ms is {}: at least 100, or the record system does little else",
                self.every_ms
            );
        }
        if self.kind != EmrKind::Openmrs && !self.openmrs.is_default() {
            bail!("openmrs is for kind = \"openmrs\"");
        }
        self.openmrs.check()?;
        if self.at_once == 0 || self.at_once > AT_ONCE_MAX {
            bail!("at_once is {}: from 1 to {AT_ONCE_MAX}", self.at_once);
        }
        if self.records_per_second == 0 {
            bail!("records_per_second is 0: to let nothing move, `tributary link pause emr`");
        }
        Ok(())
    }

    fn sample(&self) -> &'static str {
        match self.kind {
            EmrKind::Openmrs => "http://127.0.0.1:8080/openmrs",
            EmrKind::Embedded | EmrKind::Fhir => "http://127.0.0.1:8080/fhir",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> anyhow::Result<EmrConfig> {
        let config: EmrConfig = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn the_section_is_read_and_may_be_left_out() {
        assert_eq!(check("").unwrap(), EmrConfig::default());
        let text = "kind = \"openmrs\"\nurl = \"http://127.0.0.1:8080/openmrs\"\nuser = \"sync\"\n\
                    secret_file = \"emr.secret\"\nmode = \"capture-only\"\n";
        let config = check(text).unwrap();
        assert_eq!(config.kind, EmrKind::Openmrs);
        assert!(config.mode.captures() && !config.mode.applies());
        for mode in [EmrMode::TwoWay, EmrMode::CaptureOnly, EmrMode::ApplyOnly] {
            let text = format!("mode = \"{}\"", mode.name());
            assert_eq!(check(&text).unwrap().mode, mode);
        }
        for kind in [EmrKind::Fhir, EmrKind::Openmrs] {
            let text = format!("kind = \"{}\"\nurl = \"http://127.0.0.1:1/x\"", kind.name());
            assert_eq!(check(&text).unwrap().kind, kind);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        for (text, words) in [
            ("url = \"http://127.0.0.1:8080/fhir\"", "kind is missing"),
            ("kind = \"fhir\"", "url is missing"),
            ("kind = \"fhir\"\nurl = \"127.0.0.1:8080\"", "must be of the form"),
            ("kind = \"fhir\"\nurl = \"http://a/fhir\"\nuser = \"u\"", "secret_file is missing"),
            ("kind = \"hl7v2\"", "unknown variant"),
            ("kidn = \"fhir\"", "unknown field"),
            ("kind = \"fhir\"\nurl = \"http://a/f\"\nat_once = 0", "at_once is 0"),
            ("kind = \"fhir\"\nurl = \"http://a/f\"\nevery_ms = 1", "every_ms is 1"),
            ("kind = \"fhir\"\nurl = \"http://a/f\"\nrecords_per_second = 0", "link pause emr"),
        ] {
            let error = format!("{:#}", check(text).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
