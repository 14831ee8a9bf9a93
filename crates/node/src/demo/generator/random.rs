//! Randomness that is a pure function of a seed and of what it is for (SplitMix64): the same
//! patient comes out whichever others were made before.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// A stream of its own for each purpose: `Random::of(seed, &["patient", "kisumu-east", "7"])`.
    pub(super) fn of(seed: u64, purpose: &[&str]) -> Self {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for part in purpose {
            for byte in part.bytes() {
                state = mix(state ^ u64::from(byte)).wrapping_add(GOLDEN);
            }
            state = mix(state ^ 0x100);
        }
        Random { state }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        low.saturating_add_unsigned(self.next() % span)
    }

    /// Whether something that happens `percent` times in a hundred happens.
    pub(super) fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of them; there must be at least one.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[(self.next() % items.len() as u64) as usize]
    }

    /// An id in the form of a version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A bell-shaped number around `mean`, nearly always within three times `spread`.
    pub(super) fn around(&mut self, mean: f64, spread: f64) -> f64 {
        let sum: i64 = (0..6).map(|_| self.between(-1_000, 1_000)).sum();
        mean + spread * (sum as f64) / 1_414.0
    }
}
