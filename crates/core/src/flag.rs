//! A flag that goes up once and never comes down.

use crate::sync::{AtomicBool, Ordering};

/// A one-way flag: once raised, it stays so. Of many who raise it, exactly one is told that it was
/// its doing.
///
/// It signals nobody; for that there is [`Latch`](crate::latch::Latch). No method blocks or fails.
///
/// ```
/// use sundown::flag::Flag;
///
/// static CLOSING: Flag = Flag::new();
///
/// assert!(CLOSING.raise(), "this call did it");
/// assert!(!CLOSING.raise(), "this one came later");
/// assert!(CLOSING.is_raised());
/// ```
#[derive(Debug)]
pub struct Flag(AtomicBool);

impl Flag {
    /// A flag that is down.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// A flag that is down.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Raises the flag. Returns whether *this* call raised it: true exactly once.
    ///
    /// What the raising thread did before is visible to every thread that sees the flag up.
    pub fn raise(&self) -> bool {
        // Release publishes what was done before; Acquire lets a loser see what the winner did.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether the flag is up.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        // Pairs with the release in `raise`.
        self.0.load(Ordering::Acquire)
    }
}

impl Default for Flag {
    fn default() -> Self {
        Self::new()
    }
}
