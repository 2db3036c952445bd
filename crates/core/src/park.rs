//! Waiting for a future on a plain thread.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::sync::{Condvar, Mutex, lock};

/// Polls a future on this thread until it is ready. Returns `None` once the limit has passed.
///
/// A limit of zero checks once. A limit that the clock cannot represent, such as [`Duration::MAX`],
/// means no limit. No runtime takes part in this, so the limit holds whatever runtimes are doing.
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

/// A thread that waits to be woken.
///
/// This is not `std::thread::park`, because a thread has only one token for that, and the caller may
/// be using it for a protocol of its own.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Parker {
    /// Waits to be woken. Returns `false` once the deadline has passed.
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
        // After the lock is released, so that the woken thread does not have to wait for it.
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

    /// How much time is left; `None` if the deadline has passed.
    fn left(&self) -> Option<Duration> {
        let Some(deadline) = self.0 else { return Some(Duration::MAX) };
        let left = deadline.saturating_duration_since(std::time::Instant::now());
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
