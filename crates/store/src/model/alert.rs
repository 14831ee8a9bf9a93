//! What is wrong and people are told of.

use protocol::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Something that a rule finds wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct AlertFound {
    pub rule: String,
    /// A child or a credential; empty: the site itself.
    pub subject: String,
    /// For people, ids only.
    pub text: String,
}

/// An alert: raised once, cleared once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Alert {
    pub key: u64,
    pub rule: String,
    pub subject: String,
    pub text: String,
    #[schemars(with = "String")]
    pub raised: Timestamp,
    #[schemars(with = "Option<String>")]
    pub cleared: Option<Timestamp>,
}

/// By which way people are told of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum AlertWay {
    Webhook,
    Email,
}

impl AlertWay {
    /// Both.
    pub const ALL: [AlertWay; 2] = [AlertWay::Webhook, AlertWay::Email];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertWay::Webhook => "webhook",
            AlertWay::Email => "email",
        }
    }
}

/// A way by which nobody could be told, since then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct AlertTrouble {
    pub way: AlertWay,
    /// Tries in a row that failed.
    pub failures: u32,
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// What was wrong the last time, in plain words.
    pub error: String,
}

/// Facts that rules look at and that no other method gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlertFacts {
    /// Since when the oldest conflict that is open has stood here.
    pub oldest_conflict: Option<Timestamp>,
}
