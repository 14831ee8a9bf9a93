//! One site's settings: `tributary.toml` in its folder. Unknown keys are refused, so that a
//! misspelt one cannot be believed to work.

pub mod emr;
pub mod fhir_parent;
pub mod link;
pub mod login;
pub mod openmrs;
pub mod schedule;
pub mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use protocol::reconcile::Policies;
use protocol::visit::Rules;
use protocol::{Limits, ResourceType, SiteId};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde::{Deserialize, Serialize};
use store::LeavePolicy;

pub use self::emr::{EmrConfig, EmrKind, EmrMode, FhirEmrConfig, FhirIds};
pub use self::fhir_parent::{FhirParent, FhirWay};
pub use self::link::LinkConfig;
pub use self::login::{KeyAlgorithm, LoginConfig, LoginKind};
pub use self::openmrs::{NoticeWay, OpenmrsConfig};
pub use self::source::{SourceConfig, SourceKind};
use crate::alerts;

/// The file's name in a site's folder.
pub const FILE_NAME: &str = "tributary.toml";

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This site's id.
    pub site: SiteId,
    /// Where the site listens, for example `127.0.0.1:8480`.
    pub listen: SocketAddr,
    /// The URL under which others reach this site; links in feeds are made from it, never from
    /// what a request says.
    pub public_url: String,
    /// Whether listening beyond loopback without TLS was asked for aloud.
    #[serde(default)]
    pub insecure_http: bool,
    /// Whether programs on this machine may use `/fhir` without a credential.
    #[serde(default)]
    pub open_on_loopback: bool,
    /// The parent, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// What moves on the link to the parent, and when.
    #[serde(default, skip_serializing_if = "link::is_default")]
    pub link: LinkConfig,
    /// The record system beside this site, where there is one (`docs/emr.md`).
    #[serde(default, skip_serializing_if = "emr::is_default")]
    pub emr: EmrConfig,
    /// How records are merged that this site and its children changed, by resource type and
    /// element: `"Patient.telecom" = "union"` (`docs/merging.md`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merge: BTreeMap<String, String>,
    /// What children may do about patients who are not their own.
    #[serde(default)]
    pub visitors: Rules,
    /// What is to be told of by itself when it is wrong, and where.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alerts: alerts::Rules,
    /// The bounds on everything.
    #[serde(default)]
    pub limits: Limits,
    /// Sites below, and other publishers' feeds, that this site reads itself.
    #[serde(rename = "source", default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceConfig>,
}

fn is_default(rules: &alerts::Rules) -> bool {
    *rules == alerts::Rules::default()
}

/// Where the parent is and how it is talked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its base URL; empty where it reads this site and cannot be reached from here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Its site id.
    pub site: SiteId,
    /// What becomes of patients who leave this site's cohorts.
    #[serde(default)]
    pub leave: LeavePolicy,
    /// How what is written here goes up.
    #[serde(default)]
    pub up: Up,
    /// Of a parent that is a FHIR server of another make, how it is written to.
    #[serde(default, skip_serializing_if = "fhir_parent::is_default")]
    pub fhir: FhirParent,
}

impl Parent {
    /// Whether it reads this site and cannot be called from here.
    pub fn is_reader(&self) -> bool {
        self.up == Up::Read && self.url.is_empty()
    }
}

/// How changes go up to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Up {
    /// This site sends them itself.
    #[default]
    Direct,
    /// It keeps them as messages for a third party to carry (`docs/third-parties.md`).
    Carried,
    /// The parent reads them here.
    Read,
    /// The parent is a FHIR R4 server of another make; this site writes them there, and nothing
    /// comes down (`docs/foreign-fhir.md`).
    Fhir,
}

