//! How much one request is made for, and how long the rest will take: both follow what the link has
//! done lately. Pure: what was measured is an argument.

use serde::{Deserialize, Serialize};

/// Milliseconds that a request should take: long enough that asking costs little, short enough that
/// a cut costs little, and that what is more urgent need not wait for long.
pub const AIM: u64 = 15_000;
/// Bytes of text of the first request on a link that nothing is known of.
pub const FIRST: u64 = 1 << 20;
/// The least: whatever the link is like, one line always goes.
pub const LEAST: u64 = 16 << 10;

/// Bytes on the wire below which a request says more of the way there and back than of the link.
const MEASURED: u64 = 4 << 10;
/// Bytes on the wire after which how older text was compressed counts half.
const CODED: u64 = 1 << 20;
/// Milliseconds of transfer after which what is older counts half.
const LATELY: u64 = 2 * 60 * 1_000;

/// How one lane of a link has done lately, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// Bytes of text (before compression) that the next request is made for.
    pub portion: u64,
    /// Changes, or entries of a feed, that moved lately.
    pub items: u64,
    /// Bytes on the wire that they took, both ways together.
    pub bytes: u64,
    /// Milliseconds that they took.
    pub millis: u64,
    /// Bytes of text (before compression) that moved lately, small requests as well.
    pub text: u64,
    /// Bytes on the wire that these were.
    pub coded: u64,
    /// Bytes of text of the smallest request that the other side refused as too large; 0 where it
    /// refused none. Not kept for ever: its limit may be another one by then.
    #[serde(skip)]
    pub too_much: u64,
}

/// One request that went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Changes, or entries, that it moved.
    pub items: u64,
    /// Bytes of its text, before compression.
    pub text: u64,
    /// Bytes that it had on the wire, both ways together.
    pub wire: u64,
    /// Milliseconds from its beginning to the end of the answer.
    pub millis: u64,
}

/// What is still to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Left {
    /// Changes, or entries of a feed.
    pub items: u64,
    /// About how many bytes on the wire all but the `unknown` ones are; `None` where nothing like
    /// any of it was measured yet.
    pub bytes: Option<u64>,
    /// About how many milliseconds these take, as the link was lately; likewise.
    pub millis: Option<u64>,
    /// Of these, those of which nothing like it was measured yet.
    #[serde(default)]
    pub unknown: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { portion: FIRST, items: 0, bytes: 0, millis: 0, text: 0, coded: 0, too_much: 0 }
    }
}

impl Pace {
    /// What is known after a request that went through. `most` bounds what one request may be made
    /// for.
    pub fn after(self, sample: &Sample, most: u64) -> Pace {
        let text = u128::from(sample.text);
        let ideal = text * u128::from(AIM) / u128::from(sample.millis.max(1));
        let ideal = u64::try_from(ideal).unwrap_or(u64::MAX);
        let portion = if sample.millis > AIM {
            self.portion.min(ideal)
        } else if sample.text >= self.portion / 2 {
            // Slowly: a link that was good for a while need not stay so.
            ideal.min(self.portion.saturating_add(self.portion / 2))
        } else {
            // There was no more to move: it says nothing of how much would have gone.
            self.portion
        };
        let known = if self.too_much == 0 { most } else { self.too_much / 4 * 3 };
        Pace { portion: bounded(portion.min(known), most), ..self.counted(sample) }
    }

    /// What is known after a request that the other side refused as too large.
    pub fn refused(self, text: u64, most: u64) -> Pace {
        let too_much = if self.too_much == 0 { text } else { self.too_much.min(text) };
        Pace { too_much, ..self.broken(most) }
    }

    /// What is known after a request that broke off or took too long.
    pub fn broken(self, most: u64) -> Pace {
        Pace { portion: bounded(self.portion / 2, most), ..self }
    }

    fn counted(self, sample: &Sample) -> Pace {
        let half = if self.coded > CODED { 2 } else { 1 };
        let (text, coded) = (self.text / half + sample.text, self.coded / half + sample.wire);
        Pace { text, coded, ..self }.timed(sample)
    }

    fn timed(self, sample: &Sample) -> Pace {
        if sample.wire < MEASURED || sample.items == 0 {
            return self;
        }
        let half = if self.millis > LATELY { 2 } else { 1 };
        Pace {
            items: self.items / half + sample.items,
            bytes: self.bytes / half + sample.wire,
            millis: self.millis / half + sample.millis.max(1),
            ..self
        }
    }

