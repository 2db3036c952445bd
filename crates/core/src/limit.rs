//! Time limits for futures, under any executor and without a runtime's timer.
//!
//! `tokio::time::timeout` needs the time driver of the runtime that it is awaited on: it panics if
//! there is none, and it is late if that runtime is blocked, which is when a limit matters most. Here
//! a thread that waits in a blocking call of the kit keeps the limits of that call by itself. For all
//! other limits there is a thread while there is a limit: the first limit starts it, and the
//! last one ends and joins it. A forked child starts its own, whatever state it was forked in.

mod clock;

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    io, mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use self::clock::{Clock, Key};
use crate::{
    fork::OfProcess,
    park::{self, Parker},
    waker,
};

/// How long to wait before looking again whether a thread has ended: at first, and at most.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// How often to look at once.
const CHECKS_AT_ONCE: usize = 10;

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
/// When the returned future is ready or dropped, no thread keeps its limit any more. A waker is foreign
/// code: if one panics or blocks, no other limit is late. One that has not returned 100 ms after its limit
/// ended keeps the thread that called it.
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

/// Same as [`within`], and blocks this thread meanwhile, which keeps the limit itself: no other thread is needed, and no
/// runtime. So do not call this in async code. The future is polled on this thread, in no runtime's context that the thread
/// is not in already.
///
/// ```
/// use std::{future::{pending, ready}, time::Duration};
/// use sundown::limit::within_blocking;
///
/// let limit = Duration::from_millis(5);
/// assert_eq!(within_blocking(limit, ready("an answer")), Some("an answer"));
/// assert_eq!(within_blocking(limit, pending::<()>()), None, "no answer within 5 ms");
/// ```
pub fn within_blocking<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    park::wait(pin!(future), limit)
}

/// Awaits a future whose limits come one after another: they share one thread, which the first starts and
/// the end of this joins. Each would start its own otherwise.
#[doc(hidden)]
pub async fn one_after_another<F: Future>(future: F) -> F::Output {
    let _entered = Entered::here();
    future.await
}

