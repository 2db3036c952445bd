//! A forked child finds out that it is one.
//!
//! The id of the process alone is not enough: a child in a PID namespace of its own can have that of its parent, and a
//! gate asks for the id only where the kit has reason to, because that takes ten times as long as to enter. So the
//! library has a handler of its own.

use std::{
    process,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

/// How often this process or an ancestor was told that it is a child.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// A process.
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

/// Registers the handler, unless that has been done. Whoever makes a handle calls it first.
pub(crate) fn watch() {
    // Not a `Once`: in a child that was forked meanwhile it would be under way for ever. If two threads register the
    // handler, a child is told twice, which does not matter.
    if !is_watched() {
        // Release: whoever sees this need not register.
        WATCHED.store(register(), Ordering::Release);
    }
}

/// Whether each child that `fork` makes is told that it is one. If there was no memory for the handler, it is not.
pub(crate) fn is_watched() -> bool {
    // Acquire: see `watch`.
    WATCHED.load(Ordering::Acquire)
}

static WATCHED: AtomicBool = AtomicBool::new(false);

#[cfg(unix)]
fn register() -> bool {
    extern "C" fn in_child() {
        sundown_forked_child();
    }
    // Here, and not in the host: the C library registers the handler for the library that calls `pthread_atfork`. glibc
    // removes it when that library is closed, but musl and macOS do not, and keep the library.
    // SAFETY: the function lives until then. It takes no lock and does not allocate.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) == 0 }
}

/// Nothing forks here.
#[cfg(not(unix))]
fn register() -> bool {
    true
}

/// Tells the library that this process is a forked child. The library does this by itself in each child that `fork`
/// makes, with a handler that it registers when the first runtime or gate is made. So call this only in a child that
/// was made in another way, such as with `_Fork` or `clone`, and before anything else in it. It takes no lock. The
/// library tells 1,023 generations of children that have the same id apart.
///
/// Do not pass this to `pthread_atfork`. It would become a handler of yours, which stays when the library is unloaded,
/// and the next `fork` would call what is gone.
#[unsafe(no_mangle)]
pub extern "C" fn sundown_forked_child() {
    // Relaxed: there is only this thread.
    TOLD.fetch_add(1, Ordering::Relaxed);
    sundown::forked_child();
}
