//! How every shutdown of tasks goes: ask them to stop, wait, abort what is left, and wait again, all
//! within one limit. Groups, background tasks and runtimes share this.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    callers::{AbortAt, Callers, Patience},
    limit::{threads_have_ended, until},
};

/// The least time that an abort gets to take effect, unless that is more than half of the limit: on a
/// busy machine a runtime may take that long to poll a task again.
const LEAST_FOR_ABORT: Duration = Duration::from_millis(100);

/// How the waits of a shutdown ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    pub patience: Patience,
    /// Whether a thread of the kit was left at the last look. Whoever looks again may see the thread of a later
    /// caller, which waits for that itself.
    pub threads_left: bool,
}

/// The part of a limit that is left for an abort to take effect: a tenth, at least 100 ms, at most half.
pub(crate) fn share_for_abort(limit: Duration) -> Duration {
    (limit / 10).max(LEAST_FOR_ABORT.min(limit / 2))
}

/// Asks to stop, aborts at the [last part](share_for_abort) of the limit, and returns when `ended`
/// completes or the limit has passed.
///
/// Other callers may wait for the same tasks. If one of them would abort later, this one does not abort:
/// it waits until its own limit has passed. If that other one goes away before, it aborts after all.
/// `abort` gets the moment at which this caller is to abort, and returns whether it has spared tasks for
/// which another caller waits. At last it waits until no thread of the kit is left that calls a waker
/// (`has_threads`).
///
/// The limit counts from `entered`, when the caller's own caller came in. Whatever takes longer than
/// planned (`stop`, the first wait, `abort`) shortens the waits after it and does not move the end. If
/// the limit has passed already, each wait checks once.
pub(crate) async fn stop_then_abort<W: Future>(
    callers: &Callers,
    entered: Instant,
    limit: Duration,
    stop: impl FnOnce(),
    abort: impl FnOnce(AbortAt) -> bool,
    ended: impl Fn() -> W,
    has_threads: impl Fn() -> bool,
) -> Waited {
    let deadlines = Deadlines::new(entered, limit);
    let caller = callers.enter(deadlines.abort.into());
    stop();
    let patience = if until(deadlines.abort, ended()).await.is_some() {
        Patience::Own
    } else if let Some(first) = until(deadlines.give_up, first(ended(), caller.is_last())).await {
        let has_spared = first == First::Other && abort(caller.abort_at());
        if first == First::Other {
            // If the first wait was late, the limit has passed, and the executor may need this thread to
            // drop what was aborted. Let it do that before the last look.
            yield_once().await;
            until(deadlines.give_up, ended()).await;
        }
        if has_spared { Patience::Another } else { Patience::Own }
    } else {
        Patience::Another
    };
    caller.leave();
    let threads_left = !threads_have_ended(deadlines.give_up, has_threads).await;
    Waited { patience, threads_left }
}

/// Which of two futures was ready first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    One,
    Other,
}

/// Waits for the first of two futures; for the one, if both are ready.
async fn first(one: impl Future, other: impl Future) -> First {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() {
            Poll::Ready(First::One)
        } else {
            other.as_mut().poll(context).map(|_| First::Other)
        }
    })
    .await
}

/// Lets the executor poll other tasks, whichever executor it is.
pub(crate) async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// When to abort and when to give up; never, if the clock cannot represent it.
#[derive(Debug, PartialEq, Eq)]
struct Deadlines {
    abort: Option<Instant>,
    give_up: Option<Instant>,
}

impl Deadlines {
    fn new(entered: Instant, limit: Duration) -> Self {
        let give_up = entered.checked_add(limit);
        // If it never gives up, it never aborts.
        let abort = give_up.and_then(|_| entered.checked_add(limit - share_for_abort(limit)));
        Self { abort, give_up }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use futures::executor::block_on;

    use super::*;
    use crate::limit::PLENTY;

    #[test]
    fn an_abort_has_a_tenth_of_a_long_limit_and_half_of_a_short_one() {
        let entered = Instant::now();
        for (limit, expected) in [(0, 0), (20, 10), (100, 50), (500, 100), (5000, 500)] {
            let (limit, expected) = (Duration::from_millis(limit), Duration::from_millis(expected));
            assert_eq!(share_for_abort(limit), expected, "of {limit:?}");
            let Deadlines { abort, give_up } = Deadlines::new(entered, limit);
            assert_eq!(give_up, Some(entered + limit));
            assert_eq!(abort, Some(entered + limit - expected));
        }
        let never = Deadlines { abort: None, give_up: None };
        assert_eq!(Deadlines::new(entered, Duration::MAX), never);
    }

    /// The limit would be a minute from the end of `stop`, and has passed by then.
    #[test]
    fn a_stop_that_takes_the_whole_limit_leaves_no_time_for_the_waits() {
        let began = Instant::now();
        let (stopped, aborted) = (Cell::new(false), Cell::new(false));
        let _ = block_on(stop_then_abort(
            &Callers::default(),
            began.checked_sub(PLENTY).unwrap(),
            PLENTY,
            || stopped.set(true),
            |_| {
                aborted.set(stopped.get());
                false
            },
            pending::<()>,
            || false,
        ));
        assert!(aborted.get(), "it is aborted all the same, after the stop");
        assert!(began.elapsed() < PLENTY / 2, "{:?}", began.elapsed());
    }

    /// The stop is on time and the first wait ends late, because the executor is blocked.
    #[test]
    fn a_first_wait_that_ends_late_does_not_move_the_end() {
        let limit = Duration::from_secs(20);
        let entered = Instant::now().checked_sub(limit - Duration::from_millis(50)).unwrap();
        let (began, waits) = (Instant::now(), Cell::new(0));
        let _ = block_on(stop_then_abort(
            &Callers::default(),
            entered,
            limit,
            || (),
            |_| false,
            || {
                waits.set(waits.get() + 1);
                pending::<()>()
            },
            || false,
        ));
        assert_eq!(waits.get(), 3, "it waits after the abort, too");
        assert!(began.elapsed() < limit / 2, "{:?}", began.elapsed());
    }

    #[test]
    fn nothing_is_aborted_that_ends_in_time() {
        let aborted = Cell::new(false);
        let ended = || std::future::ready(());
        let abort = |_| {
            aborted.set(true);
            false
        };
        let waited = block_on(stop_then_abort(
            &Callers::default(),
            Instant::now(),
            PLENTY,
            || (),
            abort,
            ended,
            || false,
        ));
        assert_eq!((aborted.get(), waited.patience), (false, Patience::Own));
    }

    /// The thread of a later caller is there after the last look.
    #[test]
    fn what_the_last_look_has_seen_decides() {
        for is_there_at_first in [true, false] {
            let looks = Cell::new(0);
            let has_threads = || {
                looks.set(looks.get() + 1);
                (looks.get() == 2) != is_there_at_first
            };
            let waited = block_on(stop_then_abort(
                &Callers::default(),
                Instant::now(),
                PLENTY,
                || (),
                |_| false,
                || std::future::ready(()),
                has_threads,
            ));
            let last = if is_there_at_first { 2 } else { 1 };
            assert_eq!((waited.threads_left, looks.get()), (false, last));
        }
        let waited = block_on(stop_then_abort(
            &Callers::default(),
            Instant::now(),
            Duration::ZERO,
            || (),
            |_| false,
            || std::future::ready(()),
            || true,
        ));
        assert!(waited.threads_left, "the control");
    }
}