struct Entered(Option<&'static OfProcess<Clock>>);

impl Entered {
    fn here() -> Self {
        // Without a clock, each limit finds that out by itself.
        let clock = Clock::of_this_process().ok();
        if let Some(clock) = clock {
            clock.enter();
        }
        Self(clock)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(clock) = self.0.filter(|clock| clock.is_of_this_process()) {
            clock.leave();
        }
    }
}

/// Waits until no thread of the kit is left, as `are_left` says, or the deadline has passed. Returns whether
/// none was left at the last look. Only a thread that has ended is over, and none can say so itself.
pub(crate) async fn threads_have_ended(
    deadline: Option<Instant>,
    are_left: impl Fn() -> bool,
) -> bool {
    for _ in 0..CHECKS_AT_ONCE {
        if !are_left() {
            return true;
        }
        thread::yield_now();
    }
    let mut pause = LOOK_AGAIN;
    loop {
        if !are_left() {
            return true;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        // A waker that blocks on such a wait would wait for itself.
        if waker::is_helper_here()
            && poll_fn(|context| Poll::Ready(park::is_parker(context.waker()))).await
        {
            return false;
        }
        let soon = Instant::now() + pause;
        pause = LONGEST_PAUSE.min(pause * 2);
        pause_until(deadline.map_or(soon, |end| end.min(soon))).await;
    }
}

/// Waits for a moment, after which the caller looks again. If no thread can be started to keep the time, the
/// caller looks at once, but not in the same poll: otherwise its thread would run nothing else meanwhile.
pub(crate) async fn pause(pause: Duration) {
    pause_until(Instant::now() + pause).await;
}

async fn pause_until(end: Instant) {
    until(Some(end), pending::<()>()).await;
    let mut gives_way = Instant::now() < end;
    poll_fn(|context| match mem::take(&mut gives_way) {
        true => {
            if let Some(waker) = waker::clone(context.waker()) {
                waker::wake_all_in_place([waker]);
            }
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
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
        let output = match within.future.poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => {
                let Some(deadline) = within.alarm.deadline else { return Poll::Pending };
                if Instant::now() < deadline && within.alarm.set(deadline, context.waker()).is_ok()
                {
                    return Poll::Pending;
                }
                None
            }
        };
        // Now, and not when this is dropped: whoever gets the answer may rely on it that no thread is
        // left.
        within.alarm.unset();
        Poll::Ready(output)
    }
}

/// Wakes a task at a deadline, unless this is dropped before.
struct Alarm {
    deadline: Option<Instant>,
    set: Option<Set>,
}

/// Where an alarm is set.
enum Set {
    /// With the thread that waits for the task.
    Parker(Arc<Parker>, Key),
    Clock(&'static OfProcess<Clock>, Key, Waker),
}

impl Alarm {
    fn set(&mut self, deadline: Instant, waker: &Waker) -> io::Result<()> {
        match &self.set {
            Some(Set::Parker(parker, _)) if parker.is_woken_by(waker) => return Ok(()),
            Some(Set::Clock(clock, _, registered))
                if registered.will_wake(waker) && clock.is_of_this_process() =>
            {
                return Ok(());
            }
            _ => {}
        }
        if let Some(parker) = park::waiting_here(waker) {
            self.unset();
            let key = parker.set_alarm(deadline);
            self.set = Some(Set::Parker(parker, key));
            return Ok(());
        }
        // Foreign code, and so before anything changes. If one cannot be cloned, the task is polled again.
        let Some(registered) = waker::clone(waker) else { return Ok(()) };
        let Some(waker) = waker::clone(waker) else {
            waker::discard([registered]);
            return Ok(());
        };
        match &mut self.set {
            Some(Set::Clock(clock, key, before)) if clock.is_of_this_process() => {
                clock.replace(*key, waker);
                waker::discard([mem::replace(before, registered)]);
                return Ok(());
            }
            _ => {}
        }
        self.unset();
        let set = Clock::of_this_process()
            .and_then(|clock| clock.set(deadline, waker).map(|key| (clock, key)));
        match set {
            Ok((clock, key)) => self.set = Some(Set::Clock(clock, key, registered)),
            Err(error) => {
                waker::discard([registered]);
                return Err(error);
            }
        }
        Ok(())
    }

    fn unset(&mut self) {
        match self.set.take() {
            Some(Set::Parker(parker, key)) => parker.unset_alarm(key),
            Some(Set::Clock(clock, key, waker)) => {
                // In a forked child, the thread of that clock does not exist, and its lock may be held for ever.
                if clock.is_of_this_process() {
                    clock.unset(key);
                }
                waker::discard([waker]);
            }
            None => {}
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.unset();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn, ready},
        task::Wake,
        thread,
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

    const HOUR: Duration = Duration::from_secs(3600);

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
        let mut limited = Box::pin(within(HOUR, pending::<()>()));
        let (fires, waker) = fires();
        let mut keys = Vec::new();
        for _ in 0..2 {
            assert!(limited.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let Some(Set::Clock(_, key, _)) = limited.as_mut().project().alarm.set else {
                panic!("no waiting thread polls this")
            };
            keys.push(key);
        }
        assert_eq!(keys[0], keys[1]);
        drop((limited, waker));
        assert_eq!(Arc::strong_count(&fires), 1, "its waker is kept");
    }

    /// Which kind of alarm a limit has set.
    fn is_kept_by_its_thread(limited: Pin<&mut Within<impl Future>>) -> bool {
        matches!(limited.project().alarm.set, Some(Set::Parker(..)))
    }

    #[test]
    fn a_future_that_always_wakes_does_not_outlast_its_limit() {
        let busy = || {
            poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            })
        };
        let limit = Duration::from_millis(5);
        assert_eq!(within_blocking(limit, busy()), None);
        assert_eq!(within_blocking(PLENTY, within(limit, busy())), Some(None));
        assert_eq!(block_on(within(limit, busy())), None);
    }

    #[test]
    fn a_thread_that_waits_keeps_the_limits_of_what_it_polls() {
        let mut limited = Box::pin(within(Duration::from_millis(20), pending::<()>()));
        let mut others = [2, 1].map(|hours| Box::pin(within(HOUR * hours, pending::<()>())));
        let mut polls = 0;
        let waited = park::wait_for(poll_fn(|context| {
            polls += 1;
            for other in &mut others {
                assert!(other.as_mut().poll(context).is_pending());
                assert!(is_kept_by_its_thread(other.as_mut()));
            }
            let polled = limited.as_mut().poll(context);
            assert!(polled.is_ready() || is_kept_by_its_thread(limited.as_mut()));
            polled
        }));
        assert_eq!(waited, None);
        assert!(polls < 10, "it waits, and does not poll again and again");
    }

    #[test]
    fn a_limit_may_move_from_a_thread_that_waits_to_an_executor_and_back() {
        let mut limited = Box::pin(within(Duration::from_millis(60), pending::<()>()));
        // It passes before that where the machine is busy.
        for _ in 0..2 {
            if park::wait(limited.as_mut(), Duration::from_millis(1)).is_some() {
                return;
            }
            assert!(is_kept_by_its_thread(limited.as_mut()));
            let mut context = Context::from_waker(Waker::noop());
            if limited.as_mut().poll(&mut context).is_ready() {
                return;
            }
            assert!(!is_kept_by_its_thread(limited.as_mut()));
        }
        assert_eq!(park::wait(limited.as_mut(), PLENTY), Some(None));
    }

    #[test]
    fn a_wait_inside_a_wait_keeps_its_own_limits() {
        let nested = || {
            let limited = within(Duration::from_millis(5), pending::<()>());
            assert_eq!(park::wait_for(Box::pin(limited)), None);
        };
        let mut limited = Box::pin(within(Duration::from_millis(30), pending::<()>()));
        let waited = park::wait_for(poll_fn(|context| {
            nested();
            let polled = limited.as_mut().poll(context);
            assert!(polled.is_ready() || is_kept_by_its_thread(limited.as_mut()));
            polled
        }));
        assert_eq!(waited, None);
    }
}
