//! When a source is read: an interval or a crontab line, between times of the day. Pure: the time
//! and its zone are arguments.

use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Days, MappedLocalTime, NaiveTime, TimeDelta, TimeZone};
use croner::Cron;

use super::SourceConfig;

/// How often a source is read where its settings do not say.
const EVERY_MINUTES: i64 = 15;
/// The shortest and the longest interval, in seconds.
const SECONDS: std::ops::RangeInclusive<i64> = 1..=31 * 86_400;
/// Times of a crontab line that are looked at for one that lies in a window.
const LOOKED_AT: usize = 5_000;

/// When a source is read.
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    windows: Windows,
}

/// Parts of each day, in local time; all of it where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(Vec<Window>);

#[derive(Debug, Clone)]
enum Pace {
    Every(TimeDelta),
    Cron(Box<Cron>),
}

/// A part of each day; one that ends before it begins passes midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    from: NaiveTime,
    to: NaiveTime,
}

impl Schedule {
    /// What the settings of a source say; why they cannot be, otherwise.
    pub fn of(source: &SourceConfig) -> anyhow::Result<Schedule> {
        let windows = Windows::read(&source.windows)?;
        let pace = match (&source.every, &source.cron) {
            (Some(_), Some(_)) => bail!("it has both `every` and `cron`: one of them is enough"),
            (Some(every), None) => Pace::Every(interval(every)?),
            (None, None) => Pace::Every(TimeDelta::minutes(EVERY_MINUTES)),
            (None, Some(line)) => {
                let cron = Cron::from_str(line);
                Pace::Cron(Box::new(cron.with_context(|| format!("cron = {line:?}"))?))
            }
        };
        let schedule = Schedule { pace, windows };
        if schedule.next(&DateTime::UNIX_EPOCH).is_none() {
            bail!("it is never read: none of the times of `cron` lies in one of the `windows`");
        }
        Ok(schedule)
    }

    /// The next time after `now`; `None` where there is none.
    pub fn next<Tz: TimeZone>(&self, now: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        match &self.pace {
            Pace::Every(pause) => self.windows.opened(now.clone().checked_add_signed(*pause)?),
            Pace::Cron(cron) => {
                let mut at = now.clone();
                for _ in 0..LOOKED_AT {
                    at = cron.find_next_occurrence(&at, false).ok()?;
                    if self.windows.is_open(&at) {
                        return Some(at);
                    }
                }
                None
            }
        }
    }

    /// `at` itself if it may be read then, and else when the next window opens.
    pub fn opened<Tz: TimeZone>(&self, at: DateTime<Tz>) -> Option<DateTime<Tz>> {
        self.windows.opened(at)
    }
}

impl Windows {
    /// As settings write them: `20:00-06:00`.
    pub fn read(texts: &[String]) -> anyhow::Result<Windows> {
        texts.iter().map(|text| window(text)).collect::<anyhow::Result<_>>().map(Windows)
    }

    /// Whether all of each day is in them.
    pub fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this time of the day is in them.
    pub fn is_open<Tz: TimeZone>(&self, at: &DateTime<Tz>) -> bool {
        let time = at.naive_local().time();
        self.is_always() || self.0.iter().any(|window| window.has(time))
    }

    /// `at` itself if it is in them, and else when the next one opens.
    pub fn opened<Tz: TimeZone>(&self, at: DateTime<Tz>) -> Option<DateTime<Tz>> {
        if self.is_open(&at) {
            return Some(at);
        }
        let begins = self.0.iter().filter_map(|window| begin(&at, window.from));
        begins.min()
    }
}

/// When this time of the day comes next after `at`. Where clocks are put forward over it, an hour
/// later.
fn begin<Tz: TimeZone>(at: &DateTime<Tz>, time: NaiveTime) -> Option<DateTime<Tz>> {
    let today = at.naive_local().date();
    for day in [today, today.checked_add_days(Days::new(1))?] {
        let local = day.and_time(time);
        let found = match at.timezone().from_local_datetime(&local) {
            MappedLocalTime::Single(found) | MappedLocalTime::Ambiguous(found, _) => Some(found),
            MappedLocalTime::None => {
                at.timezone().from_local_datetime(&(local + TimeDelta::hours(1))).earliest()
            }
        };
        if let Some(found) = found.filter(|found| found > at) {
            return Some(found);
        }
    }
    None
}

impl Window {
    fn has(&self, time: NaiveTime) -> bool {
        if self.from < self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }
}

fn window(text: &str) -> anyhow::Result<Window> {
    let wrong = || match meant(text).filter(|meant| meant != text && window(meant).is_ok()) {
        Some(meant) => {
            format!("windows: {text:?} is not of the form 20:00-06:00; is it {meant:?}?")
        }
        None => format!("windows: {text:?} is not of the form 20:00-06:00"),
    };
    let (from, to) = text.split_once('-').with_context(wrong)?;
    let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").with_context(wrong);
    let window = Window { from: time(from)?, to: time(to)? };
    if window.from == window.to {
        bail!("windows: {text:?} has no length");
    }
    Ok(window)
}

/// The window that somebody may have meant: `8pm-6am`, `20-6`, `20.00 to 6.00`, `2000-0600`.
fn meant(text: &str) -> Option<String> {
    let text = text.to_lowercase().replace(" to ", "-").replace(['\u{2013}', '\u{2014}'], "-");
    let (from, to) = text.split_once('-')?;
    Some(format!("{}-{}", time_meant(from)?, time_meant(to)?))
}

