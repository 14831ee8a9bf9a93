//! A change: the unit of transaction, and what is known about who made it and how it came.

use std::fmt;
use std::str::FromStr;

use crate::error::Refusal;
use crate::id::{Epoch, SiteId};

/// A change's name for ever: the site that made it, that site's epoch, and a number that this
/// site counts without gaps from 1. No randomness; whoever receives can tell what is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId {
    /// The site that made the change.
    pub origin: SiteId,
    /// The life of that site's store.
    pub epoch: Epoch,
    /// Counts from 1 within (origin, epoch).
    pub number: u64,
}

impl fmt::Display for ChangeId {
    /// `urn:tributary:change:{origin}:{epoch}:{number}`, as Atom entries name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:tributary:change:{}:{}:{}", self.origin, self.epoch, self.number)
    }
}

impl FromStr for ChangeId {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::invalid("a change is named urn:tributary:change:SITE:EPOCH:NUMBER");
        let mut parts = text.strip_prefix("urn:tributary:change:").ok_or_else(wrong)?.split(':');
        let (Some(origin), Some(epoch), Some(number), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let number = number.parse().map_err(|_| wrong())?;
        Ok(ChangeId { origin: origin.parse()?, epoch: epoch.parse()?, number })
    }
}

/// Who made a change, as the site that made it says: a user's or a program's name, at most 120
/// characters without control characters; longer ones are cut for show, not refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author(String);

impl Author {
    /// Cuts to 120 characters and replaces control characters by spaces.
    pub fn new(name: &str) -> Self {
        let cut = name.chars().take(120);
        Author(cut.map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which way a change came to this site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// It was made here: by a program on `/fhir`, by an import, or by a merge.
    Here,
    /// The parent's feed brought it.
    Parent,
    /// A child pushed it, in this life of the child's store.
    Child(SiteId, Epoch),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_id_is_read_as_it_is_written() {
        let text = "urn:tributary:change:kisumu-east:3f2a0000-0000-4000-8000-000000000001:18234";
        assert_eq!(text.parse::<ChangeId>().unwrap().to_string(), text);
        assert!("urn:tributary:change:kisumu-east:3f2a:18234".parse::<ChangeId>().is_err());
        assert!("tag:x".parse::<ChangeId>().is_err());
    }
}