    /// Bytes of text that the next request is made for on a lane that may have so many bytes a
    /// second on the wire. How text compresses is what was measured; until then it is taken not to.
    pub fn portion_at(&self, rate: u64) -> u64 {
        let wire = scaled(rate, AIM, 1_000);
        let (text, coded) = (self.text.max(self.coded), self.coded.max(1));
        let text = if self.coded > 0 { scaled(wire, text, coded) } else { wire };
        self.portion.min(text.max(LEAST))
    }

    /// Bytes a second on the wire, lately.
    pub fn rate(&self) -> Option<u64> {
        (self.millis > 0).then(|| scaled(self.bytes, 1_000, self.millis))
    }

    /// What it takes to move so many more.
    pub fn left(&self, items: u64) -> Left {
        if items == 0 {
            return Left { items, bytes: Some(0), millis: Some(0), unknown: 0 };
        }
        let times = |lately| (self.items > 0).then(|| scaled(items, lately, self.items));
        let unknown = if self.items > 0 { 0 } else { items };
        Left { items, bytes: times(self.bytes), millis: times(self.millis), unknown }
    }
}

impl Left {
    /// Both, one after the other. What is known of one is told where nothing is of the other.
    pub fn and(self, other: Left) -> Left {
        let items = self.items.saturating_add(other.items);
        let unknown = self.unknown.saturating_add(other.unknown);
        let sum = |a: Option<u64>, b: Option<u64>| {
            (unknown < items || items == 0).then(|| a.unwrap_or(0).saturating_add(b.unwrap_or(0)))
        };
        let bytes = sum(self.bytes, other.bytes);
        Left { items, bytes, millis: sum(self.millis, other.millis), unknown }
    }
}

fn bounded(portion: u64, most: u64) -> u64 {
    portion.max(LEAST).min(most.max(1))
}