impl Config {
    /// Reads and checks the settings in a site's folder.
    pub fn load(dir: &Path) -> anyhow::Result<Config> {
        let path = dir.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("failed to read {}; `tributary init` makes a site", path.display())
        })?;
        let config: Config = toml::from_str(&text)
            .with_context(|| format!("failed to understand {}", path.display()))?;
        config.check().with_context(|| format!("failed to accept {}", path.display()))?;
        Ok(config)
    }

    /// Writes the settings aside and renames them into place.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        self.check()?;
        let path = dir.join(FILE_NAME);
        let aside = dir.join(format!("{FILE_NAME}.new"));
        let text = toml::to_string_pretty(self).context("failed to write the settings")?;
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::File::open(&aside)?.sync_all())
            .and_then(|()| std::fs::rename(&aside, &path))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// How records are merged that this site and its children changed; the defaults where the
    /// settings are none that `check` accepts.
    pub fn policies(&self) -> Policies {
        Policies::from_settings(&self.merge).unwrap_or_default()
    }

    /// Types whose changes go up ahead of others; none that `check` would refuse.
    pub fn urgent(&self) -> BTreeSet<ResourceType> {
        self.link.urgent()
    }

    /// How what is written here goes up, where there is a parent.
    pub fn up(&self) -> Option<Up> {
        self.parent.as_ref().map(|parent| parent.up)
    }

    /// What is said where `[link]` holds nothing back, since nothing here moves on a link to a
    /// parent.
    pub fn idle_link(&self) -> Option<&'static str> {
        if self.link.urgent.is_none() && !self.link.holds_back() {
            return None;
        }
        match &self.parent {
            None => Some("[link] is set and this site has no parent: nothing of it is used"),
            Some(parent) if parent.url.is_empty() && self.link.holds_back() => Some(
                "[link] has times, rates or a budget, and the parent reads this site: they hold \
                 nothing back. Set `windows` of its [[source]] at the parent",
            ),
            Some(_) => None,
        }
    }

    /// What must hold between settings.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Err(refusal) = Policies::from_settings(&self.merge) {
            bail!("[merge] {refusal}");
        }
        alerts::check(&self.alerts, &self.limits)?;
        check_url("public_url", &self.public_url)?;
        if let Some(parent) = &self.parent {
            if parent.url.is_empty() && parent.up != Up::Read {
                bail!("parent.url is missing: only a site that is read (up = \"read\") needs none");
            }
            if !parent.url.is_empty() {
                check_url("parent.url", &parent.url)?;
            }
            if parent.site == self.site {
                bail!("parent.site is this site itself");
            }
            if parent.up == Up::Fhir {
                parent.fhir.login.check("parent.fhir.login")?;
            } else if !fhir_parent::is_default(&parent.fhir) {
                bail!("[parent.fhir] is for a FHIR server of another make (up = \"fhir\")");
            }
        }
        if self.limits.message_bytes < self.limits.resource_bytes {
            bail!("limits.message_bytes is below limits.resource_bytes: none could be carried");
        }
        if self.limits.lease_seconds == 0 || self.limits.receipt_seconds == 0 {
            bail!(
                "limits.lease_seconds and limits.receipt_seconds must be at least 1: no third \
                 party carries a message in no time"
            );
        }
        self.link.check()?;
        self.emr.check().context("[emr]")?;
        source::check_all(self)?;
        if self.visitors.days_max == 0 {
            bail!("visitors.days_max is 0: to let no child fetch patients, say fetch = false");
        }
        if self.visitors.reason_min_chars > self.limits.reason_chars {
            bail!("visitors.reason_min_chars is over limits.reason_chars: no reason would do");
        }
        if !self.listen.ip().is_loopback() && !self.insecure_http {
            bail!(
                "listen = {} is reachable from other machines and this version speaks plain HTTP: \
                 put a TLS proxy before it and listen on 127.0.0.1, or say --insecure-http \
                 (insecure_http = true) if the network itself is private",
                self.listen
            );
        }
        Ok(())
    }
}

/// A value as the settings write it: `capture-only`.
pub fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(value).map_err(|error| error.to_string())
}

/// A base URL: http or https, a host, no query, no slash at the end.
pub fn check_url(name: &str, url: &str) -> anyhow::Result<()> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let good = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.ends_with('/')
            && !rest.contains(['?', '#', ' ', '@'])
    });
    if !good {
        bail!("{name} must be of the form https://host or http://host:port, without a final slash");
    }
    Ok(())
}
