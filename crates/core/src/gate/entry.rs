//! A gate that many threads pass until it is closed.

use std::{fmt, future::Future, time::Duration};

use thiserror::Error;

use crate::{
    latch::Latch,
    sync::{AtomicUsize, Ordering},
};

/// Set for good when the gate is closed. The bits above count the entries.
const CLOSED: usize = 1;
/// One entry.
const ONE: usize = 2;

/// A gate in front of something that will go away: an interpreter that is about to be finalized, a
/// library that is about to be unloaded.
///
/// A thread that calls into it [enters](EntryGate::enter) before the call and leaves after it. To
/// take the thing away, close the gate and wait until nobody is inside. Joining the threads is not
/// enough: if the join has a limit, a thread that is still running after it calls in later (experiment 60).
///
/// With an `RwLock`, a thread that arrives after the writer blocks; a closed gate refuses it. Closing does
/// not wait for the threads inside: waiting is a separate call, with a limit.
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
#[derive(Default)]
pub struct EntryGate {
    /// The count and the closed bit in one atomic, so that nobody can enter between a look at one
    /// and a change of the other.
    state: AtomicUsize,
    /// Fires when the gate is closed and nobody is inside. Both stay so.
    empty: Latch,
}

/// The gate is closed, and no thread can enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the gate is closed, because the resource behind it is about to go away; do not use it")]
pub struct Closed;

/// The limit passed while threads were inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{inside} still inside the gate after {limit:.1?}; wait again, or keep the resource behind it"
)]
pub struct StillInside {
    /// The number of entries inside.
    pub inside: usize,
    /// How long this call waited.
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

    /// Enters. Dropping the returned entry leaves. Never blocks.
    ///
    /// An entry that you `mem::forget` never leaves. Use this for a thread that can never return.
    ///
    /// # Errors
    ///
    /// [`Closed`], if the gate has been closed.
    pub fn enter(&self) -> Result<Entry<'_>, Closed> {
        let enter = |state| (state & CLOSED == 0).then_some(state + ONE);
        // Relaxed: this atomic's own order decides whether the gate is open, and the caller relies
        // on nothing that others did before. What happens inside is ordered before the end of what
        // is behind the gate by `leave`.
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .map(|_| Entry { gate: self })
            .map_err(|_| Closed)
    }

    /// Closes the gate permanently and returns the number of entries inside. Never blocks. A second call
    /// only returns the number.
    pub fn close(&self) -> usize {
        // Acquire: if nobody is inside, what those did who have left is seen here and passed on by
        // the latch. Release: see `is_closed`.
        let before = self.state.fetch_or(CLOSED, Ordering::AcqRel);
        if before / ONE == 0 {
            self.empty.fire();
        }
        before / ONE
    }

    /// Waits in async code until the gate is closed and no thread is inside. Everything done inside
    /// happens-before the end of this wait. While the gate is open, this keeps waiting.
    pub fn wait_empty(&self) -> impl Future<Output = ()> + Unpin + '_ {
        self.empty.wait()
    }

    /// Same as [`wait_empty`](Self::wait_empty), on a plain thread and with a limit. A limit of zero
    /// checks once; [`Duration::MAX`] means no limit.
    ///
    /// # Errors
    ///
    /// [`StillInside`], if the limit passes first. You can wait again.
    pub fn wait_empty_blocking(&self, limit: Duration) -> Result<(), StillInside> {
        if self.empty.wait_blocking(limit) {
            return Ok(());
        }
        Err(StillInside { inside: self.inside(), limit })
    }

    /// The number of entries inside (a snapshot).
    #[must_use]
    pub fn inside(&self) -> usize {
        // Relaxed: a number for a report, which orders nothing.
        self.state.load(Ordering::Relaxed) / ONE
    }

    /// Whether the gate has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Acquire pairs with the release in `close`: what the closer did before is visible.
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    fn leave(&self) {
        // Release: what was done inside comes before leaving. Acquire: the last to leave has seen
        // what the others did inside, and passes it on by the latch.
        let before = self.state.fetch_sub(ONE, Ordering::AcqRel);
        if before == ONE | CLOSED {
            self.empty.fire();
        }
    }
}

/// An entry into an [`EntryGate`]. Dropping it leaves the gate.
#[derive(Debug)]
#[must_use = "dropping the entry leaves the gate at once"]
pub struct Entry<'a> {
    gate: &'a EntryGate,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.gate.leave();
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;
    use crate::limit::PLENTY;

    #[test]
    fn nobody_enters_a_closed_gate_and_the_last_to_leave_lets_the_closer_through() {
        let gate = Arc::new(EntryGate::new());
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!((gate.inside(), gate.is_closed()), (2, false));
        let waiter = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.wait_empty_blocking(PLENTY)
        });
        assert_eq!((gate.close(), gate.is_closed()), (2, true));
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
