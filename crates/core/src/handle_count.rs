//! The count of a session: how many values still have handles, whether the session takes more values,
//! and when the last one has gone. Where the handles were made is in `call_sites`.

use crate::{
    latch::Latch,
    sync::{AtomicUsize, Ordering},
};

/// Set once the session closes. It is in one word with the number of values, so that "no value is
/// left" and "no more values can come" become true at once.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// Counts the values of a session that still have handles. A value is counted from when it is guarded
/// until it has been queued to be torn down, after its last handle was dropped.
///
/// An open session takes any value. A closing session takes only a value that is derived from one that
/// it still has, and which keeps it from being closed. Closed is not a third state: a closing session
/// without values has none to derive another from.
pub struct HandleCount {
    word: AtomicUsize,
    /// How many values were taken out of their handle.
    escaped: AtomicUsize,
    closed: Latch,
}

impl HandleCount {
    /// An open session without values. Its callers wait for the latch.
    #[must_use]
    pub fn with(closed: Latch) -> Self {
        Self { word: AtomicUsize::new(0), escaped: AtomicUsize::new(0), closed }
    }

    /// Adds a value from outside. Returns `false` once closing has begun.
    #[must_use]
    pub fn add(&self) -> bool {
        // Relaxed on success: adding a value publishes nothing, and a read-modify-write continues the
        // release sequence of the removals. Acquire on failure: a caller who is refused sees what was
        // done before closing began.
        let added = self.word.fetch_update(Ordering::Relaxed, Ordering::Acquire, |word| {
            (word & CLOSING == 0).then_some(word + 1)
        });
        added.is_ok()
    }

    /// Adds a value that is derived from another, which must stay counted during this call.
    pub fn add_derived(&self) {
        // Relaxed: as in `add`.
        self.word.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a value. Everything that was done with it is visible to everyone who sees the session
    /// closed: each removal releases it, in a chain of read-modify-writes that the last one acquires.
    pub fn remove(&self) {
        if self.word.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1 {
            self.closed.fire();
        }
    }

    /// Counts a value as taken out of its handle. Call [`remove`](Self::remove) after this.
    pub fn escape(&self) {
        // Relaxed: `remove` publishes it to everyone who sees the session closed.
        self.escaped.fetch_add(1, Ordering::Relaxed);
    }

    /// How many values were taken out of their handle (a snapshot).
    pub fn escaped(&self) -> usize {
        // Relaxed: as in `escape`.
        self.escaped.load(Ordering::Relaxed)
    }

    /// Begins to close. A second call changes nothing.
    pub fn close(&self) {
        // Release: for callers who are refused. Acquire: this thread may be the one that fires the
        // latch, and then publishes what was done with the removed values.
        if self.word.fetch_or(CLOSING, Ordering::AcqRel) & !CLOSING == 0 {
            self.closed.fire();
        }
    }

    /// Fires when the session is closing and has no values left. No more can come then.
    pub const fn closed(&self) -> &Latch {
        &self.closed
    }

    /// How many values still have handles (a snapshot).
    pub fn values(&self) -> usize {
        // Acquire: a caller who misses a value sees what was done before it was removed.
        self.word.load(Ordering::Acquire) & !CLOSING
    }
}
