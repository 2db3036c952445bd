//! Calls the wakers of stop signals that are polled outside the tasks of their set.
//!
//! A task's own waker is Tokio's, which only queues the task. The waker of a signal that was given away
//! belongs to any executor. It is foreign code: it may panic, block, or call back. So all tasks are woken
//! first. Then the signals that are polled in tasks of Tokio are woken, too, on the calling thread. The
//! others are called on a thread of their own, so that one that blocks delays neither its neighbours nor
//! the caller, who has a limit to keep.

use std::{
    collections::VecDeque,
    ptr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicPtr, Ordering},
    },
    task::{RawWakerVTable, Waker},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{sync::lock, waker};

/// The name of the threads.
pub const THREAD: &str = "sundown-wakers";

/// How long the caller waits for wakers to return. Those of well-behaved executors take microseconds, and
/// then no thread is left behind. After that, a waker counts as stuck, and the next one is called on
/// another thread.
const PATIENCE: Duration = Duration::from_millis(50);

/// The functions of the wakers of Tokio's tasks, once one has been seen.
static TOKIO: AtomicPtr<RawWakerVTable> = AtomicPtr::new(ptr::null_mut());

/// Learns how to tell wakers of Tokio's tasks, from one of them. Tokio has one set of functions for all of them (a
/// `static`). If that changes, more wakers are called on a thread of their own, and nothing else.
#[inline]
pub fn learn(waker: &Waker) {
    // Relaxed: only the address is compared, and nothing is read through it.
    if TOKIO.load(Ordering::Relaxed).is_null() {
        TOKIO.store(ptr::from_ref(waker.vtable()).cast_mut(), Ordering::Relaxed);
    }
}

/// Whether waking cannot block.
fn is_known(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), TOKIO.load(Ordering::Relaxed)) || waker.will_wake(Waker::noop())
}

/// The wakers that one command found, of all the sets that it reached.
pub struct Wakers {
    /// When the caller stops waiting for them.
    patient_until: Option<Instant>,
}

impl Wakers {
    pub const fn new() -> Self {
        Self { patient_until: None }
    }

    /// Wakes all. Returns what is left to wait for, if a waker is stuck.
    pub fn wake(&mut self, wakers: Vec<Waker>) -> Option<Arc<Stuck>> {
        let (known, foreign): (Vec<_>, Vec<_>) = wakers.into_iter().partition(is_known);
        waker::wake_all(known);
        if foreign.is_empty() {
            return None;
        }
        let calls = Arc::new(Calls::new(foreign));
        let Some(first) = calls.start() else {
            // The system has no thread left. Late is better than never.
            calls.run();
            return None;
        };
        let until = *self.patient_until.get_or_insert_with(|| Instant::now() + PATIENCE);
        if calls.have_ended(until) {
            let _ = first.join();
            return None;
        }
        Some(Arc::new(Stuck(Mutex::new(supervise(calls, first)))))
    }
}

/// A thread that waits for wakers that are stuck.
pub struct Stuck(Mutex<Option<JoinHandle<()>>>);

impl Stuck {
    /// Whether all wakers have returned, and no thread that called one exists any more.
    pub fn has_ended(&self) -> bool {
        let mut thread = lock(&self.0);
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return false;
        }
        // Under the lock, so that another caller is not answered before the thread is gone. It has
        // nothing left to do.
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
        true
    }
}

/// Waits for all wakers to return, on a thread of its own that calls none of them. Each time that one is
/// stuck, it starts another thread for those that are left.
fn supervise(calls: Arc<Calls>, first: JoinHandle<()>) -> Option<JoinHandle<()>> {
    let first = Arc::new(Mutex::new(Some(first)));
    let supervisor = {
        let first = Arc::clone(&first);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            let mut threads = Vec::from_iter(lock(&first).take());
            let mut begun = None;
            while !calls.have_ended(Instant::now() + PATIENCE)
                && let Some(now) = calls.begun()
            {
                if begun.replace(now) == Some(now) {
                    threads.extend(calls.start());
                }
            }
            for thread in threads {
                let _ = thread.join();
            }
        })
    };
    // Without a supervisor the first thread is what is left to wait for.
    supervisor.ok().or_else(|| lock(&first).take())
}

/// Wakers that are called one after another, by one thread as long as none is stuck.
struct Calls {
    state: Mutex<State>,
    have_ended: Condvar,
}

struct State {
    queue: VecDeque<Waker>,
    /// How many have been called.
    begun: usize,
    /// How many of these have not returned.
    running: usize,
}

impl Calls {
    fn new(wakers: Vec<Waker>) -> Self {
        let state = State { queue: wakers.into(), begun: 0, running: 0 };
        Self { state: Mutex::new(state), have_ended: Condvar::new() }
    }

    fn start(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let calls = Arc::clone(self);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || calls.run()).ok()
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        while let Some(waker) = state.queue.pop_front() {
            state.begun += 1;
            state.running += 1;
            drop(state);
            waker::wake(waker);
            state = lock(&self.state);
            state.running -= 1;
        }
        let is_last = state.running == 0;
        drop(state);
        if is_last {
            self.have_ended.notify_all();
        }
    }

    /// Waits until all wakers have returned, or this moment.
    fn have_ended(&self, until: Instant) -> bool {
        let mut state = lock(&self.state);
        while state.running > 0 || !state.queue.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.have_ended.wait_timeout(state, left) {
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
