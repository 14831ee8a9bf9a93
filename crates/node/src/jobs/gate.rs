//! Which lanes of the link to the parent may move now: by times of the day, by how fast they have
//! moved, and by how much moved this month. What is urgent always may.

use std::sync::Mutex;

use chrono::{DateTime, Datelike as _, Local, Months, NaiveTime};
use protocol::{Timestamp, Urgency};
use schemars::JsonSchema;
use serde::Serialize;
use store::{LinkPace, MonthTraffic, Rest};

use crate::config::LinkConfig;
use crate::config::link::LaneRules;

/// The lanes of one link.
#[derive(Debug)]
pub struct Gate {
    normal: Passage,
    bulk: Passage,
    budget: Option<u64>,
    /// What moved, by month.
    months: Mutex<Vec<MonthTraffic>>,
}

#[derive(Debug, Default)]
struct Passage {
    rules: LaneRules,
    rest: Mutex<Option<Rest>>,
}

/// Why a lane does not move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is none of its times of the day.
    Windows,
    /// It has moved as much as its rate allows.
    Rate,
    /// As much has moved this month as its budget allows.
    Budget,
}

/// A lane that does not move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Closed {
    /// The lane.
    #[schemars(with = "String")]
    pub lane: Urgency,
    /// Why.
    pub why: Why,
    /// Until when; `None` where that cannot be worked out.
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

impl Gate {
    /// As the settings say, and as the lanes rested when that was last noted.
    pub fn new(config: &LinkConfig, pace: &LinkPace) -> Gate {
        let passage = |lane, rest| Passage { rules: config.lane(lane), rest: Mutex::new(rest) };
        Gate {
            normal: passage(Urgency::Normal, pace.normal_rest),
            bulk: passage(Urgency::Bulk, pace.bulk_rest),
            budget: config.budget(),
            months: Mutex::default(),
        }
    }

    /// Whether it has to hear how much moves.
    pub fn counts(&self) -> bool {
        self.budget.is_some()
    }

    /// So much moved, by the last note.
    pub fn counted(&self, months: Vec<MonthTraffic>) {
        *self.months.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = months;
    }

    fn over_budget(&self, now: Timestamp) -> Option<Closed> {
        let months = self.months.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let spent = Spent::of(self.budget, &months, now)?;
        let (lane, why, until) = (Urgency::Bulk, Why::Budget, next_month(now));
        spent.stops().then_some(Closed { lane, why, until })
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
        if lane == Urgency::Bulk
            && let Some(closed) = self.over_budget(now)
        {
            return Some(closed);
        }
        // Somebody may have taken the rate out of the settings since it was noted.
        passage.rules.rate?;
        let Rest { since, millis } = (*passage.lock())?;
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

    /// Bytes a second that a lane may have on the wire, where there is a bound.
    pub fn rate(&self, lane: Urgency) -> Option<u64> {
        self.passage(lane)?.rules.rate
    }

    /// So many bytes moved on a lane in one request, which began then; gives how it rests by that,
    /// where it has a rate.
    pub fn moved(&self, lane: Urgency, begun: Timestamp, bytes: u64) -> Option<Rest> {
        let passage = self.passage(lane)?;
        let millis = bytes.saturating_mul(1_000) / passage.rules.rate?;
        let rest = Rest { since: begun, millis: i64::try_from(millis).unwrap_or(i64::MAX) };
        *passage.lock() = Some(rest);
        Some(rest)
    }
}

/// A budget and what was spent of it this month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Spent {
    /// Bytes that may move in a month.
    pub budget: u64,
    /// Bytes that have moved in this one, both ways.
    pub bytes: u64,
    /// The same in hundredths of the budget.
    pub percent: u64,
    /// Why an operator lets more move this month, where one does.
    pub lifted: Option<String>,
}

/// Hundredths of the budget from which it is warned.
const WARNING: u64 = 80;

impl Spent {
    /// `None` where there is no budget. What moved in another month than this does not count.
    pub fn of(budget: Option<u64>, months: &[MonthTraffic], now: Timestamp) -> Option<Spent> {
        let budget = budget?;
        let this = month_of(now);
        let month = months.iter().find(|month| Some(month.month) == this);
        let bytes = month.map_or(0, |month| month.sent.saturating_add(month.received));
        let percent = bytes.saturating_mul(100) / budget.max(1);
        Some(Spent { budget, bytes, percent, lifted: month.and_then(|month| month.lifted.clone()) })
    }

