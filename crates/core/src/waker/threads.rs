//! Calls wakers that may block on threads of their own.
//!
//! Tokio's wakers and the kit's own only queue a task or notify a thread, so they are called in place, and
//! first. All others belong to any executor. They are called on another thread, for which the caller waits a
//! little: usually none is left then. So one that blocks delays neither the others nor the caller, who may
//! be a worker of a runtime, or have a limit to keep.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::poll_fn,
    mem,
    task::{Poll, RawWakerVTable, Waker},
    time::{Duration, Instant},
};

use once_cell::race::OnceBox;

use super::ToWake;
use crate::{
    joinable::Joinable,
    panics, park,
    sync::{Arc, Condvar, Mutex, lock},
};

/// The name of the threads.
pub(crate) const THREAD: &str = "sundown-wakers";

/// How long the caller waits for wakers to return, from when the first was called. Those of well-behaved
/// executors take microseconds, and then no thread is left behind. After that, a waker counts as stuck, and
/// the next one is called on another thread.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long the caller waits for a thread to begin: on a busy machine longer than for a waker.
const UNTIL_BEGUN: Duration = Duration::from_secs(1);

/// The functions of Tokio's wakers: of a task, of `Runtime::block_on` on a current-thread runtime, and of
/// every other `block_on`. Set without a lock, which a thread may hold that a forked child does not have.
static TOKIO: OnceBox<[&'static RawWakerVTable; 3]> = OnceBox::new();

/// Whether waking cannot block, as far as that can be known: wakers with the same functions are of the same
/// kind, and these kinds lock for nanoseconds. (One exception: the task of a `LocalSet` wakes whatever polls
/// that `LocalSet`, and this may be another executor's waker.)
pub(super) fn is_known(waker: &Waker) -> bool {
    let vtable = waker.vtable();
    // By what they point to: the compiler may make several of the same. If it made several of the functions,
    // more wakers are called on a thread of their own, and nothing else.
    TOKIO.get().is_some_and(|tokio| tokio.contains(&vtable))
        || park::is_parker(waker)
        || waker.will_wake(Waker::noop())
}

/// Learns what Tokio's wakers look like, from a runtime without drivers or threads. Once in a process, on a
/// thread that has just been started, because Tokio refuses it where a runtime is entered.
fn learn() {
    if TOKIO.get().is_some() {
        return;
    }
    let learned = panics::catch(|| {
        let of_this_poll = || poll_fn(|context| Poll::Ready(context.waker().vtable()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        let task = runtime.spawn(of_this_poll());
        let of_block_on = runtime.block_on(of_this_poll());
        let of_task = runtime.block_on(task).ok()?;
        Some([of_task, of_block_on, runtime.handle().block_on(of_this_poll())])
    });
    if let Ok(Some(learned)) = learned {
        let _ = TOKIO.set(Box::new(learned));
    }
}

thread_local!(static IS_HELPER: Cell<bool> = const { Cell::new(false) });

/// Whether this thread calls wakers.
pub(crate) fn is_helper_here() -> bool {
    IS_HELPER.get()
}

/// Wakes all: first those that cannot block, then those of each component on a thread of its own. All of
/// them together are waited for for a moment.
pub(super) fn wake<'a>(all: impl Iterator<Item = ToWake<'a>>) {
    let mut with_foreign = Vec::new();
    for mut of_one in all {
        for waker in mem::take(&mut of_one.wakers) {
            match is_known(&waker) {
                true => _ = super::wake_in_place(waker),
                false => of_one.wakers.push(waker),
            }
        }
        if !of_one.wakers.is_empty() {
            with_foreign.push(of_one);
        }
    }
    let mut patient_until = None;
    for mut of_one in with_foreign {
        let foreign = mem::take(&mut of_one.wakers).into_iter().collect();
        if let Some(thread) = call(foreign, &mut patient_until) {
            of_one.leave(thread);
        }
    }
}

/// Calls wakers on another thread. Returns the thread that is left to wait for, if a waker is stuck.
fn call(foreign: VecDeque<Waker>, patient_until: &mut Option<Instant>) -> Option<Joinable> {
    let calls = Arc::new(Calls::new(foreign));
    let Some(first) = calls.start() else {
        // The system has no thread left. Late is better than never.
        calls.run();
        return None;
    };
    let until = *patient_until.get_or_insert_with(|| calls.have_begun() + PATIENCE);
    match calls.have_ended(until) {
        // What a waker has left in a thread-local may block the end of the thread.
        true => first.join_until(Instant::now() + PATIENCE).err(),
        false => supervise(calls, first),
    }
}

/// Waits for all wakers to return, on a thread of its own that calls none of them. Each time that one is
/// stuck, it starts another thread for those that are left.
fn supervise(calls: Arc<Calls>, first: Joinable) -> Option<Joinable> {
    let first = Arc::new(Mutex::new(Some(first)));
    let supervisor = {
        let first = Arc::clone(&first);
        Joinable::spawn(THREAD, move || {
            let mut threads = Vec::from_iter(lock(&first).take());
            let mut begun = None;
            while !calls.have_ended(Instant::now() + PATIENCE) {
                let Some(now) = calls.begun() else { break };
                if begun.replace(now) == Some(now) {
                    threads.extend(calls.start());
                }
            }
            threads.into_iter().for_each(Joinable::join);
        })
    };
    // Without a supervisor the first thread is what is left to wait for.
    supervisor.ok().or_else(|| lock(&first).take())
}

/// Wakers that are called one after another, by one thread as long as none is stuck.
struct Calls {
    state: Mutex<State>,
    /// Notified when the first is called, and when all have returned.
    changed: Condvar,
}

struct State {
    queue: VecDeque<Waker>,
    /// How many have been called.
    begun: usize,
    /// How many of these have not returned.
    running: usize,
}

impl Calls {
    fn new(queue: VecDeque<Waker>) -> Self {
        let state = State { queue, begun: 0, running: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn start(self: &Arc<Self>) -> Option<Joinable> {
        let calls = Arc::clone(self);
        let run = move || {
            IS_HELPER.set(true);
            learn();
            calls.run();
        };
        Joinable::spawn(THREAD, run).ok()
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        while let Some(waker) = state.queue.pop_front() {
            state.begun += 1;
            state.running += 1;
            let is_first = state.begun == 1;
            drop(state);
            if is_first {
                self.changed.notify_all();
            }
            super::wake_in_place(waker);
            state = lock(&self.state);
            state.running -= 1;
        }
        let is_last = state.running == 0;
        drop(state);
        if is_last {
            self.changed.notify_all();
        }
    }

    /// Waits until the first waker is called, but not too long. Returns when that was.
    fn have_begun(&self) -> Instant {
        self.wait(Instant::now() + UNTIL_BEGUN, |state| state.begun > 0);
        Instant::now()
    }

    /// Waits until all wakers have returned, or this moment.
    fn have_ended(&self, until: Instant) -> bool {
        self.wait(until, |state| state.running == 0 && state.queue.is_empty())
    }

    fn wait(&self, until: Instant, holds: impl Fn(&State) -> bool) -> bool {
        let mut state = lock(&self.state);
        while !holds(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// How many wakers have been called; `None` once that is all of them.
    fn begun(&self) -> Option<usize> {
        let state = lock(&self.state);
        (!state.queue.is_empty()).then_some(state.begun)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{task::Wake, thread};

    use tokio::{
        runtime::{Builder, Handle},
        task::{LocalSet, block_in_place},
    };

    use super::*;

    async fn is_known_here() -> bool {
        poll_fn(|context| Poll::Ready(is_known(context.waker()))).await
    }

    /// Today's Tokio has three kinds. If this fails, learn the new one.
    #[test]
    fn every_waker_of_tokios_is_known_once_they_were_learned() {
        thread::spawn(learn).join().unwrap();
        for runtime in [
            Builder::new_current_thread().build(),
            Builder::new_multi_thread().worker_threads(1).build(),
        ] {
            let runtime = runtime.unwrap();
            assert!(runtime.block_on(is_known_here()));
            assert!(runtime.handle().block_on(is_known_here()));
            assert!(runtime.block_on(runtime.spawn(is_known_here())).unwrap());
            let blocking = || Handle::current().block_on(is_known_here());
            assert!(runtime.block_on(runtime.spawn_blocking(blocking)).unwrap());
            assert!(LocalSet::new().block_on(&runtime, is_known_here()));
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let in_place = async { block_in_place(|| Handle::current().block_on(is_known_here())) };
        assert!(runtime.block_on(runtime.spawn(in_place)).unwrap());
    }

    #[test]
    fn the_kits_own_waker_is_known_and_another_is_not() {
        struct Foreign;

        impl Wake for Foreign {
            fn wake(self: Arc<Self>) {}
        }

        assert!(park::wait_for(Box::pin(is_known_here())));
        assert!(is_known(Waker::noop()));
        assert!(!is_known(&Waker::from(Arc::new(Foreign))));
        assert!(!futures::executor::block_on(is_known_here()));
    }
}