fn scaled(count: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(count) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MOST: u64 = 8 * MIB;

    fn sample(text: u64, seconds: u64) -> Sample {
        Sample { items: 10, text, wire: text / 16, millis: seconds * 1_000 }
    }

    #[test]
    fn the_next_request_is_made_for_what_the_link_can_do_in_the_time_aimed_at() {
        for (before, text, seconds, after, why) in [
            (MIB, MIB, 1, MIB + MIB / 2, "fast: half as much again"),
            (MIB, MIB, 12, MIB + MIB / 4, "nearly there: what fits"),
            (MIB, MIB, 15, MIB, "as aimed at"),
            (MIB, MIB / 2, 15, MIB / 2, "half of it took as long as all was to take"),
            (MIB, MIB, 60, MIB / 4, "too slow: what fits, at once"),
            (MIB, MIB, 3_600, LEAST, "hardly anything: the least"),
            (MIB, MIB / 4, 1, MIB, "there was not more"),
            (MIB, MIB / 4, 30, MIB / 8, "a small one that took long"),
            (MIB / 8, 4 * MIB, 60, MIB / 8, "one long line says that more would go"),
            (MIB / 8, 4 * MIB, 900, 69_905, "one long line that took long"),
            (6 * MIB, 6 * MIB, 1, MOST, "not above the bound"),
            (MIB, MIB, 0, MIB + MIB / 2, "in no time"),
        ] {
            let pace = Pace { portion: before, ..Pace::default() };
            assert_eq!(pace.after(&sample(text, seconds), MOST).portion, after, "{why}");
        }
    }

    #[test]
    fn what_breaks_off_is_halved_down_to_the_least() {
        let mut pace = Pace::default();
        let mut portions = Vec::new();
        for _ in 0..7 {
            pace = pace.broken(MOST);
            portions.push(pace.portion >> 10);
        }
        assert_eq!(portions, [512, 256, 128, 64, 32, 16, 16]);
        assert_eq!(Pace::default().broken(1_000).portion, 1_000, "a bound below the least");
    }

    #[test]
    fn what_the_other_side_refuses_is_not_tried_again_and_again() {
        let mut pace = Pace::default().refused(600_000, MOST);
        assert_eq!(pace.portion, FIRST / 2);
        for _ in 0..10 {
            pace = pace.after(&sample(pace.portion, 1), MOST);
        }
        assert_eq!(pace.portion, 450_000, "three quarters of what was refused");
        pace = pace.refused(450_000, MOST).refused(5_000_000, MOST);
        for _ in 0..10 {
            pace = pace.after(&sample(pace.portion, 1), MOST);
        }
        assert_eq!(pace.portion, 337_500);
    }

    #[test]
    fn it_comes_to_rest_where_requests_take_the_time_aimed_at() {
        // 8 kB/s on the wire, text compresses to a sixteenth, and there and back takes 2 s.
        let mut pace = Pace::default();
        for _ in 0..20 {
            let millis = 2_000 + pace.portion / 16 / 8;
            pace = pace.after(&Sample { millis, ..sample(pace.portion, 0) }, MOST);
        }
        let millis = 2_000 + pace.portion / 16 / 8;
        assert!((14_000..=15_000).contains(&millis), "{millis} ms for {}", pace.portion);
    }

    #[test]
    fn the_rest_takes_as_long_as_lately_and_is_unknown_where_nothing_was_measured() {
        let unknown = Left { items: 9, bytes: None, millis: None, unknown: 9 };
        let nothing = Left { items: 0, bytes: Some(0), millis: Some(0), unknown: 0 };
        assert_eq!(Pace::default().left(9), unknown);
        assert_eq!(Pace::default().left(0), nothing);
        let tiny = Sample { items: 1, text: 900, wire: 700, millis: 600 };
        assert_eq!(Pace::default().after(&tiny, MOST).left(9), unknown, "only the way there");
        let pace = Pace::default()
            .after(&Sample { items: 100, text: MIB, wire: 60_000, millis: 12_000 }, MOST);
        assert_eq!(pace.rate(), Some(5_000));
        let left = pace.left(2_000);
        assert_eq!((left.bytes, left.millis), (Some(1_200_000), Some(240_000)));
        assert_eq!(left.and(nothing), left);
        // One lane that was never measured does not make the other one's time unknown.
        let partly = Left { items: 2_009, unknown: 9, ..left };
        assert_eq!((left.and(unknown), unknown.and(left)), (partly, partly));
        assert_eq!(nothing.and(unknown), unknown);
        let twice = Left { items: 18, unknown: 18, ..unknown };
        assert_eq!((unknown.and(unknown), nothing.and(nothing)), (twice, nothing));
    }

    #[test]
    fn a_request_of_a_lane_with_a_rate_is_made_for_what_the_rate_allows_in_the_time_aimed_at() {
        let measured = |text, coded| Pace { portion: 8 * MIB, text, coded, ..Pace::default() };
        let slow = measured(16 * 50_000, 50_000);
        for (pace, rate, portion, why) in [
            (Pace::default(), 2_000, 30_000, "the very first: as if text did not compress"),
            (Pace::default(), 100, LEAST, "the least"),
            (Pace::default(), 1_000_000, FIRST, "faster than the first is made for"),
            (slow, 2_000, 16 * 30_000, "a sixteenth of the text, as measured"),
            (measured(40_000, 50_000), 2_000, 30_000, "what does not compress at all"),
            (slow, u64::MAX, 8 * MIB, "no bound"),
        ] {
            assert_eq!(pace.portion_at(rate), portion, "{why}");
        }
        // Also of requests that are too small to say how fast the link is: 1 kB/s, a sixteenth.
        let mut pace = Pace::default();
        for _ in 0..8 {
            let text = pace.portion_at(1_000);
            let sample = Sample { items: 10, text, wire: text / 16 + 700, millis: AIM };
            pace = pace.after(&sample, MOST);
        }
        let wire = pace.portion_at(1_000) / 16;
        assert!((13_000..=15_000).contains(&wire), "{wire} bytes in 15 s");
    }

    #[test]
    fn what_is_long_ago_counts_less() {
        let slow = Sample { items: 10, text: MIB, wire: 10_000, millis: 700_000 };
        let fast = Sample { items: 10, text: MIB, wire: 10_000, millis: 1_000 };
        let mut pace = Pace::default().after(&slow, MOST);
        for _ in 0..40 {
            pace = pace.after(&fast, MOST);
        }
        let rate = pace.rate().unwrap();
        assert!((3_000..10_000).contains(&rate), "{rate} B/s: the slow one is not forgotten");
    }
}
