//! Forks: no lock of ours is held by another thread at that moment, because in the child it would be held for
//! ever.
//!
//! The handlers are those of the C library, not of Python. Python runs handlers in Python around a fork, so another
//! thread may get the interpreter's lock in between, and wait for a lock of ours with it. (Those of [`states`] are
//! Python's, because a lock there may be held by a thread that waits for the interpreter's.)

#![cfg_attr(unix, allow(unsafe_code, reason = "std has no handlers of a fork"))]

use std::{
    cell::RefCell,
    collections::VecDeque,
    io, mem, process,
    sync::{
        MutexGuard, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use pyo3::prelude::*;

use crate::{
    awaited::{self, All},
    compat,
    delivery::{self, OnItsWay},
    runtime::{self, Source},
    states::{self, Left},
    worker,
};

/// What the thread that forks has locked, from before the fork until after it, in both processes.
struct Held {
    _source: MutexGuard<'static, Option<Source>>,
    _left: MutexGuard<'static, Vec<Left>>,
    results: MutexGuard<'static, VecDeque<OnItsWay>>,
    awaited: MutexGuard<'static, All>,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// How many of the processes that were forked one from the other were seen by the handlers.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// A process. Its id alone is not enough: a child in a new PID namespace can have that of its parent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    forks: u32,
}

impl Process {
    pub(crate) fn this() -> Self {
        // Relaxed: it is changed while there is one thread only.
        Self { id: process::id(), forks: FORKS.load(Ordering::Relaxed) }
    }
}

/// Registers the handlers of a fork, unless that has been done. [`install`](crate::install) does it, too. Call it when
/// your module is imported, if you have an exit handler of your own instead.
///
/// # Errors
///
/// `ImportError` in a sub-interpreter: our threads attach to the main interpreter only. `OSError`, if there is no
/// memory for the handlers.
pub fn install_for_forks(py: Python<'_>) -> PyResult<()> {
    // Every time: there may be several interpreters in a process.
    states::find_interpreter(py)?;
    static INSTALLED: OnceLock<()> = OnceLock::new();
    compat::once(&INSTALLED, || states::install_for_forks(py))?;
    static FAILED: OnceLock<i32> = OnceLock::new();
    match *FAILED.get_or_init(register) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error).into()),
    }
}

#[cfg(unix)]
fn register() -> i32 {
    extern "C" fn lock() {
        // What holds these locks waits for nothing, and not for the interpreter's lock. Where the thread-locals are gone,
        // the thread forks without them.
        let locked = || Held {
            _source: runtime::source(),
            _left: states::left(),
            results: delivery::on_their_way(),
            awaited: awaited::all(),
        };
        let _ = HELD.try_with(|held| held.replace(Some(locked())));
    }
    extern "C" fn unlock() {
        let _ = HELD.try_with(RefCell::take);
    }
    extern "C" fn in_child() {
        // Relaxed: there is only this thread.
        FORKS.fetch_add(1, Ordering::Relaxed);
        sundown::forked_child();
        worker::forget_workers();
        delivery::forget_releases();
        let _ = HELD.try_with(|held| {
            if let Some(held) = &mut *held.borrow_mut() {
                // A future that the parent began gets no result here.
                mem::forget(mem::take(&mut *held.results));
                held.awaited.forget();
            }
        });
        unlock();
    }
    // SAFETY: the three functions live as long as this library, which Python does not unload.
    unsafe { libc::pthread_atfork(Some(lock), Some(unlock), Some(in_child)) }
}

#[cfg(not(unix))]
fn register() -> i32 {
    0
}
