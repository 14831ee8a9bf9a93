//! Places for connections. Where all are taken, who has waited longest without a whole request
//! gives up its place to who comes: heads that are sent byte by byte, and connections that are kept
//! open for later, shut nobody out. Who is being answered keeps its place.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places.
pub(super) struct Places {
    free: Arc<Semaphore>,
    waiting: Arc<Waiting>,
}

/// Connections on which no request is being answered, by when that began.
#[derive(Default)]
struct Waiting {
    line: Mutex<Line>,
    /// Somebody has joined.
    joined: Notify,
}

#[derive(Default)]
struct Line {
    next: u64,
    /// What shuts each.
    all: BTreeMap<u64, CancellationToken>,
}

impl Waiting {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, shut: &CancellationToken) -> u64 {
        let mut line = self.line();
        line.next += 1;
        let at = line.next;
        line.all.insert(at, shut.clone());
        drop(line);
        self.joined.notify_one();
        at
    }

    fn leave(&self, at: u64) {
        self.line().all.remove(&at);
    }

    /// Shuts the one that has waited longest; whether any waited.
    fn shut_one(&self) -> bool {
        let longest = self.line().all.pop_first();
        longest.is_some_and(|(_, shut)| {
            shut.cancel();
            true
        })
    }
}

impl Places {
    pub(super) fn new(count: usize) -> Places {
        Places { free: Arc::new(Semaphore::new(count)), waiting: Arc::default() }
    }

    /// A place for a connection that was accepted; where all are being answered, when one of them
    /// is done. `None`: there are none any more.
    pub(super) async fn take(&self) -> Option<Arc<Place>> {
        let permit = loop {
            if let Ok(permit) = self.free.clone().try_acquire_owned() {
                break permit;
            }
            let free = self.free.clone().acquire_owned();
            if self.waiting.shut_one() {
                break free.await.ok()?;
            }
            tokio::select! {
                permit = free => break permit.ok()?,
                () = self.waiting.joined.notified() => {}
            }
        };
        let (waiting, shut) = (self.waiting.clone(), CancellationToken::new());
        let at = Some(waiting.join(&shut));
        let state = Mutex::new(State { answering: 0, at });
        Some(Arc::new(Place { waiting, shut, state, _permit: permit }))
    }
}

/// The place of one connection, until the last of it is dropped.
pub(super) struct Place {
    waiting: Arc<Waiting>,
    shut: CancellationToken,
    state: Mutex<State>,
    _permit: OwnedSemaphorePermit,
}

struct State {
    /// Requests that are being answered.
    answering: usize,
    /// Where it stands among those that wait.
    at: Option<u64>,
}

impl Place {
    /// Waits until the place is needed by somebody else.
    pub(super) async fn shut(&self) {
        self.shut.cancelled().await;
    }

    /// A request has come; it is answered when what is given here is dropped.
    pub(super) fn answering(self: &Arc<Place>) -> Answering {
        let mut state = self.state();
        state.answering += 1;
        if let Some(at) = state.at.take() {
            self.waiting.leave(at);
        }
        drop(state);
        Answering(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(at) = self.state().at.take() {
            self.waiting.leave(at);
        }
    }
}

/// A request that is being answered.
pub(super) struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.answering -= 1;
        if state.answering == 0 && state.at.is_none() {
            state.at = Some(self.0.waiting.join(&self.0.shut));
        }
    }
}

/// The body of an answer: the request is being answered until its end.
pub(super) struct AnswerBody {
    pub(super) body: Body,
    pub(super) _answering: Answering,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
