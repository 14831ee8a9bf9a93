//! The life of a delivery: one change on its way out of this site to one target.

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::time::Timestamp;

/// Where a delivery stands. The times and reasons stand beside it in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// To be sent as soon as its patient's turn comes.
    Ready,
    /// A third party has it, and a lease of it.
    Leased,
    /// The third party says that it has delivered it; the receiver's own word has not come.
    HandedOver,
    /// Refused, or asked to come later: to be sent again at a time.
    Retry,
    /// Given up until a person or a changed record frees it; holds back only its own patients.
    Parked,
    /// The receiver holds it durably.
    Done,
    /// A person gave it up: it is not sent, though its records stay. What it brought goes up with
    /// the next change of its records, or when the two ends compare.
    Dropped,
}

/// What the receiver said of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Taken as it was sent.
    Applied,
    /// Taken and merged with what was there.
    Merged,
    /// Taken, merged, and the same element had been changed on both sides.
    Conflict,
    /// It was there already.
    Already,
    /// This record is not taken, and sending it again unchanged will not help.
    Refused,
    /// Not now: the receiver is busy, or something that this one needs has not come.
    Later,
}

impl Outcome {
    /// Its name: on the wire, in tables and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Merged => "merged",
            Outcome::Conflict => "conflict",
            Outcome::Already => "already",
            Outcome::Refused => "refused",
            Outcome::Later => "later",
        }
    }
    /// Whether the receiver holds the change durably now.
    pub fn is_held(self) -> bool {
        !matches!(self, Outcome::Refused | Outcome::Later)
    }
}

/// What follows from one refusal: the next state of the delivery.
pub fn after_refusal(attempts: u32, limits: &Limits) -> DeliveryState {
    if attempts >= limits.attempts { DeliveryState::Parked } else { DeliveryState::Retry }
}

/// Whether what was put off until `at` is due: its time has come, or it is further away than any
/// pause of at most `longest` milliseconds can set it. Then the clock was put back since, and
/// what waits for it would wait for days.
pub fn is_due(at: Timestamp, now: Timestamp, longest: u64) -> bool {
    let wait = at.since(now);
    wait <= 0 || wait.unsigned_abs() > longest
}

/// The longest pause that `backoff_millis` gives.
pub fn backoff_longest(limits: &Limits) -> u64 {
    let first = limits.backoff_seconds.saturating_mul(1_000).max(1);
    limits.backoff_max_seconds.saturating_mul(1_000).max(first)
}

/// When a pause of `backoff_millis` that begins now ends at the latest: for who asks `is_due` of
/// an index.
pub fn latest_due(now: Timestamp, limits: &Limits) -> Timestamp {
    now.plus_millis(i64::try_from(backoff_longest(limits)).unwrap_or(i64::MAX))
}

/// The pause before the next try, in milliseconds: exponential with full jitter, capped.
/// `failures` counts from 1; `jitter` is any random number.
pub fn backoff_millis(failures: u32, limits: &Limits, jitter: u64) -> u64 {
    let first = limits.backoff_seconds.saturating_mul(1_000).max(1);
    let cap = backoff_longest(limits);
    let doubled =
        first.saturating_mul(1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX));
    let ceiling = if failures > 32 { cap } else { doubled.min(cap) };
    // Half of the pause is certain: full jitter down to nothing would hammer a link that is down.
    ceiling / 2 + jitter % (ceiling / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_off_is_due_at_its_time_and_when_the_clock_was_put_back() {
        for (at, now, due) in [
            (0, 0, true),
            (1_000, 1_001, true),
            (1_000, 999, false),
            (901_000, 1_000, false),
            (901_001, 1_000, true),
            (i64::MAX, 0, true),
        ] {
            let [at, now] = [at, now].map(Timestamp::from_millis);
            let limits = Limits::default();
            assert_eq!(is_due(at, now, backoff_longest(&limits)), due, "{at} {now}");
            assert_eq!(at <= now || at > latest_due(now, &limits), due, "{at} {now}");
        }
    }

    #[test]
    fn the_pause_doubles_to_a_cap_and_never_vanishes() {
        let limits = Limits::default();
        for (failures, jitter, expected) in [
            (1, 0, 2_500),
            (1, 2_500, 5_000),
            (2, 0, 5_000),
            (3, 0, 10_000),
            (8, 0, 320_000),
            (9, 0, 450_000),
            (40, 0, 450_000),
            (u32::MAX, 0, 450_000),
        ] {
            assert_eq!(backoff_millis(failures, &limits, jitter), expected, "{failures}");
        }
        for jitter in 0..1_000 {
            assert!(backoff_millis(70, &limits, jitter * 997) <= 900_000);
        }
    }
}
