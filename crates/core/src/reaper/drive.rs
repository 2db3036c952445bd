//! The driving thread: it runs what destructors start, and finds out when nothing of it is left.
//!
//! Tokio tells how many tasks are alive. It does not tell (without `tokio_unstable`) whether a
//! blocking closure is queued or running, and closures start closures, so that one fence behind
//! those that are known proves little. What is exact is this, in order, on this one thread:
//!
//! 1. Every task has ended. Only this thread polls tasks; from here on it does not.
//! 2. A fence is posted: a closure that does nothing. It runs behind everything that was queued.
//! 3. The closing thread that ran it has *retired*, which it does only when nothing is queued. So
//!    all that was queued before the fence has run, and all that this posted, and so on.
//! 4. Had any of it spawned a task, the task would be alive: nobody has polled it. None is alive.
//!    Nothing is left that could start anything.
//!
//! Counting the starts of threads would not do instead of the fence: a thread that was started a
//! moment ago has not counted itself yet.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, Runtime};

use super::{RETRY, Shared, State};
use crate::sync::Arc;

/// For how long this thread waits for closures without driving the runtime. One of them may be
/// waiting for a timer; longer than this it does not go without.
const WITHHELD: Duration = Duration::from_millis(10);

/// How often to look meanwhile whether a closure has spawned a task.
const LOOK: Duration = Duration::from_millis(1);

/// The closing threads of a runtime that has at most one at a time.
#[derive(Default)]
pub(super) struct Threads {
    /// How many have started and how many have stopped, by their own count.
    started: u64,
    stopped: u64,
    /// How many fences have been posted, and how many have run.
    posted: u64,
    passed: u64,
    /// Which thread ran the last fence.
    passed_on: u64,
}

impl Threads {
    pub(super) const fn started(&mut self) {
        self.started += 1;
    }

    pub(super) const fn stopped(&mut self) {
        self.stopped += 1;
    }

    /// Whether there is a thread, or a fence that waits for one.
    pub(super) const fn at_work(&self) -> bool {
        self.started > self.stopped || self.posted > self.passed
    }

    /// The fence has run, on the only thread there is.
    const fn pass(&mut self) {
        self.passed += 1;
        self.passed_on = self.started;
    }

    /// Whether every fence has run, and the thread that ran the last one has retired.
    const fn behind_the_fence(&self) -> bool {
        self.passed == self.posted && self.stopped >= self.passed_on
    }
}

/// Runs until nothing more is to come and nothing is left.
pub(super) fn drive(runtime: &Runtime, shared: &Arc<Shared>) {
    while let Some(dropped) = runtime.block_on(next(shared)) {
        loop {
            runtime.block_on(no_tasks(shared, runtime.handle()));
            if !post_fence(shared, runtime.handle()) {
                drop(shared.wait(shared.lock(), RETRY));
                continue;
            }
            if nothing_left(shared, runtime.handle()) {
                break;
            }
            runtime.block_on(until(shared, |state| state.threads.behind_the_fence().then_some(())));
        }
        settle(shared, dropped);
    }
}

/// Waits, driving the runtime, until more has been dropped than is settled. Returns how many have
/// been; `None` once no more can come.
async fn next(shared: &Shared) -> Option<u64> {
    until(shared, |state| {
        if state.dropped > state.settled {
            return Some(Some(state.dropped));
        }
        (state.ended && state.dropped == state.taken).then_some(None)
    })
    .await
}

/// Waits, driving the runtime, until the state is such that there is an answer.
async fn until<R>(shared: &Shared, mut answer: impl FnMut(&State) -> Option<R>) -> R {
    poll_fn(|context| {
        let mut state = shared.lock();
        match answer(&state) {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.driver = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Waits, driving the runtime, until no task is alive.
async fn no_tasks(shared: &Shared, handle: &Handle) {
    poll_fn(|context| {
        if handle.metrics().num_alive_tasks() == 0 {
            return Poll::Ready(());
        }
        shared.lock().driver_idle = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}

impl Shared {
    /// The runtime has nothing to poll: now is when the last task may have ended.
    pub(super) fn parking(&self) {
        // The hook is called in the context of its runtime.
        if Handle::try_current().is_ok_and(|handle| handle.metrics().num_alive_tasks() == 0) {
            let waker = self.lock().driver_idle.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Posts a closure behind everything that is queued. `false` where Tokio could start no thread for
/// it, which it reports by panicking; the closure is queued even so, and runs with the next.
fn post_fence(shared: &Arc<Shared>, handle: &Handle) -> bool {
    shared.lock().threads.posted += 1;
    let fence = Arc::clone(shared);
    let post = || drop(handle.spawn_blocking(move || fence.change(|state| state.threads.pass())));
    catch_unwind(AssertUnwindSafe(post)).is_ok()
}

/// Waits for the fence, *without* driving the runtime, and tells whether nothing is left behind it.
fn nothing_left(shared: &Shared, handle: &Handle) -> bool {
    let give_up = Instant::now() + WITHHELD;
    let mut state = shared.lock();
    loop {
        let tasks = handle.metrics().num_alive_tasks();
        if tasks > 0 || Instant::now() >= give_up {
            return false;
        }
        if state.threads.behind_the_fence() {
            // Once more: what was behind the fence may have spawned one after the first look.
            return handle.metrics().num_alive_tasks() == 0;
        }
        state = shared.wait(state, LOOK);
    }
}

fn settle(shared: &Shared, dropped: u64) {
    let settled = shared.change(|state| {
        state.settled = dropped;
        state.waiters.extract_if(.., |(when, _)| *when <= dropped).collect::<Vec<_>>()
    });
    for (_, latch) in settled {
        latch.fire();
    }
}
