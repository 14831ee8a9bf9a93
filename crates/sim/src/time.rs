//! Time that passes only when nothing else can happen: whoever sleeps is woken at once, in the
//! order of the times they sleep to, and the clock says that it took that long.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures::future::BoxFuture;
use protocol::Timestamp;

/// The time of one world. Cheap to clone; all sites share it.
#[derive(Clone)]
pub(crate) struct WorldTime {
    state: Arc<Mutex<State>>,
}

struct State {
    now: i64,
    /// By the time they sleep to, and the order in which they went to sleep.
    sleepers: BTreeMap<(i64, u64), Waker>,
    slept: u64,
    /// Whether something runs that time may pass for.
    running: Option<Waker>,
    /// Wakes a task that does nothing, so that the thread looks once more whether it has something
    /// to do: who was woken may be one that nobody waits for just now.
    again: Option<Waker>,
    stuck: bool,
}

impl WorldTime {
    /// Begins at `start`.
    pub(crate) fn new(start: Timestamp) -> WorldTime {
        let state = State {
            now: start.millis(),
            sleepers: BTreeMap::new(),
            slept: 0,
            running: None,
            again: None,
            stuck: false,
        };
        WorldTime { state: Arc::new(Mutex::new(state)) }
    }

    /// What time it is in the world.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.lock().now)
    }

    /// Ends so many milliseconds of the world later.
    pub(crate) fn sleep(&self, millis: u64) -> BoxFuture<'static, ()> {
        let mut sleeper = {
            let mut state = self.lock();
            state.slept += 1;
            let key = (state.now.saturating_add_unsigned(millis), state.slept);
            Sleeper { key, asleep: false, time: self.clone() }
        };
        Box::pin(poll_fn(move |context| sleeper.poll(context.waker())))
    }

    /// Nothing can happen at this time any more: goes on to the next time at which somebody wakes.
    /// To be called when the thread has nothing else to do.
    pub(crate) fn pass(&self) {
        let mut state = self.lock();
        if state.running.is_none() {
            return;
        }
        let first = state.sleepers.first_key_value().map(|(key, _)| *key);
        let woken = match first {
            Some((until, _)) => {
                state.now = state.now.max(until);
                first.and_then(|key| state.sleepers.remove(&key))
            }
            None => {
                state.stuck = true;
                state.running.clone()
            }
        };
        let again = state.again.clone();
        drop(state);
        woken.into_iter().chain(again).for_each(Waker::wake);
    }

    /// Runs `work` while time passes. `None`: it waits for something that will never come.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let time = self.clone();
        let looks_again = tokio::spawn(poll_fn(move |context| {
            time.lock().again = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        let done = poll_fn(|context| {
            {
                let mut state = self.lock();
                state.running = Some(context.waker().clone());
                if std::mem::take(&mut state.stuck) {
                    return Poll::Ready(None);
                }
            }
            work.as_mut().poll(context).map(Some)
        });
        let result = done.await;
        looks_again.abort();
        let mut state = self.lock();
        let (running, again) = (state.running.take(), state.again.take());
        // The lock goes before the wakers do.
        drop(state);
        drop((running, again));
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the sleepers, taken when somebody waits; given up when the sleep is over or
/// nobody waits for it any more.
struct Sleeper {
    key: (i64, u64),
    asleep: bool,
    time: WorldTime,
}

impl Sleeper {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let mut state = self.time.lock();
        let woken = self.asleep && !state.sleepers.contains_key(&self.key);
        if woken || self.key.0 <= state.now && !self.asleep {
            return Poll::Ready(());
        }
        self.asleep = true;
        let before = state.sleepers.insert(self.key, waker.clone());
        // The lock goes before the waker does: a waker may drop what sleeps elsewhere.
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let gone = self.time.lock().sleepers.remove(&self.key);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use futures::stream::FuturesUnordered;

    use super::*;

    fn run<T: Send + 'static>(
        time: &WorldTime,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (passing, running) = (time.clone(), time.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || passing.pass())
            .build()
            .unwrap();
        let task = runtime.spawn(async move { running.run(work).await });
        runtime.block_on(task).unwrap()
    }

    #[test]
    fn a_year_passes_at_once_and_sleepers_wake_in_order() {
        const DAY: u64 = 86_400_000;
        let time = WorldTime::new(Timestamp::from_millis(0));
        let started = std::time::Instant::now();
        let slept = time.clone();
        let woken = run(&time, async move {
            let woken = Arc::new(Mutex::new(Vec::new()));
            let all = [365, 1, 7].map(|days| {
                let (woken, sleep) = (woken.clone(), slept.sleep(days * DAY));
                async move {
                    sleep.await;
                    woken.lock().unwrap().push(days);
                }
            });
            futures::future::join_all(all).await;
            woken.lock().unwrap().clone()
        });
        assert_eq!(woken, Some(vec![1, 7, 365]));
        assert_eq!(time.now().millis(), 365 * 86_400_000);
        assert!(started.elapsed().as_secs() < 60, "it slept in earnest");
    }

    #[test]
    fn time_stands_still_while_something_can_happen() {
        let time = WorldTime::new(Timestamp::from_millis(5));
        let (asked, sleep) = (time.clone(), time.sleep(1_000));
        let seen = run(&time, async move {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            drop(sleep);
            asked.now().millis()
        });
        assert_eq!(seen, Some(5));
        assert_eq!(time.now().millis(), 5);
    }

    #[test]
    fn a_sleep_that_nobody_waits_for_holds_nobody_up() {
        let time = WorldTime::new(Timestamp::from_millis(0));
        let (first, second) = (time.sleep(10), time.sleep(20));
        run(&time, async move {
            second.await;
            drop(first);
        });
        assert_eq!(time.now().millis(), 20);
    }

    #[test]
    fn sleepers_that_nobody_asks_just_now_hold_nobody_up() {
        let time = WorldTime::new(Timestamp::from_millis(0));
        let sleeping = time.clone();
        let ended = run(&time, async move {
            let asked = [1, 3, 5].map(|millis| sleeping.sleep(millis));
            let mut asked = asked.into_iter().collect::<FuturesUnordered<_>>();
            asked.next().await;
            // The other two are not asked meanwhile.
            sleeping.sleep(20).await;
            asked.collect::<Vec<()>>().await.len()
        });
        assert_eq!(ended, Some(2));
        assert_eq!(time.now().millis(), 21);
    }

    #[test]
    fn waiting_for_what_never_comes_ends() {
        let time = WorldTime::new(Timestamp::from_millis(0));
        assert_eq!(run(&time, std::future::pending::<()>()), None);
    }
}
