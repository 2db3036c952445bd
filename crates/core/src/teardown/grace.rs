//! How long one thread is enough for a destructor, told between the threads of its lane.

use std::time::Duration;

use crate::{
    latch::Latch,
    sync::{AtomicBool, Ordering},
};

/// What the blocking thread of a lane waits for: that a destructor returns, or runs for long.
///
/// The lane's thread and its blocking thread are woken together, and either may be the first to run. If the
/// blocking thread reported a long destructor before that has begun, the supervisor would find none, and would
/// not look again. So the time counts from the beginning of the destructor.
#[derive(Default)]
pub struct Grace {
    woken: Latch,
    begun: AtomicBool,
    returned: Latch,
}

/// What the blocking thread finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The destructor has not begun: look again.
    NotBegun,
    /// The destructor has begun, and has not returned.
    Runs,
    /// The destructor has returned, or will never run.
    Returned,
}

impl Grace {
    /// A destructor is about to begin. Returns at once.
    pub fn wake(&self) {
        self.woken.fire();
    }

    /// The destructor begins. Call this when the supervisor can find it.
    pub fn begin(&self) {
        // Release: with what was done before, by which it is found.
        self.begun.store(true, Ordering::Release);
        self.woken.fire();
    }

    /// The destructor has returned, or will never run. Lets the blocking thread go.
    pub fn end(&self) {
        // In this order: the thread does not wait in between.
        self.returned.fire();
        self.woken.fire();
    }

    /// Waits for [`wake`](Self::wake), [`begin`](Self::begin) or [`end`](Self::end).
    pub fn wait(&self) {
        // Woken or timed out: it must not wait longer either way.
        let _ = self.woken.wait_blocking(Duration::MAX);
    }

    /// Waits until the destructor has returned, at most for this long.
    #[must_use]
    pub fn look(&self, limit: Duration) -> Found {
        if self.returned.wait_blocking(limit) {
            return Found::Returned;
        }
        // Acquire pairs with the store in `begin`.
        match self.begun.load(Ordering::Acquire) {
            true => Found::Runs,
            false => Found::NotBegun,
        }
    }
}
