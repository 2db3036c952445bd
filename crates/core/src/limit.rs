//! Limits that hold under any executor, and without a time driver.
//!
//! `tokio::time::timeout` needs the time driver of the runtime that it is awaited on: it panics
//! where there is none, and it is late where that runtime is blocked, which is when a limit matters
//! most. So limits are kept by a thread of their own. It is started for the first limit and ends
//! with the last: a process that is not shutting anything down does not have it. A forked child has a
//! thread of its own as well, whatever the state in which it was forked.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    process,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

/// Awaits a future for at most so long; then `None`. The limit counts from this call.
///
/// A limit of zero polls the future once. A limit beyond what the clock can tell, [`Duration::MAX`]
/// say, is none. Where no thread can be started to keep the limit, it counts as passed. What is
/// ready at the very limit counts as in time. A future that gave nothing is dropped with what
/// awaited it, on the thread of its executor: one that blocks its thread when it is polled keeps no
/// limit.
///
/// ```
/// use std::{future::{pending, ready}, time::Duration};
/// use sundown::limit::within;
///
/// # futures::executor::block_on(async {
/// let limit = Duration::from_millis(5);
/// assert_eq!(within(limit, ready("an answer")).await, Some("an answer"));
/// assert_eq!(within(limit, pending::<()>()).await, None, "no answer within 5 ms");
/// # });
/// ```
pub fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    let deadline = match limit {
        // Without a look at the clock.
        Duration::MAX => None,
        limit => Instant::now().checked_add(limit),
    };
    Within { future, alarm: Alarm { deadline, set: None } }
}

pin_project! {
    /// What [`within`] returns. Polled again after it was ready, it polls its future again.
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Within<F> {
        #[pin]
        future: F,
        alarm: Alarm,
    }
}

impl<F> fmt::Debug for Within<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within").field("deadline", &self.alarm.deadline).finish_non_exhaustive()
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let within = self.project();
        if let Poll::Ready(output) = within.future.poll(context) {
            return Poll::Ready(Some(output));
        }
        let Some(deadline) = within.alarm.deadline else { return Poll::Pending };
        if Instant::now() >= deadline || within.alarm.set(deadline, context.waker()).is_err() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// A waker that the clock is to wake at a deadline; forgotten when this is dropped.
struct Alarm {
    deadline: Option<Instant>,
    set: Option<Set>,
}

/// Where a waker is set, and which.
struct Set {
    clock: &'static Clock,
    key: Key,
    waker: Waker,
}

impl Alarm {
    fn set(&mut self, deadline: Instant, waker: &Waker) -> io::Result<()> {
        match &self.set {
            Some(set) if set.waker.will_wake(waker) && set.clock.is_here() => return Ok(()),
            _ => {}
        }
        self.unset();
        let clock = Clock::here()?;
        let key = clock.set(deadline, waker.clone())?;
        self.set = Some(Set { clock, key, waker: waker.clone() });
        Ok(())
    }

    fn unset(&mut self) {
        if let Some(set) = self.set.take() {
            // In a forked child it is set on a clock that nobody there looks at, and whose lock may be
            // held for ever.
            if set.clock.is_here() {
                set.clock.unset(set.key);
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.unset();
    }
}

/// When, and which of those at the same moment.
type Key = (Instant, u64);

/// All alarms of a process.
struct Clock {
    /// The process whose thread looks at it; 0 until one has claimed it.
    process: AtomicU32,
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

struct Alarms {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
    /// Whether the thread runs. It ends itself, under the lock, when there is no alarm.
    running: bool,
}

/// One for the process, one for a child that it forks, one for the child of that, and so on: a child
/// has copies of those of its ancestors, which may be locked by threads that it does not have.
///
/// As many as there are generations of processes that each kept a limit and forked without `exec`. In
/// one that finds none left, as where no thread can be started, limits count as passed.
static CLOCKS: [Clock; 16] = [const { Clock::new() }; 16];

impl Clock {
    const fn new() -> Self {
        let alarms = Alarms { wakers: BTreeMap::new(), next: 0, running: false };
        Self { process: AtomicU32::new(0), alarms: Mutex::new(alarms), changed: Condvar::new() }
    }

    /// That of this process.
    fn here() -> io::Result<&'static Self> {
        let here = process::id();
        let claimed = CLOCKS.iter().find(|clock| {
            // Relaxed: what it guards is behind its lock, and a fork copies all memory as it is.
            let claim =
                clock.process.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed);
            claim.is_ok() || claim == Err(here)
        });
        claimed
            .ok_or_else(|| io::Error::other("every clock belongs to an ancestor of this process"))
    }

    fn is_here(&self) -> bool {
        self.process.load(Ordering::Relaxed) == process::id()
    }

    fn lock(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&'static self, deadline: Instant, waker: Waker) -> io::Result<Key> {
        let mut alarms = self.lock();
        let key = (deadline, alarms.next);
        alarms.next += 1;
        if !alarms.running {
            let clock = thread::Builder::new().name("sundown-clock".to_owned());
            clock.spawn(|| self.run())?;
            alarms.running = true;
        }
        let soonest = alarms.wakers.first_key_value().is_none_or(|(first, _)| key < *first);
        alarms.wakers.insert(key, waker);
        drop(alarms);
        if soonest {
            self.changed.notify_one();
        }
        Ok(key)
    }

    fn unset(&self, key: Key) {
        let mut alarms = self.lock();
        let waker = alarms.wakers.remove(&key);
        let last = alarms.wakers.is_empty();
        drop(alarms);
        drop(waker);
        if last {
            // The thread has nothing left to wait for.
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        let mut alarms = self.lock();
        loop {
            let Some((&(deadline, _), _)) = alarms.wakers.first_key_value() else {
                alarms.running = false;
                return;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let due = alarms.wakers.pop_first();
                drop(alarms);
                // Somebody else's code: not under the lock.
                if let Some((_, waker)) = due {
                    waker.wake();
                }
                alarms = self.lock();
            } else {
                alarms = match self.changed.wait_timeout(alarms, left) {
                    Ok((alarms, _)) => alarms,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::executor::block_on;

    use super::*;

    #[test]
    fn what_is_ready_is_not_late() {
        assert_eq!(block_on(within(Duration::ZERO, ready(1))), Some(1));
        assert_eq!(block_on(within(Duration::MAX, ready(1))), Some(1));
    }

    #[test]
    fn a_limit_is_kept_without_any_runtime() {
        for limit in [Duration::ZERO, Duration::from_millis(20)] {
            let began = Instant::now();
            assert_eq!(block_on(within(limit, pending::<()>())), None);
            assert!(began.elapsed() >= limit);
        }
    }

    #[test]
    fn many_limits_at_once_are_each_kept() {
        let waits: Vec<_> = (0..50)
            .map(|at| {
                thread::spawn(move || {
                    let limit = Duration::from_millis(at);
                    let began = Instant::now();
                    assert_eq!(block_on(within(limit, pending::<()>())), None);
                    began.elapsed() >= limit
                })
            })
            .collect();
        assert!(waits.into_iter().all(|wait| wait.join().unwrap()));
    }

    #[test]
    fn a_limit_that_was_given_up_is_forgotten() {
        let far = within(Duration::from_secs(3600), pending::<()>());
        assert_eq!(block_on(within(Duration::from_millis(5), far)), None);
        let deadline = Instant::now() + Duration::from_secs(10);
        let clock = Clock::here().unwrap();
        while clock.lock().running && clock.lock().wakers.keys().any(|(at, _)| *at > deadline) {
            assert!(Instant::now() < deadline, "the alarm of an hour is still set");
        }
    }
}
