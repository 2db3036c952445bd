//! Waiting on a plain thread for what is usually awaited.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::sync::{Condvar, Mutex, lock};

/// Polls a future on this thread until it is ready or the limit has passed; then `None`.
///
/// A limit of zero looks once. A limit beyond what the clock can tell, [`Duration::MAX`] say, is
/// none. No runtime and no timer of one is involved: the limit holds whatever they are doing.
pub(crate) fn wait<F: Future + Unpin>(mut future: F, limit: Duration) -> Option<F::Output> {
    let deadline = Deadline::after(limit);
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
            return Some(output);
        }
        if !parker.park(&deadline) {
            // Woken at the very limit counts: what it was woken for is there.
            return match Pin::new(&mut future).poll(&mut context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            };
        }
    }
}

/// Polls a future on this thread until it is ready, however long that takes. What the kit waits for
/// by this has a limit of its own.
#[cfg(not(loom))]
pub(crate) fn wait_for<F: Future + Unpin>(future: F) -> F::Output {
    wait_in_runtime(future, false)
}

/// How long a thread that may have a scheduler under it waits before it looks again by itself.
#[cfg(not(loom))]
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Polls a future on this thread until it is ready, whatever this thread is in the middle of.
///
/// Tokio puts some wake-ups off until the thread returns to the scheduler that it is a worker of:
/// `yield_now`, for one, does that. Here it does not return before the future is ready. So where
/// the thread `is_in_runtime`, what should have been woken is looked at every now and then.
#[cfg(not(loom))]
pub(crate) fn wait_in_runtime<F: Future + Unpin>(mut future: F, is_in_runtime: bool) -> F::Output {
    loop {
        let limit = if is_in_runtime { LOOK_AGAIN } else { Duration::MAX };
        if let Some(output) = wait(&mut future, limit) {
            return output;
        }
    }
}

/// A thread that waits to be woken.
///
/// Not `std::thread::park`: its token belongs to whoever uses the thread, who may be in the middle
/// of a protocol of their own.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Parker {
    /// Waits until woken; `false` once the deadline has passed without it.
    fn park(&self, deadline: &Deadline) -> bool {
        let mut woken = lock(&self.woken);
        while !*woken {
            let Some(left) = deadline.left() else { return false };
            woken = match self.wake.wait_timeout(woken, left) {
                Ok((woken, _)) => woken,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        *woken = false;
        true
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.woken) = true;
        // After the lock is free, so that the woken thread does not meet it closed.
        self.wake.notify_one();
    }
}

/// When to give up.
#[cfg(not(loom))]
struct Deadline(Option<std::time::Instant>);

#[cfg(not(loom))]
impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(std::time::Instant::now().checked_add(limit))
    }

    /// How much is left; `None` if nothing is.
    fn left(&self) -> Option<Duration> {
        let Some(deadline) = self.0 else { return Some(Duration::MAX) };
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// Loom knows no time: a limit is either zero or never reached. A timeout is modelled by a thread
/// that races.
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
