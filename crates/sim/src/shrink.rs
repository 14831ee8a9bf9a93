//! The shortest list of steps that still goes wrong, as far as it can be found in the time there
//! is: leaves out ever smaller parts, and keeps what still fails in the same way.

use std::time::{Duration, Instant};

use crate::op::Plan;
use crate::run::run;

/// Shortens a plan whose run fails in `checker`, for at most `time`.
pub fn shrink(plan: &Plan, checker: &str, time: Duration) -> Plan {
    let begun = Instant::now();
    let mut best = plan.clone();
    let mut part = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < best.steps.len() {
            if begun.elapsed() > time {
                return best;
            }
            let mut tried = best.clone();
            tried.steps.drain(at..(at + part).min(best.steps.len()));
            if fails(&tried, checker) {
                best = tried;
                shorter = true;
            } else {
                at += part;
            }
        }
        if part == 1 && !shorter {
            return best;
        }
        part = (part / 2).max(1);
    }
}

fn fails(plan: &Plan, checker: &str) -> bool {
    run(plan, false).violations.iter().any(|violation| violation.checker == checker)
}
