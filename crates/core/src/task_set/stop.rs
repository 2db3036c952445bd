//! The stop signal that a task holds.
//!
//! A loop that selects on a signal makes a new future in each iteration, and the usual signals pay for
//! that: `CancellationToken::cancelled()` enters and leaves a locked list every time. Here the
//! registration belongs to the handle and not to the future, and lasts across iterations. An iteration
//! costs one load of a flag and one comparison.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    Command, TaskSet, current_task,
    registry::{Exit, Slot},
};
use crate::waker;

/// A stop signal. It is a future that completes once the task should stop. After that it stays ready:
/// `.await` it, select on `&mut stop`, or pass it to a function that takes a future, such as
/// `axum::serve(…).with_graceful_shutdown(stop)`.
///
/// ```
/// # use sundown::stop::Stop;
/// async fn work(mut stop: Stop) {
///     let mut interval = tokio::time::interval(std::time::Duration::from_secs(60));
///     loop {
///         tokio::select! {
///             () = &mut stop => break,
///             _ = interval.tick() => { /* work */ }
///         }
///     }
/// }
/// ```
///
/// You may send a clone to another task. Each clone is woken independently.
pub struct Stop {
    tasks: Arc<TaskSet>,
    /// A slot of its own, if it was polled outside a task of the set.
    slot: Slot,
    /// The waker that is registered there. It is kept alive so that no other waker can come to the
    /// same address and be mistaken for it.
    registered: Option<Waker>,
}

impl Stop {
    pub(crate) const fn of(tasks: Arc<TaskSet>) -> Self {
        Self { tasks, slot: Slot::NONE, registered: None }
    }

    /// Whether the task should stop. Costs one atomic load.
    #[must_use]
    #[inline]
    pub fn is_raised(&self) -> bool {
        self.tasks.command() > Command::Run
    }

    /// The tasks that this signal is for.
    #[cfg(not(loom))]
    pub(crate) const fn tasks(&self) -> &Arc<TaskSet> {
        &self.tasks
    }

    /// Registers a waker that a stop or an abort wakes, even after this signal is dropped.
    #[cfg(all(feature = "tokio-util", not(loom)))]
    pub(crate) fn wake_for_good(&self, waker: Waker) {
        self.tasks.registry().listen(waker);
    }

    /// Registers a waker, and then checks again. Rare: an iteration of a loop does not get here.
    #[cold]
    fn register(&mut self, waker: &Waker) -> Poll<()> {
        let registry = self.tasks.registry();
        let (Some(kept), Some(compared)) = (waker::clone(waker), waker::clone(waker)) else {
            return Poll::Pending;
        };
        if self.slot == Slot::NONE {
            self.slot = registry.listen(kept);
        } else {
            registry.replace_waker(self.slot, kept);
        }
        waker::discard(self.registered.replace(compared));
        // Either the wake-up has not passed yet and will find the waker, or the signal is raised.
        if self.is_raised() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Future for Stop {
    type Output = ();

    // Inlined, because a call would be most of what a turn costs.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_raised() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        match &self.registered {
            Some(registered) if registered.will_wake(waker) => Poll::Pending,
            // The task has left this waker, under the lock of its slot, before it polled its body.
            // Either the wake-up will find it there, or it passed before; then the signal is raised.
            _ if current_task::is(&self.tasks, waker) => Poll::Pending,
            _ => self.register(waker),
        }
    }
}

impl Clone for Stop {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.tasks))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if self.slot != Slot::NONE {
            self.tasks.registry().remove(self.slot, Exit::Uncounted);
        }
        waker::discard(self.registered.take());
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("is_raised", &self.is_raised()).finish_non_exhaustive()
    }
}
