//! Time limits for futures, under any executor and without a runtime's timer.
//!
//! `tokio::time::timeout` needs the time driver of the runtime that it is awaited on: it panics if
//! there is none, and it is late if that runtime is blocked, which is when a limit matters most. Here
//! a dedicated thread keeps the limits. It starts for the first limit and ends with the last, so it exists
//! only while there is a limit. A forked child starts its own, whatever state it was forked in.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use crate::{
    fork::{GENERATIONS, OfProcess, PerProcess},
    waker,
};

/// Longer than anything takes on a busy machine that is not stuck: the limit of a wait in a test that
/// is not about its limit.
#[doc(hidden)]
pub const PLENTY: Duration = Duration::from_secs(60);

/// Awaits a future, and returns `None` if the limit passes first. The limit counts from this call.
///
/// A limit of zero polls the future once. A limit that the clock cannot represent, such as
/// [`Duration::MAX`], means no limit. If no thread can be started to keep the limit, the limit counts
/// as passed. If the future is ready at the very limit, that counts as in time.
///
/// Dropping the returned future drops `future` on the same thread. The limit cannot interrupt a future that
/// blocks its thread in `poll`.
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
        // Without reading the clock.
        Duration::MAX => None,
        limit => Instant::now().checked_add(limit),
    };
    until(deadline, future)
}

/// Awaits a future until a deadline, if there is one; then `None`. After the deadline it polls once.
pub(crate) fn until<F: Future>(deadline: Option<Instant>, future: F) -> Within<F> {
    Within { future, alarm: Alarm { deadline, set: None } }
}

pin_project! {
    /// The future that [`within`] returns.
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

/// A waker that the clock wakes at a deadline, unless this is dropped before.
struct Alarm {
    deadline: Option<Instant>,
    set: Option<Set>,
}

/// An alarm that is set: where, and with which waker.
struct Set {
    clock: &'static OfProcess<Clock>,
    key: Key,
    waker: Waker,
}

impl Alarm {
    fn set(&mut self, deadline: Instant, waker: &Waker) -> io::Result<()> {
        match &self.set {
            Some(set) if set.waker.will_wake(waker) && set.clock.is_of_this_process() => {
                return Ok(());
            }
            _ => {}
        }
        self.unset();
        let clock = CLOCKS.get()?;
        let key = clock.set(deadline, waker.clone())?;
        self.set = Some(Set { clock, key, waker: waker.clone() });
        Ok(())
    }

    fn unset(&mut self) {
        if let Some(set) = self.set.take()
            && set.clock.is_of_this_process()
        {
            set.clock.unset(set.key);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.unset();
    }
}

/// A deadline, and a number that tells apart those at the same moment.
type Key = (Instant, u64);

/// All alarms of a process.
struct Clock {
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

struct Alarms {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
    /// Whether the thread runs. It ends itself, under the lock, when there is no alarm.
    running: bool,
}

/// If no clock is left for a forked child, its limits count as passed, as they do if no thread can be
/// started.
static CLOCKS: PerProcess<Clock> =
    PerProcess::new([const { OfProcess::new(Clock::new()) }; GENERATIONS]);

impl Clock {
    const fn new() -> Self {
        let alarms = Alarms { wakers: BTreeMap::new(), next: 0, running: false };
        Self { alarms: Mutex::new(alarms), changed: Condvar::new() }
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
        let is_first = alarms.wakers.first_key_value().is_none_or(|(first, _)| key < *first);
        alarms.wakers.insert(key, waker);
        drop(alarms);
        if is_first {
            self.changed.notify_one();
        }
        Ok(key)
    }

    fn unset(&self, key: Key) {
        let mut alarms = self.lock();
        let waker = alarms.wakers.remove(&key);
        let was_last = alarms.wakers.is_empty();
        drop(alarms);
        // A foreign destructor: not under the lock.
        waker::discard(waker);
        if was_last {
            // The thread has nothing left to wait for, and ends.
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
                // Foreign code: not under the lock.
                if let Some((_, waker)) = due {
                    waker::wake(waker);
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
    use std::{
        future::{pending, ready},
        sync::Arc,
        task::Wake,
    };

    use futures::executor::block_on;

    use super::*;
    use crate::latch::Latch;

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

    /// Fires a latch when it is woken.
    struct Fires(Latch);

    impl Wake for Fires {
        fn wake(self: Arc<Self>) {
            self.0.fire();
        }
    }

    fn fires() -> (Arc<Fires>, Waker) {
        let fires = Arc::new(Fires(Latch::new()));
        (Arc::clone(&fires), fires.into())
    }

    #[test]
    fn the_waker_of_the_last_poll_is_woken_at_the_limit() {
        let mut limited = Box::pin(within(Duration::from_millis(50), pending::<()>()));
        let (fires, waker) = fires();
        for waker in [Waker::noop(), &waker] {
            // On a busy machine the limit may have passed already. Then it need not wake anybody.
            if limited.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                return;
            }
        }
        assert!(fires.0.wait_blocking(PLENTY));
    }

    #[test]
    fn an_alarm_is_set_once_for_a_waker_and_forgotten_with_its_future() {
        let hour = Duration::from_secs(3600);
        let mut limited = Box::pin(within(hour, pending::<()>()));
        let (fires, waker) = fires();
        let mut keys = Vec::new();
        for _ in 0..2 {
            assert!(limited.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            keys.push(limited.as_mut().project().alarm.set.as_ref().map(|set| set.key));
        }
        assert_eq!(keys[0], keys[1]);
        drop((limited, waker));
        assert_eq!(Arc::strong_count(&fires), 1, "its waker is kept");
    }

    #[test]
    fn alarms_at_the_same_moment_are_all_woken() {
        let clock: &'static Clock = Box::leak(Box::new(Clock::new()));
        let (moment, alarms) = (Instant::now(), [(); 3].map(|()| fires()));
        // No thread is started: all are set before the first one is woken.
        clock.lock().running = true;
        for (_, waker) in &alarms {
            clock.set(moment, waker.clone()).unwrap();
        }
        clock.run();
        assert!(alarms.iter().all(|(fires, _)| fires.0.has_fired()));
        assert!(!clock.lock().running);
    }

    #[test]
    fn the_clock_minds_an_earlier_alarm_and_ends_with_the_last_that_is_given_up() {
        let hour = Instant::now() + Duration::from_secs(3600);
        for _ in 0..20 {
            let clock: &'static Clock = Box::leak(Box::new(Clock::new()));
            let ((soon, soon_waker), (late, late_waker)) = (fires(), fires());
            // In most of these rounds at least, the clock waits for the hour to pass after this.
            let wait_a_little = || (0..1000).for_each(|_| thread::yield_now());
            let key = clock.set(hour, late_waker).unwrap();
            wait_a_little();
            clock.set(Instant::now(), soon_waker).unwrap();
            assert!(soon.0.wait_blocking(PLENTY));
            wait_a_little();
            clock.unset(key);
            assert_eq!(Arc::strong_count(&late), 1, "its waker is kept");
            let deadline = Instant::now() + PLENTY;
            while clock.lock().running {
                assert!(
                    Instant::now() < deadline,
                    "the clock waits for an alarm that was given up"
                );
                thread::yield_now();
            }
            assert!(!late.0.has_fired());
        }
    }
}
