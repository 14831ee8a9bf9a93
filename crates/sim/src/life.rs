//! The life of a site between its start and its crash: everything that runs in it ends with it,
//! at whatever await point it has come to.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;

/// One life of a site.
#[derive(Default)]
pub(crate) struct Life {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    dead: bool,
    /// How many more times something of the site may be polled; `None`: no end is set.
    budget: Option<u64>,
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Life {
    /// A life without an end that is set.
    pub(crate) fn new() -> Arc<Life> {
        Arc::default()
    }

    /// Ends after so many more polls of what runs in it.
    pub(crate) fn end_after(&self, polls: u64) {
        self.lock().budget = Some(polls);
    }

    /// Ends now. What runs in it is dropped before anything of it is polled again.
    pub(crate) fn end(&self) {
        let wakers = {
            let mut state = self.lock();
            state.dead = true;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().dead
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        let key = self.key();
        poll_fn(|context| {
            let mut state = self.lock();
            if state.dead {
                return Poll::Ready(());
            }
            let before = state.wakers.insert(key, context.waker().clone());
            drop(state);
            drop(before);
            Poll::Pending
        })
        .await;
    }

    /// Work that is dropped when this life ends, and gives `None` then.
    pub(crate) fn mortal<T>(
        self: &Arc<Life>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Mortal<T> {
        Mortal { key: self.key(), life: Arc::clone(self), work: Some(Box::pin(work)) }
    }

    fn key(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }

    /// Spends one poll; `false` where the life is over.
    fn spend(&self, key: u64, waker: &Waker) -> bool {
        let (spent, before) = {
            let mut state = self.lock();
            if state.dead {
                return false;
            }
            let before = state.wakers.insert(key, waker.clone());
            let spent = match &mut state.budget {
                None => false,
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
            };
            (spent, before)
        };
        // The lock goes before the waker does.
        drop(before);
        if spent {
            self.end();
        }
        !spent
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work of a site that may crash.
pub(crate) struct Mortal<T> {
    key: u64,
    life: Arc<Life>,
    work: Option<BoxFuture<'static, T>>,
}

impl<T> Future for Mortal<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let alive = self.life.spend(self.key, context.waker());
        let Some(work) = self.work.as_mut().filter(|_| alive) else {
            self.work = None;
            return Poll::Ready(None);
        };
        work.as_mut().poll(context).map(Some)
    }
}

impl<T> Drop for Mortal<T> {
    fn drop(&mut self) {
        // The lock goes before the waker does.
        let gone = self.life.lock().wakers.remove(&self.key);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_crash_comes_between_any_two_polls() {
        for polls in 0..5 {
            let life = Life::new();
            life.end_after(polls);
            let steps = Arc::new(Mutex::new(0));
            let counted = Arc::clone(&steps);
            let done = life.mortal(async move {
                for _ in 0..3 {
                    *counted.lock().unwrap() += 1;
                    tokio::task::yield_now().await;
                }
            });
            let done = done.await;
            assert_eq!(done.is_some(), polls > 3, "{polls}");
            assert_eq!(*steps.lock().unwrap(), polls.min(3));
            assert_eq!(life.is_over(), polls <= 3);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_waits_for_ever_ends_with_its_life() {
        let life = Life::new();
        let waits = tokio::spawn(life.mortal(std::future::pending::<()>()));
        tokio::task::yield_now().await;
        life.end();
        assert_eq!(waits.await.unwrap(), None);
        life.over().await;
    }
}
