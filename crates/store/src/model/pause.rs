//! Links that a person has paused.

use protocol::delivery::is_due;
use protocol::{SiteId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// One of this site's links.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkName {
    /// To the parent.
    Parent,
    /// To a child, or to a source of the settings.
    Child(SiteId),
    /// To the record system beside the site.
    Emr,
}

impl std::fmt::Display for LinkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkName::Parent => write!(f, "parent"),
            LinkName::Child(site) => write!(f, "{site}"),
            LinkName::Emr => write!(f, "emr"),
        }
    }
}

impl Serialize for LinkName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A link that is to be paused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PauseDraft {
    pub link: LinkName,
    /// Whether the settings have a source of that name: it need not be a child.
    pub is_source: bool,
    pub reason: String,
    /// Who, for the audit.
    pub actor: String,
    /// For how long, in milliseconds; `None`: until it is resumed.
    pub millis: Option<u64>,
}

/// A link that is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Pause {
    #[schemars(with = "String")]
    pub link: LinkName,
    pub reason: String,
    pub actor: String,
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When it ends by itself.
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

impl Pause {
    /// Whether it still holds. One that was made by a clock that has been put back since ends too.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| {
            let longest = u64::try_from(until.since(self.since)).unwrap_or(0);
            !is_due(until, now, longest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_at_its_time_whatever_the_clock_did() {
        let at = Timestamp::from_millis;
        for (until, now, holds) in [
            (None, 5, true),
            (Some(2_000), 1_000, true),
            (Some(2_000), 1_999, true),
            (Some(2_000), 2_000, false),
            (Some(2_000), 0, false),
        ] {
            let pause = Pause {
                link: LinkName::Parent,
                reason: String::new(),
                actor: String::new(),
                since: at(1_000),
                until: until.map(at),
            };
            assert_eq!(pause.holds(at(now)), holds, "{until:?} {now}");
        }
    }
}
