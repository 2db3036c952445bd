//! The point of no return: an operation is either cancelled or committed, never both.

use thiserror::Error;

use crate::sync::{AtomicU8, Ordering};

/// Neither cancelled nor committed. Either may follow.
const OPEN: u8 = 0;
/// Cancelled for good. A commit fails.
const CANCELLED: u8 = 1;
/// Committed for good. A cancel comes too late.
const COMMITTED: u8 = 2;

/// A gate that is either cancelled or committed, whichever comes first.
///
/// With two flags, one for "cancelled" and one for "past the point of no return", both can be set,
/// and each side believes that it was first (experiment 22). This gate is one atomic, so only one side
/// succeeds: if a cancel is [`Accepted`](Cancel::Accepted), no commit can follow. No method blocks.
///
/// ```
/// use sundown::gate::{Cancel, Cancelled, CommitGate};
///
/// let gate = CommitGate::new();
/// assert_eq!(gate.commit(), Ok(()));
/// assert_eq!(gate.cancel(), Cancel::TooLate);
///
/// let gate = CommitGate::new();
/// assert_eq!(gate.cancel(), Cancel::Accepted);
/// assert_eq!(gate.commit(), Err(Cancelled));
/// ```
#[derive(Debug, Default)]
pub struct CommitGate(AtomicU8);

/// The result of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a cancel may be too late"]
pub enum Cancel {
    /// This call cancelled the operation.
    Accepted,
    /// An earlier call had cancelled it.
    AlreadyCancelled,
    /// The operation has been committed and continues.
    TooLate,
}

/// The commit failed, because the operation had been cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[error("cancelled before the point of no return; nothing was committed, and it can be undone")]
pub struct Cancelled;

crate::debug_as_text!(Cancelled);

impl CommitGate {
    /// An open gate.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(OPEN))
    }

    /// An open gate.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU8::new(OPEN))
    }

    /// Asks to cancel the operation.
    pub fn cancel(&self) -> Cancel {
        match self.close(CANCELLED) {
            Ok(()) => Cancel::Accepted,
            Err(COMMITTED) => Cancel::TooLate,
            Err(_) => Cancel::AlreadyCancelled,
        }
    }

    /// Passes the point of no return. A second commit succeeds, too.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], if a cancel was accepted before.
    pub fn commit(&self) -> Result<(), Cancelled> {
        match self.close(COMMITTED) {
            Ok(()) | Err(COMMITTED) => Ok(()),
            Err(_) => Err(Cancelled),
        }
    }

    /// Whether a cancel was accepted.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // Acquire pairs with the release in `close`.
        self.0.load(Ordering::Acquire) == CANCELLED
    }

    /// Whether the point of no return has been passed.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        // Acquire pairs with the release in `close`.
        self.0.load(Ordering::Acquire) == COMMITTED
    }

    /// Closes an open gate. If it is closed already, the error is its state.
    fn close(&self, to: u8) -> Result<(), u8> {
        // On success, Release publishes what this party did before to everyone who sees the state.
        // On failure, Acquire shows what the other party did before it closed the gate.
        let closed = self.0.compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire);
        closed.map(drop)
    }
}
