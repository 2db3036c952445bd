//! A flag that is raised once and stays raised.

use crate::sync::{AtomicBool, Ordering};

/// A one-way flag. If several threads raise it, exactly one of the calls returns `true`.
///
/// With an `AtomicBool` it is easy to get "who was first" wrong, by a load and a store. `std::sync::Once`
/// runs code and makes other threads wait for it. A flag does not make threads wait, and does not wake
/// any: for that there is [`Latch`](crate::latch::Latch). No method blocks or fails.
///
/// ```
/// use sundown::flag::Flag;
///
/// static CLOSING: Flag = Flag::new();
///
/// assert!(CLOSING.raise(), "this call raised it");
/// assert!(!CLOSING.raise(), "this call came later");
/// assert!(CLOSING.is_raised());
/// ```
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// A flag that is not raised.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// A flag that is not raised.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Raises the flag. Returns whether *this* call raised it: true exactly once.
    ///
    /// Every thread that sees the flag raised also sees what the raising thread did before.
    pub fn raise(&self) -> bool {
        // Release publishes what was done before; Acquire lets a loser see what the winner did.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether the flag is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        // Acquire pairs with the release in `raise`.
        self.0.load(Ordering::Acquire)
    }
}
