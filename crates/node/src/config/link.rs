//! What moves on the link to the parent: the section `[link]`.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use protocol::{ResourceType, Urgency, urgency};
use serde::{Deserialize, Serialize};

use super::schedule::Windows;

/// The settings of the link to the parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Types whose changes go ahead of others: `["Patient", "AllergyIntolerance", "Flag"]` unless
    /// said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent: Option<Vec<String>>,
    /// Bytes on the wire in a month of local time, both ways, at which what is bulk stops:
    /// `500 MB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_budget: Option<String>,
    /// When and how fast what is normal moves, up and down. (What is urgent always does.)
    #[serde(skip_serializing_if = "is_free")]
    pub normal: LaneConfig,
    /// Likewise what is bulk.
    #[serde(skip_serializing_if = "is_free")]
    pub bulk: LaneConfig,
}

/// When and how fast one lane moves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneConfig {
    /// Between which times of the day, in local time: `20:00-06:00`. Always where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
    /// At most so many bytes a second on the wire: `20 kB/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
}

/// The same, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneRules {
    /// When.
    pub windows: Windows,
    /// Bytes a second.
    pub rate: Option<u64>,
}

fn is_free(lane: &LaneConfig) -> bool {
    *lane == LaneConfig::default()
}

impl LaneConfig {
    /// Why it cannot be, or what it says.
    pub fn rules(&self) -> anyhow::Result<LaneRules> {
        let windows = Windows::read(&self.windows)?;
        let rate = self.rate.as_deref().map(rate).transpose()?;
        Ok(LaneRules { windows, rate })
    }
}

pub(super) fn is_default(link: &LinkConfig) -> bool {
    *link == LinkConfig::default()
}

