//! Points in time as values. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Refusal;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Shown and read as RFC 3339.
///
/// Never a cursor (see invariant 6): only for people, and for pauses on one site's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }
    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }
    /// This point and `millis` more (or less), saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Timestamp(self.0.saturating_add(millis))
    }
    /// Milliseconds from `earlier` to this point; negative where this is the earlier one.
    pub const fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// `2026-11-23T08:15:30Z`, with three decimals only where there are milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        if self.0.rem_euclid(1_000) == 0 {
            write!(f, "{stamp:.0}")
        } else {
            write!(f, "{stamp:.3}")
        }
    }
}

impl FromStr for Timestamp {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let stamp: jiff::Timestamp =
            text.parse().map_err(|_| Refusal::invalid("a time is not in the form of RFC 3339"))?;
        Ok(Timestamp(stamp.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_and_read_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_421_730_000, "2026-11-23T08:15:30Z"),
            (1_795_421_730_123, "2026-11-23T08:15:30.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(millis)));
        }
        assert_eq!("2026-11-23T11:15:30+03:00".parse(), Ok(Timestamp(1_795_421_730_000)));
        assert!("2026-11-23".parse::<Timestamp>().is_err());
    }
}
