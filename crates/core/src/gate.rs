//! The point of no return: an operation is either cancelled or committed, never both. And a gate
//! that many pass at once until it is closed ([`EntryGate`]).

mod entry;

use thiserror::Error;

use crate::sync::{AtomicU8, Ordering};

pub use entry::{Closed, Entry, EntryGate, StillInside};

/// Neither cancelled nor committed. Either may follow.
const OPEN: u8 = 0;
/// Cancelled, for good. Whoever wants to commit is told so.
const CANCELLED: u8 = 1;
/// Committed, for good. Whoever wants to cancel is told that it is too late.
const COMMITTED: u8 = 2;

/// A gate that one of two parties closes: the one that cancels, or the one that commits.
///
/// With two separate flags, one for "cancelled" and one for "past the point of no return", both can
/// be set, and each party believes to have won (claim B8). Here there is one atomic and one winner:
/// a cancel that is [`Accepted`](Cancel::Accepted) will be honoured, because no commit can follow.
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
#[derive(Debug)]
pub struct CommitGate(AtomicU8);

/// What became of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a cancel may be too late"]
pub enum Cancel {
    /// It is cancelled, by this call.
    Accepted,
    /// It was cancelled before.
    AlreadyCancelled,
    /// It was committed before, and goes on to its end.
    TooLate,
}

/// The commit did not happen: somebody cancelled first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cancelled before the point of no return; nothing was committed, and it can be undone")]
pub struct Cancelled;

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

    /// Asks for the end of it. Never blocks.
    pub fn cancel(&self) -> Cancel {
        match self.close(CANCELLED) {
            Ok(()) => Cancel::Accepted,
            Err(COMMITTED) => Cancel::TooLate,
            Err(_) => Cancel::AlreadyCancelled,
        }
    }

    /// Passes the point of no return. A second commit finds it passed, and is fine. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], when a cancel was accepted before.
    pub fn commit(&self) -> Result<(), Cancelled> {
        match self.close(COMMITTED) {
            Ok(()) | Err(COMMITTED) => Ok(()),
            Err(_) => Err(Cancelled),
        }
    }

    /// Whether a cancel was accepted.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // Pairs with the release in `close`.
        self.0.load(Ordering::Acquire) == CANCELLED
    }

    /// Whether the point of no return has been passed.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        // Pairs with the release in `close`.
        self.0.load(Ordering::Acquire) == COMMITTED
    }

    /// Closes an open gate; an error holds the state in which it was closed already.
    fn close(&self, to: u8) -> Result<(), u8> {
        // Success releases what this party did before, to whoever sees the state; failure acquires
        // what the other party did before it closed the gate.
        let closed = self.0.compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire);
        closed.map(drop)
    }
}

impl Default for CommitGate {
    fn default() -> Self {
        Self::new()
    }
}