impl LinkConfig {
    /// Types whose changes go up ahead of others; none that `check` would refuse.
    pub fn urgent(&self) -> BTreeSet<ResourceType> {
        match &self.urgent {
            None => urgency::usual(),
            Some(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        check_urgent(self.urgent.as_deref().unwrap_or_default())?;
        self.monthly_budget.as_deref().map(budget).transpose().context("link.monthly_budget")?;
        self.normal.rules().context("link.normal")?;
        self.bulk.rules().context("link.bulk").map(drop)
    }

    /// Whether times, rates or a budget are set.
    pub fn holds_back(&self) -> bool {
        self.monthly_budget.is_some() || !is_free(&self.normal) || !is_free(&self.bulk)
    }

    /// Bytes of a month, where there is a budget.
    pub fn budget(&self) -> Option<u64> {
        self.monthly_budget.as_deref().and_then(|text| budget(text).ok())
    }

    /// What holds for a lane: nothing for what is urgent.
    pub fn lane(&self, lane: Urgency) -> LaneRules {
        let config = match lane {
            Urgency::Urgent => return LaneRules::default(),
            Urgency::Normal => &self.normal,
            Urgency::Bulk => &self.bulk,
        };
        config.rules().unwrap_or_default()
    }
}

/// The least rate: below it one long line would take days.
const LEAST_RATE: u64 = 100;

/// Bytes a second.
fn rate(text: &str) -> anyhow::Result<u64> {
    let bytes = text.trim().strip_suffix("/s").and_then(amount);
    let Some(bytes) = bytes else {
        let wrong = format!("rate: {text:?} is not of the form 500 B/s, 20 kB/s or 1 MB/s");
        match rate_meant(text).filter(|meant| rate(meant).is_ok()) {
            Some(meant) => bail!("{wrong}; is it {meant:?}?"),
            None => bail!("{wrong}"),
        }
    };
    if bytes < LEAST_RATE {
        bail!("rate: {text:?} is below {LEAST_RATE} B/s: to let nothing move, pause the link");
    }
    Ok(bytes)
}

/// Bytes of a month.
fn budget(text: &str) -> anyhow::Result<u64> {
    let Some(bytes) = amount(text) else {
        let wrong = format!("{text:?} is not of the form 500 MB or 2 GB");
        let meant = rate_meant(text).or_else(|| gigabytes_meant(text));
        let meant = meant.map(|meant| meant.trim_end_matches("/s").to_owned());
        match meant.filter(|meant| budget(meant).is_ok()) {
            Some(meant) => bail!("{wrong}; is it {meant:?}?"),
            None => bail!("{wrong}"),
        }
    };
    if bytes < 1_000_000 {
        bail!("{text:?} is below 1 MB: leave it out where there is none");
    }
    Ok(bytes)
}

fn gigabytes_meant(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase().replace(' ', "");
    let number = text.trim_end_matches("ib").trim_end_matches('b').strip_suffix('g')?;
    number.parse::<u64>().ok().map(|number| format!("{number} GB"))
}

/// Bytes, of `500 B`, `20 kB`, `1 MB` or `2 GB`.
fn amount(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = match text[digits..].trim_start() {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// The rate that somebody may have meant: `20k`, `20KB/s`, `160 kbit/s`, `20`.
fn rate_meant(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase().replace(' ', "");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_end_matches("/s").trim_end_matches("ps");
    Some(match unit {
        "" | "b" | "byte" | "bytes" => format!("{number} B/s"),
        "k" | "kb" | "kib" => format!("{number} kB/s"),
        "m" | "mb" | "mib" => format!("{number} MB/s"),
        "kbit" => format!("{} B/s", number.checked_mul(125)?),
        "mbit" => format!("{} kB/s", number.checked_mul(125)?),
        _ => return None,
    })
}

/// Refuses a type that FHIR R4 does not have, with the one that may have been meant.
fn check_urgent(names: &[String]) -> anyhow::Result<()> {
    for name in names {
        if name.parse::<ResourceType>().is_ok() {
            continue;
        }
        let lower = name.trim().to_lowercase();
        let meant = ResourceType::all().map(ResourceType::name).find(|known| {
            let known = known.to_lowercase();
            known == lower
                || format!("{known}s") == lower
                || (lower.len() > 3 && known.starts_with(&lower))
        });
        match meant {
            Some(meant) => bail!("link.urgent: {name:?} is no type of FHIR R4; is it {meant:?}?"),
            None => bail!("link.urgent: {name:?} is no type of FHIR R4, such as \"Patient\""),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an error says that may have been meant.
    fn suggested(error: &str) -> Option<&str> {
        error.split_once("is it \"")?.1.strip_suffix("\"?")
    }

    #[test]
    fn rates_are_read_and_what_is_none_is_refused_with_what_may_have_been_meant() {
        for (text, bytes) in [("500 B/s", 500), ("20 kB/s", 20_000), ("1MB/s", 1_000_000)] {
            assert_eq!(rate(text).unwrap(), bytes);
        }
        for (text, words) in [
            ("20k", "is it \"20 kB/s\"?"),
            ("20 KB/s", "is it \"20 kB/s\"?"),
            ("160 kbit/s", "is it \"20000 B/s\"?"),
            ("2 Mbps", "is it \"2 MB/s\"?"),
            ("5000", "is it \"5000 B/s\"?"),
            ("50", "is not of the form 500 B/s, 20 kB/s or 1 MB/s"),
            ("fast", "is not of the form 500 B/s, 20 kB/s or 1 MB/s"),
            ("", "is not of the form"),
            ("-5 kB/s", "is not of the form"),
            ("99999999999999999999 kB/s", "is not of the form"),
            ("0 kB/s", "is below 100 B/s: to let nothing move, pause the link"),
        ] {
            let error = rate(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(suggested(&error).is_none_or(|meant| rate(meant).is_ok()), "{error}");
        }
    }

    #[test]
    fn a_budget_is_read_and_what_is_none_is_refused_with_what_may_have_been_meant() {
        for (text, bytes) in [("500 MB", 500_000_000), ("2GB", 2_000_000_000)] {
            assert_eq!(budget(text).unwrap(), bytes);
        }
        for (text, words) in [
            ("2 gb", "is it \"2 GB\"?"),
            ("500mb", "is it \"500 MB\"?"),
            ("500M", "is it \"500 MB\"?"),
            ("500k", "is not of the form 500 MB or 2 GB"),
            ("much", "is not of the form 500 MB or 2 GB"),
            ("500 kB", "is below 1 MB"),
        ] {
            let error = budget(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(suggested(&error).is_none_or(|meant| budget(meant).is_ok()), "{error}");
        }
    }

    #[test]
    fn the_section_is_read_and_a_misspelt_key_is_refused() {
        let read = |text: &str| toml::from_str::<LinkConfig>(text);
        let link = read("[bulk]\nwindows = [\"20:00-06:00\"]\nrate = \"20 kB/s\"").unwrap();
        link.check().unwrap();
        assert_eq!(link.lane(Urgency::Bulk).rate, Some(20_000));
        assert_eq!(link.lane(Urgency::Urgent), LaneRules::default());
        assert!(read("[bulk]\nwindow = []").unwrap_err().to_string().contains("windows"));
        let wrong = read("[normal]\nwindows = [\"20-6\"]").unwrap().check().unwrap_err();
        assert!(format!("{wrong:#}").starts_with("link.normal: windows: \"20-6\""), "{wrong:#}");
    }

    #[test]
    fn a_type_that_is_none_is_refused_with_what_may_have_been_meant() {
        for (name, words) in [
            ("patient", "is it \"Patient\"?"),
            ("Patients", "is it \"Patient\"?"),
            ("Allergy", "is it \"AllergyIntolerance\"?"),
            ("Visit", "is no type of FHIR R4, such as"),
            ("", "is no type of FHIR R4, such as"),
        ] {
            let error = check_urgent(&[name.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        check_urgent(&["Patient".to_owned(), "Flag".to_owned()]).unwrap();
    }
}
