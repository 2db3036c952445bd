//! Which task is being polled on this thread.
//!
//! A task leaves its waker in its slot once, before its body is polled. If a [`Stop`](super::stop) of
//! the same set is polled in there with that waker, it has nothing left to register. It needs no lock
//! and no waker of its own, only to know where it is polled.

use std::{cell::Cell, ptr, task::Waker};

use super::TaskSet;

/// A task in the middle of a poll. The pointers are compared and never followed. While the poll lasts
/// what they point to is borrowed, so nothing else can be at the same address.
struct CurrentTask {
    tasks: Cell<*const TaskSet>,
    /// The very waker that the task was polled with. A future in between may have wakers of its own,
    /// as a `FuturesUnordered` does, and what it polls must be woken by those.
    waker: Cell<*const Waker>,
}

impl CurrentTask {
    const fn none() -> Self {
        Self { tasks: Cell::new(ptr::null()), waker: Cell::new(ptr::null()) }
    }
}

#[cfg(not(loom))]
thread_local! {
    // Without a destructor, so it can be used as long as the thread runs.
    static CURRENT: CurrentTask = const { CurrentTask::none() };
}
#[cfg(loom)]
crate::sync::thread_local! {
    static CURRENT: CurrentTask = CurrentTask::none();
}

/// Ends a poll, also by a panic.
struct End;

impl Drop for End {
    #[inline]
    fn drop(&mut self) {
        // If a task was polled in the middle of another's poll, the outer one is not restored: its
        // signals register by themselves then. That is rare, and saves a look in every poll.
        CURRENT.with(|current| current.tasks.set(ptr::null()));
    }
}

/// Polls the body of a task of this set, which has left this waker in its slot.
#[inline]
pub fn poll<R>(tasks: &TaskSet, waker: &Waker, body: impl FnOnce() -> R) -> R {
    CURRENT.with(|current| {
        current.tasks.set(tasks);
        current.waker.set(waker);
    });
    let _end = End;
    body()
}

/// Whether this is the poll of a task of this set, with the waker that the task has left.
#[inline]
pub fn is(tasks: &TaskSet, waker: &Waker) -> bool {
    CURRENT
        .with(|current| ptr::eq(current.tasks.get(), tasks) && ptr::eq(current.waker.get(), waker))
}

/// Whether this thread is in the middle of a poll of a task of any set.
#[cfg(not(loom))]
pub fn is_any() -> bool {
    CURRENT.with(|current| !current.tasks.get().is_null())
}
