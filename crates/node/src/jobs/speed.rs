//! How fast the link to the parent is, a lane each, and how much one request is made for by that:
//! kept while the site runs, noted in the store now and then.

use std::sync::Mutex;

use axum::http::StatusCode;
use protocol::pace::{Pace, Sample};
use protocol::{Timestamp, Urgency};
use store::{LinkPace, Rest};

use crate::site::Site;

/// Milliseconds after which a round that goes on notes how it goes.
const NOTE_EVERY: i64 = 5_000;

/// What is measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Changes that go up.
    Up,
    /// The live lane of the parent's feeds.
    Live,
    /// The bulk lane.
    Bulk,
}

/// How the link has done lately.
#[derive(Debug)]
pub struct Speed {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: LinkPace,
    noted: LinkPace,
    noted_at: Timestamp,
}

impl Speed {
    /// As it was noted last.
    pub fn new(pace: LinkPace, now: Timestamp) -> Speed {
        Speed { state: Mutex::new(State { pace, noted: pace, noted_at: now }) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Whoever panicked with it left nothing half done: each use is a few assignments.
        work(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Bytes of text that the next request is made for, on a lane of which so many bytes a second
    /// may move on the wire.
    pub fn portion(&self, site: &Site, way: Way, rate: Option<u64>) -> usize {
        let portion = self.with(|state| {
            let pace = pace_of(&mut state.pace, way);
            rate.map_or(pace.portion, |rate| pace.portion_at(rate))
        });
        usize::try_from(portion.min(most(site, way))).unwrap_or(usize::MAX)
    }

    /// A request went through.
    pub fn measured(&self, site: &Site, way: Way, sample: &Sample) {
        let most = most(site, way);
        self.with(|state| {
            let pace = pace_of(&mut state.pace, way);
            *pace = pace.after(sample, most);
        });
    }

    /// A request broke off, or so many bytes were too much for the other side: the next one is
    /// smaller.
    pub fn broke(&self, site: &Site, way: Way, too_much: Option<u64>) {
        let most = most(site, way);
        let portion = self.with(|state| {
            let pace = pace_of(&mut state.pace, way);
            *pace = match too_much {
                Some(text) => pace.refused(text, most),
                None => pace.broken(most),
            };
            pace.portion
        });
        tracing::debug!(?way, portion, "a request broke off; the next one is smaller");
    }

    /// A lane rests: that is noted with the next note, so that it holds after a start as well.
    pub fn rests(&self, lane: Urgency, rest: Rest) {
        self.with(|state| match lane {
            Urgency::Urgent => {}
            Urgency::Normal => state.pace.normal_rest = Some(rest),
            Urgency::Bulk => state.pace.bulk_rest = Some(rest),
        });
    }

    /// So many entries of the parent's feeds were not passed yet when they were last looked at.
    pub fn ahead(&self, live: u64, bulk: u64) {
        self.with(|state| (state.pace.live_ahead, state.pace.bulk_ahead) = (live, bulk));
    }

    /// What is to be noted, where it is new.
    pub fn take(&self, now: Timestamp) -> Option<LinkPace> {
        self.with(|state| {
            state.noted_at = now;
            let is_new = state.pace != state.noted;
            state.noted = state.pace;
            is_new.then_some(state.pace)
        })
    }

    /// Whether it was noted a moment ago.
    pub fn is_noted(&self, now: Timestamp) -> bool {
        self.with(|state| (0..NOTE_EVERY).contains(&now.since(state.noted_at)))
    }
}

fn pace_of(pace: &mut LinkPace, way: Way) -> &mut Pace {
    match way {
        Way::Up => &mut pace.up,
        Way::Live => &mut pace.live,
        Way::Bulk => &mut pace.bulk,
    }
}

/// The most that one request may be made for.
fn most(site: &Site, way: Way) -> u64 {
    let limits = &site.config().limits;
    (if way == Way::Up { limits.body_bytes } else { limits.stream_bytes }) as u64
}

/// What a status says of how much was asked for or sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Nothing.
    Fits,
    /// It took too long for something in between, or broke off.
    Broke,
    /// It was more than the other side takes.
    TooMuch,
}

impl Size {
    /// What this status says.
    pub fn of(status: StatusCode) -> Size {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Size::TooMuch,
            StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Size::Broke
            }
            _ => Size::Fits,
        }
    }
}
