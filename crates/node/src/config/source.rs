//! Sources: sites below, and other publishers' feeds, that this site reads on its own schedule.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use protocol::SiteId;
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::{Config, check_url};

/// One source, a `[[source]]` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The child's site id.
    pub name: SiteId,
    /// What it is.
    #[serde(default)]
    pub kind: SourceKind,
    /// Its base URL.
    pub url: String,
    /// The file with its credential, readable by its owner only; a path below this site's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// How often it is read: `30s`, `15m` (unless said otherwise), `2h`, `1d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// When it is read, in local time, as in a crontab: `*/10 6-20 * * MON-SAT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Between which times of the day it is read, in local time: `20:00-06:00`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
    /// Of an Atom feed, what is read: categories of OpenMRS's atomfeed module, or paths below
    /// `url`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<String>,
    /// Of an Atom feed, the path of its FHIR API below `url`: `/ws/fhir2/R4` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fhir: Option<String>,
    /// Of an Atom feed, the user whose password is in `token_file`; without one it is a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A Tributary site, whose parent this one is (`up = "read"` there).
    #[default]
    Tributary,
    /// An Atom feed whose entries name FHIR records, as OpenMRS's atomfeed module has it.
    Atomfeed,
}

/// The sources of a site together.
pub(super) fn check_all(config: &Config) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for source in &config.sources {
        let name = &source.name;
        if *name == config.site {
            bail!("source {name}: that is this site itself");
        }
        if config.parent.as_ref().is_some_and(|parent| parent.site == *name) {
            bail!("source {name}: that is this site's parent, which is read anyway");
        }
        if !names.insert(name) {
            bail!("source {name} stands twice");
        }
        source.check().with_context(|| format!("source {name}"))?;
    }
    if config.limits.sources_at_once == 0 || config.limits.source_bytes == 0 {
        bail!("limits.sources_at_once and limits.source_bytes must be at least 1");
    }
    Ok(())
}

impl SourceConfig {
    /// A Tributary site that is read every 15 minutes.
    pub fn of_child(name: SiteId, url: String) -> SourceConfig {
        SourceConfig {
            name,
            kind: SourceKind::Tributary,
            url,
            token_file: None,
            every: None,
            cron: None,
            windows: Vec::new(),
            feeds: Vec::new(),
            fhir: None,
            user: None,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        check_url("url", &self.url)?;
        Schedule::of(self)?;
        let is_feed = self.kind == SourceKind::Atomfeed;
        if !is_feed && self.token_file.is_none() {
            bail!(
                "token_file is missing: `tributary token add NAME --scope read-outgoing` there \
                 makes a credential, to be put into a file here"
            );
        }
        if !is_feed && (!self.feeds.is_empty() || self.fhir.is_some() || self.user.is_some()) {
            bail!("feeds, fhir and user are for Atom feeds (kind = \"atomfeed\")");
        }
        if is_feed && self.feeds.is_empty() {
            bail!("feeds is missing: for example [\"patient\", \"encounter\", \"observation\"]");
        }
        let is_path = |path: &str| path.starts_with('/') && !path.ends_with('/');
        if self.fhir.as_deref().is_some_and(|path| !is_path(path)) {
            bail!("fhir must be a path such as /ws/fhir2/R4");
        }
        if self.user.is_some() && self.token_file.is_none() {
            bail!("token_file is missing: a file with the password of {:?}", self.user);
        }
        Ok(())
    }
}
