//! Which lanes of the link to the parent may move now: by times of the day, and by how much they have
//! moved. What is urgent always may.

use std::sync::Mutex;

use chrono::{DateTime, Local};
use protocol::{Timestamp, Urgency};
use serde::Serialize;

use crate::config::LinkConfig;
use crate::config::link::LaneRules;

/// The lanes of one link.
#[derive(Debug)]
pub struct Gate {
    normal: Passage,
    bulk: Passage,
}

#[derive(Debug, Default)]
struct Passage {
    rules: LaneRules,
    /// Since when and for how many milliseconds it rests, so that it is no faster than its rate.
    rest: Mutex<Option<(Timestamp, i64)>>,
}

/// Why a lane does not move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is none of its times of the day.
    Windows,
    /// It has moved as much as its rate allows.
    Rate,
}

/// A lane that does not move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The lane.
    pub lane: Urgency,
    /// Why.
    pub why: Why,
    /// Until when; `None` where that cannot be worked out.
    pub until: Option<Timestamp>,
}

impl Gate {
    /// As the settings say.
    pub fn new(config: &LinkConfig) -> Gate {
        let passage = |lane| Passage { rules: config.lane(lane), rest: Mutex::default() };
        Gate { normal: passage(Urgency::Normal), bulk: passage(Urgency::Bulk) }
    }

    fn passage(&self, lane: Urgency) -> Option<&Passage> {
        match lane {
            Urgency::Urgent => None,
            Urgency::Normal => Some(&self.normal),
            Urgency::Bulk => Some(&self.bulk),
        }
    }

    /// Why a lane does not move now; `None` where it may.
    pub fn closed(&self, lane: Urgency, now: Timestamp) -> Option<Closed> {
        let passage = self.passage(lane)?;
        let windows = &passage.rules.windows;
        if !windows.is_always()
            && let Some(local) = local(now)
            && !windows.is_open(&local)
        {
            let until = windows.opened(local).map(|at| plain(&at));
            return Some(Closed { lane, why: Why::Windows, until });
        }
        let (since, millis) = (*passage.lock())?;
        // Where the clock was put back it does not rest for longer than it would have.
        let rested = now.since(since);
        let until = Some(since.plus_millis(millis));
        (0..millis).contains(&rested).then_some(Closed { lane, why: Why::Rate, until })
    }

    /// The lanes that may move now, the most urgent first.
    pub fn open(&self, now: Timestamp) -> Vec<Urgency> {
        let lanes = Urgency::ALL.into_iter();
        lanes.filter(|lane| self.closed(*lane, now).is_none()).collect()
    }

    /// Whether a lane may move now.
    pub fn is_open(&self, lane: Urgency, now: Timestamp) -> bool {
        self.closed(lane, now).is_none()
    }

    /// So many bytes moved on a lane in one request, which began then; gives how many milliseconds
    /// that takes at its rate, where it has one.
    pub fn moved(&self, lane: Urgency, begun: Timestamp, bytes: u64) -> Option<u64> {
        let passage = self.passage(lane)?;
        let millis = bytes.saturating_mul(1_000) / passage.rules.rate?;
        *passage.lock() = Some((begun, i64::try_from(millis).unwrap_or(i64::MAX)));
        Some(millis)
    }
}

impl Passage {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Timestamp, i64)>> {
        self.rest.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A time as the people of this machine have it.
pub fn local(at: Timestamp) -> Option<DateTime<Local>> {
    DateTime::from_timestamp_millis(at.millis()).map(|at| at.with_timezone(&Local))
}

/// The same time without its zone.
pub fn plain(at: &DateTime<Local>) -> Timestamp {
    Timestamp::from_millis(at.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::link::LaneConfig;

    const NOON: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn gate(bulk: LaneConfig) -> Gate {
        Gate::new(&LinkConfig { bulk, ..LinkConfig::default() })
    }

    #[test]
    fn nothing_is_closed_unless_the_settings_say_so() {
        assert_eq!(Gate::new(&LinkConfig::default()).open(NOON), Urgency::ALL);
    }

    #[test]
    fn a_lane_rests_until_it_is_no_faster_than_its_rate() {
        let rate = Some("2 kB/s".to_owned());
        let gate = gate(LaneConfig { rate, ..LaneConfig::default() });
        assert_eq!(gate.moved(Urgency::Normal, NOON, 1_000_000), None);
        assert_eq!(gate.moved(Urgency::Bulk, NOON, 60_000), Some(30_000));
        let until = Some(NOON.plus_millis(30_000));
        let closed = Closed { lane: Urgency::Bulk, why: Why::Rate, until };
        for (millis, expected) in
            [(0, Some(closed)), (29_999, Some(closed)), (30_000, None), (-1, None)]
        {
            assert_eq!(gate.closed(Urgency::Bulk, NOON.plus_millis(millis)), expected, "{millis}");
        }
        assert_eq!(gate.open(NOON), [Urgency::Urgent, Urgency::Normal]);
    }

    #[test]
    fn a_lane_moves_at_its_times_of_the_day() {
        let now = local(NOON).unwrap();
        let at = |hours: i64| (now + chrono::TimeDelta::hours(hours)).format("%H:%M").to_string();
        let gate = gate(LaneConfig {
            windows: vec![format!("{}-{}", at(2), at(4))],
            ..LaneConfig::default()
        });
        let closed = gate.closed(Urgency::Bulk, NOON).unwrap();
        assert_eq!(closed.why, Why::Windows);
        let wait = closed.until.unwrap().since(NOON);
        assert!((6_000_000..=7_200_000).contains(&wait), "{wait} ms");
        assert!(gate.is_open(Urgency::Bulk, NOON.plus_millis(3 * 3_600_000)));
        assert!(gate.is_open(Urgency::Urgent, NOON));
    }
}
