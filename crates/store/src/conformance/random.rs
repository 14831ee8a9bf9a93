//! Random edits at both sides, with links that break anywhere: after quiet both hold the same.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::stream::Lane;

use super::Maker;
use super::builders::{a_location, a_patient, an_observation, delete, named, put};
use super::pair::Pair;
use crate::Draft;

/// Seeds that found something: a later body taken for held, records that left one by one, records
/// that changed their patient.
const FAILED_ONCE: [u64; 4] = [17, 20, 22, 84];

/// A small generator of its own, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn edit(dice: &mut Dice) -> Draft {
    let patient = format!("p{}", dice.below(3));
    let value = dice.below(50);
    match dice.below(10) {
        0 => delete(&format!("Observation/o{}", dice.below(6))),
        1 => delete(&format!("Patient/{patient}")),
        2 => put(&[a_location(&format!("l{}", dice.below(2))).with("n", &value.to_string())]),
        3..=5 => put(&[a_patient(&patient)
            .managed_by(["east", "west"][dice.below(2) as usize])
            .born(&format!("19{}", 10 + value))]),
        6 => put(&[a_patient(&patient).managed_by("east").with("a", &value.to_string())]),
        _ => put(&[an_observation(&format!("o{}", dice.below(6)), &patient)
            .with(["x", "y"][dice.below(2) as usize], &value.to_string())]),
    }
}

fn step(pair: &Pair, dice: &mut Dice) {
    match dice.below(10) {
        0..=2 => drop(pair.at_parent(&edit(dice))),
        3..=5 => drop(pair.at_child(&edit(dice))),
        6 => drop(pair.push_once()),
        7 => {
            // The answer to a push is lost.
            let lines = pair.child.delivery_next(pair.now(), 100_000).unwrap();
            lines.iter().for_each(|line| drop(pair.send(line)));
        }
        8 => drop(pair.pull()),
        _ => {
            // An answer is cut, and what came of it is applied.
            let lane = [Lane::Live, Lane::Bulk][dice.below(2) as usize];
            let (source, lines, _) = pair.fetch("all", lane);
            let cut = dice.below(lines.len() as u64 + 1) as usize;
            pair.child.change_apply(&source, &lines[..cut], pair.now()).unwrap();
        }
    }
}

pub fn after_quiet_both_sides_hold_the_same(maker: &dyn Maker) {
    for seed in (1..=10).chain(FAILED_ONCE) {
        let pair = Pair::new(maker);
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        if seed % 2 == 0 {
            let places = BTreeSet::from([named("Organization/east")]);
            pair.cohort("all", Definition::Location { places, by: BTreeSet::new() });
        }
        if seed % 2 == 0 {
            pair.leave.set(crate::LeavePolicy::Purge);
        }
        // Whom both sides write of, the child has been told of: it must not write of others.
        pair.at_parent(&put(&["p0", "p1", "p2"].map(|id| a_patient(id).managed_by("east"))));
        for _ in 0..60 {
            step(&pair, &mut dice);
        }
        pair.quiet();
        pair.child.patient_purge(pair.now()).unwrap();
        pair.quiet();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pair.assert_in_step();
        }));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
