//! What the other side, or a caller, did wrong.

use std::fmt;

/// Why an input is refused. The `Display` text names what and where, reads well after
/// "failed to ...", and never carries patient content: ids, paths and numbers only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Which kind of fault it is; decides HTTP codes and OperationOutcome codes at the edge.
    pub kind: RefusalKind,
    /// A sentence for a person, without a capital letter or a full stop.
    pub reason: String,
}

/// The kinds of refusal that a caller has to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The bytes are not what they claim to be: not JSON, not UTF-8, cut, a wrong sum.
    Malformed,
    /// Well-formed, and still impossible: an unknown type, an id that cannot be.
    Invalid,
    /// Over a limit, which the reason names together with its value.
    OverLimit,
    /// Bytes of a protocol version or kind that this program does not know.
    Unknown,
}

impl Refusal {
    /// A refusal of `kind` with a reason in plain words.
    pub fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Refusal { kind, reason: reason.into() }
    }
    /// The bytes are not what they claim to be.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Refusal::new(RefusalKind::Malformed, reason)
    }
    /// Well-formed and impossible.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Refusal::new(RefusalKind::Invalid, reason)
    }
    /// Over a limit: `what` is the limit's name, as in the settings.
    pub fn over_limit(what: &str, limit: impl fmt::Display) -> Self {
        Refusal::new(RefusalKind::OverLimit, format!("it is over the limit {what} = {limit}"))
    }
    /// Something of a later version, or of nobody.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Refusal::new(RefusalKind::Unknown, reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
