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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AlertWay {
    Webhook,
    Email,
}

/// Facts that rules look at and that no other method gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlertFacts {
    /// Since when the oldest conflict that is open has stood here.
    pub oldest_conflict: Option<Timestamp>,
}
