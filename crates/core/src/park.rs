//! Waiting for a future on a plain thread.
//!
//! The thread also keeps the limits of what it waits for, so that a blocking call of
//! the kit needs no other thread for them.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

#[cfg(not(loom))]
use std::{
    cell::Cell, collections::BTreeSet, mem::ManuallyDrop, task::RawWakerVTable, time::Instant,
};

#[cfg(not(loom))]
use once_cell::race::OnceRef;

use crate::sync::{Condvar, Mutex, lock};

/// Polls a future on this thread until it is ready. Returns `None` once the limit has passed.
///
/// A limit of zero checks once. A limit that the clock cannot represent, such as [`Duration::MAX`],
/// means no limit. No runtime takes part in this, so the limit holds whatever runtimes are doing.
pub(crate) fn wait<F: Future + Unpin>(mut future: F, limit: Duration) -> Option<F::Output> {
    let deadline = Deadline::after(limit);
    let parker = Arc::new(Parker::default());
    let waker = waker_of(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    #[cfg(not(loom))]
    let _waiting = Waiting::here(&parker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
            return Some(output);
        }
        if !parker.park(&deadline) {
            // A wake-up at the very limit counts: check once more.
            return match Pin::new(&mut future).poll(&mut context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            };
        }
    }
}

/// Polls a future on this thread until it is ready. For futures that have a limit of their own.
#[cfg(not(loom))]
pub(crate) fn wait_for<F: Future + Unpin>(future: F) -> F::Output {
    wait_in_runtime(future, false)
}

/// How often a thread that may belong to a scheduler checks again without being woken.
#[cfg(not(loom))]
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Polls a future on this thread until it is ready, even on a worker of a runtime.
///
/// Tokio defers some wake-ups, for example that of `yield_now`, until the worker returns to its
/// scheduler. Here the worker does not return before the future is ready. So if `is_in_runtime`, the
/// future is polled every millisecond, woken or not.
#[cfg(not(loom))]
pub(crate) fn wait_in_runtime<F: Future + Unpin>(mut future: F, is_in_runtime: bool) -> F::Output {
    let limit = if is_in_runtime { LOOK_AGAIN } else { Duration::MAX };
    loop {
        if let Some(output) = wait(&mut future, limit) {
            return output;
        }
    }
}

/// A thread that waits to be woken, or for the first of its alarms.
///
/// This is not `std::thread::park`, because a thread has only one token for that, and the caller may
/// be using it for a protocol of its own.
#[derive(Default)]
pub(crate) struct Parker {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    woken: bool,
    /// Deadlines, each with a number that tells apart those at the same moment.
    #[cfg(not(loom))]
    alarms: BTreeSet<(Instant, u64)>,
    #[cfg(not(loom))]
    next: u64,
}

impl Parker {
    /// Waits to be woken, at once or until the deadline. Returns `false` once the deadline has passed.
    fn park(&self, deadline: &Deadline) -> bool {
        let mut state = lock(&self.state);
        while !state.woken {
            let Some(left) = deadline.left() else { return false };
            #[cfg(not(loom))]
            let left = match state.until_first_alarm() {
                Some(Duration::ZERO) => break,
                Some(until_alarm) => left.min(until_alarm),
                None => left,
            };
            state = match self.wake.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        state.woken = false;
        // A future that wakes each time does not go on beyond the limit.
        deadline.left().is_some()
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.state).woken = true;
        // After the lock is released, so that the woken thread does not have to wait for it.
        self.wake.notify_one();
    }
}

/// The waker of a parker. All are made here, in one place that is compiled once: an optimized build may
/// hold several copies of a waker's functions, and [`is_parker`] compares those.
#[inline(never)]
fn waker_of(parker: Arc<Parker>) -> Waker {
    parker.into()
}

/// Whether this is the waker of a thread that waits here.
#[cfg(not(loom))]
pub(crate) fn is_parker(waker: &Waker) -> bool {
    // No `OnceLock`: a child that was forked while it is set would wait for ever.
    static VTABLE: OnceRef<'static, RawWakerVTable> = OnceRef::new();
    let vtable = || waker_of(Arc::default()).vtable();
    VTABLE.get_or_init(vtable) == waker.vtable()
}

#[cfg(not(loom))]
impl Parker {
    /// Whether this is the waker of this parker.
    pub(crate) fn is_woken_by(&self, waker: &Waker) -> bool {
        // Not `will_wake`, which also compares the addresses of vtables: the compiler may make several
        // of the same. The waker of an `Arc` points to its contents, and nobody else makes a waker of
        // that pointer.
        waker.data() == std::ptr::from_ref(self).cast()
    }

    /// Makes the thread poll again at this moment. To be called on that thread, in a poll.
    pub(crate) fn set_alarm(&self, at: Instant) -> (Instant, u64) {
        let mut state = lock(&self.state);
        state.next += 1;
        let alarm = (at, state.next);
        state.alarms.insert(alarm);
        alarm
    }

    pub(crate) fn unset_alarm(&self, alarm: (Instant, u64)) {
        lock(&self.state).alarms.remove(&alarm);
    }
}

#[cfg(not(loom))]
impl State {
    /// The time until the first alarm. Zero means that it goes off: then it is no longer set, nor are
    /// the others that are due.
    fn until_first_alarm(&mut self) -> Option<Duration> {
        let (first, _) = *self.alarms.first()?;
        let now = Instant::now();
        if now >= first {
            self.alarms = self.alarms.split_off(&(now, u64::MAX));
        }
        Some(first.saturating_duration_since(now))
    }
}

#[cfg(not(loom))]
thread_local! {
    /// What the innermost wait of this thread waits with. Without a destructor, which would keep a
    /// library loaded for as long as the thread lives: `Waiting` takes out what it puts in.
    static HERE: Cell<Option<ManuallyDrop<Arc<Parker>>>> = const { Cell::new(None) };
}

/// The thread that this runs on, if it waits for what it is polling, with this waker. A combinator may
/// poll with a waker of its own: then `None`.
#[cfg(not(loom))]
pub(crate) fn waiting_here(waker: &Waker) -> Option<Arc<Parker>> {
    let here = HERE.take()?;
    let parker = here.is_woken_by(waker).then(|| Arc::clone(&here));
    HERE.set(Some(here));
    parker
}

/// While this exists, this thread waits with a parker.
#[cfg(not(loom))]
struct Waiting {
    outer: Option<ManuallyDrop<Arc<Parker>>>,
}

#[cfg(not(loom))]
impl Waiting {
    fn here(parker: &Arc<Parker>) -> Self {
        Self { outer: HERE.replace(Some(ManuallyDrop::new(Arc::clone(parker)))) }
    }
}

#[cfg(not(loom))]
impl Drop for Waiting {
    fn drop(&mut self) {
        let parker = HERE.replace(self.outer.take());
        drop(parker.map(ManuallyDrop::into_inner));
    }
}

/// When to give up.
#[cfg(not(loom))]
struct Deadline(Option<Instant>);

#[cfg(not(loom))]
impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// How much time is left; `None` if the deadline has passed.
    fn left(&self) -> Option<Duration> {
        let Some(deadline) = self.0 else { return Some(Duration::MAX) };
        let left = deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// Loom knows no time: a limit is either zero or never reached. A model represents a timeout by a
/// thread that races with the event.
#[cfg(loom)]
struct Deadline(Duration);

#[cfg(loom)]
impl Deadline {
    const fn after(limit: Duration) -> Self {
        Self(limit)
    }

    fn left(&self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}