    /// Whether it is worth a warning.
    pub fn warns(&self) -> bool {
        self.percent >= WARNING
    }

    /// Whether what is bulk stops.
    pub fn stops(&self) -> bool {
        self.bytes >= self.budget && self.lifted.is_none()
    }
}

/// The month of a time, as the people of this machine have it: 202611 is November 2026.
pub fn month_of(at: Timestamp) -> Option<u32> {
    let at = local(at)?;
    Some(u32::try_from(at.year()).ok()? * 100 + at.month())
}

/// When the next month begins.
fn next_month(now: Timestamp) -> Option<Timestamp> {
    let first = local(now)?.date_naive().with_day(1)?.checked_add_months(Months::new(1))?;
    let begins = first.and_time(NaiveTime::MIN).and_local_timezone(Local);
    begins.earliest().map(|at| plain(&at))
}

impl Passage {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Rest>> {
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
        Gate::new(&LinkConfig { bulk, ..LinkConfig::default() }, &LinkPace::default())
    }

    #[test]
    fn nothing_is_closed_unless_the_settings_say_so() {
        let gate = Gate::new(&LinkConfig::default(), &LinkPace::default());
        assert_eq!(gate.open(NOON), Urgency::ALL);
    }

    #[test]
    fn a_lane_rests_until_it_is_no_faster_than_its_rate() {
        let rate = Some("2 kB/s".to_owned());
        let gate = gate(LaneConfig { rate, ..LaneConfig::default() });
        assert_eq!(gate.moved(Urgency::Normal, NOON, 1_000_000), None);
        let rest = Rest { since: NOON, millis: 30_000 };
        assert_eq!(gate.moved(Urgency::Bulk, NOON, 60_000), Some(rest));
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
    fn a_rest_goes_on_after_a_start_as_long_as_there_is_a_rate() {
        let bulk_rest = Some(Rest { since: NOON, millis: 30_000 });
        let noted = LinkPace { bulk_rest, ..LinkPace::default() };
        for (rate, rests) in [(Some("2 kB/s"), true), (None, false)] {
            let bulk = LaneConfig { rate: rate.map(str::to_owned), ..LaneConfig::default() };
            let gate = Gate::new(&LinkConfig { bulk, ..LinkConfig::default() }, &noted);
            let closed = gate.closed(Urgency::Bulk, NOON.plus_millis(20_000));
            assert_eq!(closed.map(|closed| closed.why), rests.then_some(Why::Rate), "{rate:?}");
            assert!(gate.is_open(Urgency::Bulk, NOON.plus_millis(30_000)));
            assert!(gate.is_open(Urgency::Normal, NOON));
        }
    }

    #[test]
    fn what_is_bulk_stops_at_the_budget_until_the_month_ends_or_somebody_lifts_it() {
        let config =
            LinkConfig { monthly_budget: Some("1 MB".to_owned()), ..LinkConfig::default() };
        let this = month_of(NOON).unwrap();
        for (month, sent, received, lifted, warns, stops) in [
            (this, 0, 0, None, false, false),
            (this, 300_000, 499_999, None, false, false),
            (this, 300_000, 500_000, None, true, false),
            (this, 300_000, 700_000, None, true, true),
            (this, 300_000, 700_000, Some("paid for"), true, false),
            (this - 1, 300_000, 700_000, None, false, false),
        ] {
            let lifted = lifted.map(str::to_owned);
            let month = MonthTraffic { month, sent, received, lifted };
            // A clock was ahead some time.
            let ahead = MonthTraffic { month: this + 100, ..MonthTraffic::default() };
            let months = vec![ahead, month.clone()];
            let spent = Spent::of(config.budget(), &months, NOON).unwrap();
            assert_eq!((spent.warns(), spent.stops()), (warns, stops), "{month:?}");
            let gate = Gate::new(&config, &LinkPace::default());
            gate.counted(months);
            assert_eq!(gate.is_open(Urgency::Bulk, NOON), !stops, "{month:?}");
            assert!(gate.is_open(Urgency::Normal, NOON));
        }
        let next = next_month(NOON).unwrap();
        assert_eq!(month_of(next.plus_millis(-1)), Some(this));
        assert_ne!(month_of(next), Some(this));
        assert_eq!(Spent::of(None, &[], NOON), None);
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
