//! Whether this is still the process that something belongs to.
//!
//! A forked child has a copy of all memory and only the thread that called `fork`. A lock that any
//! other thread held at that moment stays locked for ever. So before a forked child touches anything
//! that threads share, it must find out that it is a child (experiment 55).

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The process that something belongs to.
pub(crate) struct ProcessGuard {
    /// The id of the process; 0 until one has claimed it.
    owner: AtomicU32,
}

impl ProcessGuard {
    /// For something that belongs to the process that uses it first.
    pub(crate) const fn unclaimed() -> Self {
        Self { owner: AtomicU32::new(0) }
    }

    /// For something that belongs to this process.
    pub(crate) fn this_process() -> Self {
        Self { owner: AtomicU32::new(process::id()) }
    }

    /// Claims it for this process, unless another process owns it.
    ///
    /// # Errors
    ///
    /// The id of the owner, if that is another process.
    pub(crate) fn claim(&self) -> Result<(), u32> {
        let this = process::id();
        // Relaxed: a fork copies all memory as it is, so no order with other writes is needed.
        match self.owner.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
            Err(owner) if owner != this => Err(owner),
            _ => Ok(()),
        }
    }

    /// The id of the process that owns it, if this process is not the owner but its forked child.
    pub(crate) fn forked_from(&self) -> Option<u32> {
        // Relaxed: as in `claim`.
        let owner = self.owner.load(Ordering::Relaxed);
        (owner != process::id()).then_some(owner)
    }
}
