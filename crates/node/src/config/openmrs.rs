//! What OpenMRS needs beside the settings of every record system: `[emr.openmrs]`.

use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};

/// How changes in OpenMRS are noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenmrsConfig {
    /// In which ways. `last-updated` is the floor that all have.
    pub notice: Vec<NoticeWay>,
    /// Of `atomfeed`: the categories that are read (Bahmni's is `Encounter`, with a capital E).
    pub feeds: Vec<String>,
    /// Of `binlog`: `mysql://user@127.0.0.1:3306/openmrs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Of `binlog`: the file with the password of that user, readable by its owner only; a path
    /// below this site's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_secret_file: Option<PathBuf>,
    /// Of `binlog`: whether the connection to the database is encrypted, and its certificate one
    /// that a public authority vouches for.
    #[serde(skip_serializing_if = "is_false")]
    pub database_tls: bool,
    /// Of `binlog`: the file with the certificates (PEM) of the authority that vouches for the
    /// database's, and no other; a path below this site's folder. The connection is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_ca_file: Option<PathBuf>,
    /// Of `binlog`: whether replicas of the database take over, with its GTIDs (MariaDB).
    #[serde(skip_serializing_if = "is_false")]
    pub database_gtid: bool,
    /// Seconds between two looks by `_lastUpdated`, where another way is quicker.
    pub floor_seconds: u64,
}

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeWay {
    /// Searches by `_lastUpdated`.
    LastUpdated,
    /// The feeds of the atomfeed module.
    Atomfeed,
    /// The binary log of the database.
    Binlog,
}

impl Default for OpenmrsConfig {
    fn default() -> Self {
        let feeds = ["patient", "encounter", "observation", "allergy", "drug_order", "test_order"];
        OpenmrsConfig {
            notice: vec![NoticeWay::LastUpdated],
            feeds: feeds.map(str::to_owned).into(),
            database: None,
            database_secret_file: None,
            database_tls: false,
            database_ca_file: None,
            database_gtid: false,
            floor_seconds: 600,
        }
    }
}

impl OpenmrsConfig {
    /// Whether a way is used.
    pub fn has(&self, way: NoticeWay) -> bool {
        self.notice.contains(&way)
    }

    /// Whether another way than the floor is used.
    pub fn is_quick(&self) -> bool {
        self.notice.iter().any(|way| *way != NoticeWay::LastUpdated)
    }

    pub(super) fn is_default(&self) -> bool {
        *self == OpenmrsConfig::default()
    }

    /// What must hold between settings.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.notice.is_empty() {
            bail!("openmrs.notice is empty: [\"last-updated\"], \"atomfeed\", \"binlog\"");
        }
        if self.has(NoticeWay::Atomfeed) && self.feeds.is_empty() {
            bail!("openmrs.feeds is empty: for example [\"patient\", \"encounter\"]");
        }
        match &self.database {
            None if self.has(NoticeWay::Binlog) => bail!(
                "openmrs.database is missing: for example mysql://tributary@127.0.0.1:3306/openmrs"
            ),
            Some(url) if !url.starts_with("mysql://") => {
                bail!("openmrs.database must be of the form mysql://user@host:3306/openmrs")
            }
            Some(url) => match user(url) {
                None => bail!(
                    "openmrs.database names no user: for example \
                     mysql://tributary@127.0.0.1:3306/openmrs"
                ),
                Some(user) if user.contains(':') => bail!(
                    "openmrs.database has a password in it: put it into a file and name that in \
                     openmrs.database_secret_file"
                ),
                Some(_) => {}
            },
            None => {}
        }
        if self.floor_seconds == 0 {
            bail!("openmrs.floor_seconds must be at least 1");
        }
        Ok(())
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Who stands before the host of `mysql://user@host/database`, with a password where it has one.
fn user(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("mysql://")?;
    // A password may have a slash in it; a host has neither.
    let (user, _) = rest.rsplit_once('@')?;
    Some(user).filter(|user| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        for (text, words) in [
            ("", ""),
            ("notice = [\"binlog\"]", "openmrs.database is missing"),
            ("notice = []", "openmrs.notice is empty"),
            ("notice = [\"atomfeed\"]\nfeeds = []", "openmrs.feeds is empty"),
            ("database = \"postgres://x\"", "must be of the form mysql://"),
            ("database = \"mysql://u:p@h/openmrs\"", "has a password in it"),
            ("database = \"mysql://u:p/q@h/openmrs\"", "has a password in it"),
            ("database = \"mysql://host:3306/openmrs\"", "names no user"),
            ("database = \"mysql://@host:3306/openmrs\"", "names no user"),
            ("database = \"mysql://\"", "names no user"),
            ("notice = [\"binlog\"]\ndatabase = \"mysql://u@h:3306/openmrs\"", ""),
            ("floor_seconds = 0", "at least 1"),
            ("notice = [\"telepathy\"]", "unknown variant"),
        ] {
            let read = toml::from_str::<OpenmrsConfig>(text);
            let checked = read.map_err(anyhow::Error::from).and_then(|config| config.check());
            match checked {
                Ok(()) => assert_eq!(words, "", "{text}"),
                Err(error) => {
                    let error = format!("{error:#}");
                    assert!(!words.is_empty() && error.contains(words), "{text}: {error}");
                }
            }
        }
    }
}
