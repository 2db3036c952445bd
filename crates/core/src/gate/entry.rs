//! A gate that many pass at once until it is closed, and that says when the last of them has left.
//!
//! What it guards is somebody else's, and will be gone: an interpreter that is about to be finalized,
//! a library that is about to be unloaded. Threads that call into it enter before and leave after.
//! Whoever takes it away closes the gate, and waits until nobody is inside (experiment 60: a join of
//! the threads alone leaves those inside who outlive its limit, and lets those in who come late).
//!
//! It differs from a read-write lock in that a closed gate refuses and does not block, that closing
//! does not wait for those inside unless asked to, and that waiting has a limit.

use std::{fmt, future::Future, time::Duration};

use thiserror::Error;

use crate::{
    latch::Latch,
    sync::{AtomicUsize, Ordering},
};

/// Set for good when the gate is closed. The bits above count who is inside.
const CLOSED: usize = 1;
/// One who is inside.
const ONE: usize = 2;

/// A gate that is open, and then closed for good.
///
/// ```
/// use std::time::Duration;
/// use sundown::gate::{Closed, EntryGate};
///
/// let gate = EntryGate::new();
/// let inside = gate.enter().unwrap();
/// assert_eq!(gate.close(), 1, "one is inside");
/// assert_eq!(gate.enter().unwrap_err(), Closed);
/// assert_eq!(gate.wait_empty_blocking(Duration::ZERO).unwrap_err().inside, 1);
/// drop(inside);
/// assert!(gate.wait_empty_blocking(Duration::ZERO).is_ok());
/// ```
pub struct EntryGate {
    /// Who is inside, and whether it is closed, in one atomic: nobody can enter between a look at the
    /// one and a change of the other.
    state: AtomicUsize,
    /// Fires when it is closed and nobody is inside, which then stays so.
    empty: Latch,
}

/// Nobody enters any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the gate is closed, and what is behind it is about to go; do without it")]
pub struct Closed;

/// The limit passed, and somebody is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "after {limit:.1?} {inside} are still inside the gate; wait on, or leave them what is behind it"
)]
pub struct StillInside {
    /// How many.
    pub inside: usize,
    /// How long they were waited for.
    pub limit: Duration,
}

impl EntryGate {
    /// An open gate.
    #[must_use]
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { state: AtomicUsize::new(0), empty: Latch::new() }
    }

    /// An open gate.
    #[must_use]
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { state: AtomicUsize::new(0), empty: Latch::new() }
    }

    /// Enters, until the entry is dropped. Never blocks. An entry that is forgotten is one that never
    /// leaves: right for a thread that has to stay where it is.
    ///
    /// # Errors
    ///
    /// [`Closed`], when it has been closed.
    pub fn enter(&self) -> Result<Entry<'_>, Closed> {
        let enter = |state| (state & CLOSED == 0).then_some(state + ONE);
        // Relaxed: whether the gate is open is decided by this atomic's own order, and who enters
        // relies on nothing that others did before. A fence between an entry and the end of what is
        // behind the gate is only needed on the way out.
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .map(|_| Entry { gate: self })
            .map_err(|_| Closed)
    }

    /// Closes the gate, for good, and returns how many are inside. Never blocks; may be called again.
    pub fn close(&self) -> usize {
        // Acquire: where nobody is inside, what those did who have left is seen here, and passed on
        // by the latch. Release: see `is_closed`.
        let before = self.state.fetch_or(CLOSED, Ordering::AcqRel);
        if before / ONE == 0 {
            self.empty.fire();
        }
        before / ONE
    }

    /// Waits in async code until the gate is closed and nobody is inside. What those did inside is
    /// visible then.
    pub fn wait_empty(&self) -> impl Future<Output = ()> + Unpin + '_ {
        self.empty.wait()
    }

    /// The same on this thread, for at most so long; a limit of zero looks once, [`Duration::MAX`] is
    /// none. An open gate is waited for until somebody closes it.
    ///
    /// # Errors
    ///
    /// [`StillInside`], when the limit has passed; that may be waited for again.
    pub fn wait_empty_blocking(&self, limit: Duration) -> Result<(), StillInside> {
        if self.empty.wait_blocking(limit) {
            return Ok(());
        }
        Err(StillInside { inside: self.inside(), limit })
    }

    /// How many are inside, at some moment that has passed.
    #[must_use]
    pub fn inside(&self) -> usize {
        // A number to tell somebody, which orders nothing.
        self.state.load(Ordering::Relaxed) / ONE
    }

    /// Whether it has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Pairs with the release in `close`: what the closer did before is visible to who sees it.
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    fn leave(&self) {
        // Release: what was done inside comes before the leaving. Acquire: the last to leave has seen
        // what the others did, whose leaving it passes on by the latch.
        let before = self.state.fetch_sub(ONE, Ordering::AcqRel);
        if before == ONE | CLOSED {
            self.empty.fire();
        }
    }
}

/// Somebody inside an [`EntryGate`], for as long as it lives.
#[must_use = "it leaves when it is dropped"]
pub struct Entry<'a> {
    gate: &'a EntryGate,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

impl Default for EntryGate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EntryGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryGate")
            .field("closed", &self.is_closed())
            .field("inside", &self.inside())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn nobody_enters_a_closed_gate_and_the_last_to_leave_lets_the_closer_through() {
        let gate = Arc::new(EntryGate::new());
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!((gate.inside(), gate.is_closed()), (2, false));
        let waiter = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.wait_empty_blocking(Duration::from_secs(60))
        });
        assert_eq!(gate.close(), 2);
        assert_eq!(gate.enter().unwrap_err(), Closed);
        drop(first);
        let still = gate.wait_empty_blocking(Duration::ZERO).unwrap_err();
        assert_eq!(still, StillInside { inside: 1, limit: Duration::ZERO });
        drop(second);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert_eq!(gate.close(), 0, "it may be closed again");
    }

    #[test]
    fn an_open_gate_is_not_empty_however_few_are_inside() {
        let gate = EntryGate::new();
        drop(gate.enter());
        assert!(gate.wait_empty_blocking(Duration::ZERO).is_err());
        gate.close();
        assert!(gate.wait_empty_blocking(Duration::ZERO).is_ok());
    }

    #[test]
    fn a_forgotten_entry_never_leaves() {
        let gate = EntryGate::new();
        std::mem::forget(gate.enter());
        gate.close();
        assert_eq!(gate.wait_empty_blocking(Duration::from_millis(5)).unwrap_err().inside, 1);
    }
}
