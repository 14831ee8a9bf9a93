//! What becomes of one request.

use crate::chance::SeededEntropy;

use super::LinkNow;

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    /// Milliseconds each way.
    pub(super) delay: u64,
    /// It never arrives.
    pub(super) lost: bool,
    /// It is handled, and nothing of the answer comes back.
    pub(super) unanswered: bool,
    /// A copy of it arrives so many milliseconds later.
    pub(super) again: Option<u64>,
    /// Its body ends after so many bytes.
    pub(super) cut_up: Option<u64>,
    /// The answer's body ends after so many bytes.
    pub(super) cut_down: Option<u64>,
    /// Bytes a second; 0 for no bound.
    pub(super) rate: u64,
    /// How often the handler is polled on when nobody waits for it.
    pub(super) polls_after: u64,
}

impl Fate {
    pub(super) fn draw(chance: &SeededEntropy, now: &LinkNow) -> Fate {
        let weather = now.weather;
        let mut fate = Fate {
            delay: if weather.delay > 0 { chance.below(weather.delay) } else { 0 },
            lost: now.down,
            unanswered: now.one_way,
            rate: weather.rate,
            polls_after: chance.below(30),
            ..Fate::default()
        };
        if chance.permille(weather.loss) {
            match chance.permille(500) {
                true => fate.lost = true,
                false => fate.unanswered = true,
            }
        }
        if chance.permille(weather.half_open) {
            fate.unanswered = true;
        }
        if chance.permille(weather.twice) {
            let later = [50, 5_000, 300_000, 20_000_000][chance.place(4)];
            fate.again = Some(chance.below(later));
        }
        if chance.permille(weather.cut) {
            // Most bodies are short, some are long.
            let after = chance.below([40, 300, 2_000, 20_000][chance.place(4)]);
            match chance.permille(400) {
                true => fate.cut_up = Some(after),
                false => fate.cut_down = Some(after),
            }
        }
        fate
    }

    /// Whether anything but a delay comes of it.
    pub(super) fn is_trouble(&self) -> bool {
        self.lost
            || self.unanswered
            || self.again.is_some()
            || self.cut_up.is_some()
            || self.cut_down.is_some()
    }
}