fn time_meant(text: &str) -> Option<String> {
    let text = text.trim();
    let half = text.strip_suffix("am").map(|text| (text, 0));
    let half = half.or_else(|| text.strip_suffix("pm").map(|text| (text, 12)));
    let (text, half) = half.map_or((text, None), |(text, hours)| (text.trim(), Some(hours)));
    let parts = text.trim_end_matches('h').split([':', '.', 'h']).collect::<Vec<_>>();
    let (hour, minute) = match parts[..] {
        [digits] if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        [hour] => (hour, "0"),
        [hour, minute] => (hour, minute),
        _ => return None,
    };
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let hour = half.map_or(hour, |hours| hour % 12 + hours);
    NaiveTime::from_hms_opt(hour % 24, minute, 0).filter(|_| hour <= 24)?;
    Some(format!("{:02}:{minute:02}", hour % 24))
}

fn interval(text: &str) -> anyhow::Result<TimeDelta> {
    let wrong = || format!("every: {text:?} is not of the form 30s, 15m, 2h or 1d");
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let number: i64 = digits.parse().ok().with_context(wrong)?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => bail!(wrong()),
    };
    let seconds = number.checked_mul(unit).filter(|it| SECONDS.contains(it));
    let seconds = seconds.with_context(|| format!("every: {text:?} is not from 1s to 31d"))?;
    Ok(TimeDelta::seconds(seconds))
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    fn source(every: Option<&str>, cron: Option<&str>, windows: &[&str]) -> SourceConfig {
        let mut source =
            SourceConfig::of_child("clinic".parse().unwrap(), "http://clinic.example".to_owned());
        source.every = every.map(str::to_owned);
        source.cron = cron.map(str::to_owned);
        source.windows = windows.iter().map(|text| (*text).to_owned()).collect();
        source
    }

    /// A time of 2026-11-27 or the day after, in a zone three hours east of UTC.
    fn at(text: &str) -> DateTime<FixedOffset> {
        let (day, time) = match text.strip_suffix(" tomorrow") {
            Some(time) => (28, time),
            None => (27, text),
        };
        DateTime::parse_from_rfc3339(&format!("2026-11-{day}T{time}+03:00")).unwrap()
    }

    #[test]
    fn the_next_time_is_that_of_the_settings_in_local_time() {
        let night = &["20:00-06:00"][..];
        for (every, cron, windows, now, next) in [
            (None, None, &[][..], "08:00:00", "08:15:00"),
            (Some("30s"), None, &[], "08:00:00", "08:00:30"),
            (Some("2h"), None, &[], "23:00:00", "01:00:00 tomorrow"),
            (Some("1h"), None, night, "08:00:00", "20:00:00"),
            (Some("1h"), None, night, "23:30:00", "00:30:00 tomorrow"),
            (Some("1h"), None, night, "05:30:00", "20:00:00"),
            (Some("1h"), None, &["06:00-07:00", "12:00-13:00"], "12:30:00", "06:00:00 tomorrow"),
            (None, Some("*/10 6-7 * * *"), &[], "07:51:00", "06:00:00 tomorrow"),
            (None, Some("*/30 * * * *"), &["12:15-13:00"], "08:00:00", "12:30:00"),
        ] {
            let schedule = Schedule::of(&source(every, cron, windows)).unwrap();
            assert_eq!(schedule.next(&at(now)), Some(at(next)), "{every:?} {cron:?} {windows:?}");
        }
    }

    #[test]
    fn a_window_that_is_none_is_refused_with_what_may_have_been_meant() {
        for (text, meant) in [
            ("8pm-6am", Some("20:00-06:00")),
            ("20-6", Some("20:00-06:00")),
            ("20.30 to 6.00", Some("20:30-06:00")),
            ("2000-0600", Some("20:00-06:00")),
            ("20h-6h30", Some("20:00-06:30")),
            ("18:00-24:00", Some("18:00-00:00")),
            ("12am-12pm", Some("00:00-12:00")),
            ("at night", None),
            ("25:00-06:00", None),
            ("20:00", None),
        ] {
            let error = Windows::read(&[text.to_owned()]).unwrap_err().to_string();
            match meant {
                Some(meant) => assert!(error.ends_with(&format!("is it {meant:?}?")), "{error}"),
                None => assert!(error.ends_with("is not of the form 20:00-06:00"), "{error}"),
            }
        }
        assert!(Windows::read(&["20:00-06:00".to_owned(), "12:00 - 13:00".to_owned()]).is_ok());
    }

    #[test]
    fn settings_that_cannot_be_are_refused_in_words() {
        for (every, cron, windows, words) in [
            (Some("15"), None, &[][..], "is not of the form 30s, 15m, 2h or 1d"),
            (Some("m"), None, &[], "is not of the form"),
            (Some("0s"), None, &[], "is not from 1s to 31d"),
            (Some("40d"), None, &[], "is not from 1s to 31d"),
            (Some("1h"), Some("* * * * *"), &[], "both `every` and `cron`"),
            (None, Some("99 * * * *"), &[], "cron = \"99 * * * *\""),
            (None, Some("0 12 * * *"), &["13:00-14:00"], "it is never read"),
            (None, None, &["25:00-26:00"], "is not of the form 20:00-06:00"),
            (None, None, &["12:00"], "is not of the form 20:00-06:00"),
            (None, None, &["12:00-12:00"], "has no length"),
        ] {
            let error = Schedule::of(&source(every, cron, windows)).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
