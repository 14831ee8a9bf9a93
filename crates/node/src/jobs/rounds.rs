//! Rounds that a person asks the running site for, and how they go.

use std::sync::Mutex;

use protocol::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ports::LinkError;

/// The rounds of a running site with its parent. They count from 1 since its start.
#[derive(Debug)]
pub struct Rounds {
    /// Up to which round somebody wants one.
    asked: watch::Sender<u64>,
    state: Mutex<RoundsState>,
}

/// What one round moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Changes that the parent took.
    pub sent: u64,
    /// Changes that it refused or put off.
    pub not_taken: u64,
    /// Lines that were applied here.
    pub received: u64,
    /// Lines that were parked here.
    pub parked: u64,
}

/// How the rounds stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RoundsState {
    /// The newest round.
    pub number: u64,
    /// Whether it still runs.
    pub running: bool,
    /// Changes that the parent took in it so far.
    pub sent: u64,
    /// Lines that were applied here in it so far.
    pub received: u64,
    /// The last round that ended.
    pub last: Option<RoundEnd>,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct RoundEnd {
    pub number: u64,
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub sent: u64,
    pub received: u64,
    pub not_taken: u64,
    pub parked: u64,
    /// Why it broke off.
    pub error: Option<String>,
}

impl Default for Rounds {
    fn default() -> Self {
        Rounds { asked: watch::Sender::new(0), state: Mutex::default() }
    }
}

impl Rounds {
    fn with<T>(&self, work: impl FnOnce(&mut RoundsState) -> T) -> T {
        // Whoever panicked with it left nothing half done: each use is a few assignments.
        work(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Asks for a round that begins after now; gives its number.
    pub fn ask(&self) -> u64 {
        let number = self.with(|state| state.number + 1);
        self.asked.send_modify(|asked| *asked = (*asked).max(number));
        number
    }

    /// Waits until somebody wants a round that has not begun.
    pub async fn wanted(&self) {
        let begun = self.with(|state| state.number);
        let mut asked = self.asked.subscribe();
        if asked.wait_for(|asked| *asked > begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A round begins.
    pub fn begin(&self) {
        self.with(|state| {
            state.number += 1;
            (state.running, state.sent, state.received) = (true, 0, 0);
        });
    }

    /// How far the round is.
    pub fn progress(&self, moved: &Moved) {
        self.with(|state| (state.sent, state.received) = (moved.sent, moved.received));
    }

    /// The round is over; gives how it ended.
    pub fn end(&self, outcome: &Result<Moved, LinkError>, at: Timestamp) -> RoundEnd {
        self.with(|state| {
            state.running = false;
            let (number, sent, received) = (state.number, state.sent, state.received);
            let end = match outcome {
                Ok(round) => RoundEnd {
                    number,
                    at,
                    sent: round.sent,
                    received: round.received,
                    not_taken: round.not_taken,
                    parked: round.parked,
                    error: None,
                },
                Err(error) => RoundEnd {
                    number,
                    at,
                    sent,
                    received,
                    not_taken: 0,
                    parked: 0,
                    error: Some(error.0.clone()),
                },
            };
            state.last = Some(end.clone());
            end
        })
    }

    /// How they stand now.
    pub fn state(&self) -> RoundsState {
        self.with(|state| state.clone())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn who_asks_in_the_middle_of_a_round_gets_the_next_one() {
        let rounds = Rounds::default();
        assert!(rounds.wanted().now_or_never().is_none());
        rounds.begin();
        assert_eq!((rounds.ask(), rounds.ask()), (2, 2));
        assert!(rounds.wanted().now_or_never().is_some());
        rounds.end(&Err(LinkError("cut".to_owned())), Timestamp::from_millis(5));
        let last = rounds.state().last.unwrap();
        assert_eq!((last.number, last.error.as_deref()), (1, Some("cut")));
        assert!(rounds.wanted().now_or_never().is_some(), "the second has not begun");
        rounds.begin();
        assert!(rounds.wanted().now_or_never().is_none());
        assert_eq!((rounds.state().number, rounds.state().running), (2, true));
    }
}
