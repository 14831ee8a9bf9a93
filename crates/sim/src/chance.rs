//! Chance from a seed, for the world and for each of its sites.

use std::sync::{Mutex, PoisonError};

use node::ports::Entropy;

/// Chance from a seed (SplitMix64): the same seed gives the same numbers.
#[derive(Debug)]
pub(crate) struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    /// Numbers of their own for each seed and name.
    pub(crate) fn new(seed: u64, name: &str) -> SeededEntropy {
        // FNV-1a: any mixing that is the same everywhere will do.
        let mixed = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        SeededEntropy { state: Mutex::new(mixed) }
    }

    /// Begins anew from a seed.
    pub(crate) fn begin(&self, seed: u64) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = seed;
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A place in a list of `length`.
    pub(crate) fn place(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a thousand.
    pub(crate) fn permille(&self, share: u32) -> bool {
        self.below(1_000) < u64::from(share)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for portion in bytes.chunks_mut(8) {
            portion.copy_from_slice(&self.next().to_le_bytes()[..portion.len()]);
        }
    }
}
