//! A forked child says that it is one.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// How often this process or an ancestor was told that it is a child.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// A process. Its id alone is not enough: a child in a PID namespace of its own can have that of its parent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    told: u32,
}

impl Process {
    pub(crate) fn this() -> Self {
        // Relaxed: it is changed while there is one thread only.
        Self { id: process::id(), told: TOLD.load(Ordering::Relaxed) }
    }
}

/// Tells the library that this process is a forked child. It finds that out by itself, by the id of the process, unless
/// the child has the id of an ancestor: in a PID namespace of its own, or after the ancestor has ended.
///
/// Call this in the child's handler of `pthread_atfork`, or before anything else in the child. It takes no lock. It is
/// seen by 1,023 generations of children that have the same id.
#[unsafe(no_mangle)]
pub extern "C" fn sundown_forked_child() {
    // Relaxed: there is only this thread.
    TOLD.fetch_add(1, Ordering::Relaxed);
    sundown::forked_child();
}
