//! What moves on the link to the parent: the section `[link]`.

use std::collections::BTreeSet;

use anyhow::bail;
use protocol::{ResourceType, urgency};
use serde::{Deserialize, Serialize};

/// The settings of the link to the parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Types whose changes go ahead of others: `["Patient", "AllergyIntolerance", "Flag"]` unless
    /// said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent: Option<Vec<String>>,
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
        check_urgent(self.urgent.as_deref().unwrap_or_default())
    }
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
