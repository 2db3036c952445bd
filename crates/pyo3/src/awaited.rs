//! The `asyncio` futures that were handed out and have no result.
//!
//! Whoever takes one from here gives it its result, and nobody else does: what has the Rust future's result, or the exit.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;

/// A future that waits for a result, by its number.
pub(crate) struct Awaited(u64);

/// What is known of it.
pub(crate) struct Waiting {
    pub(crate) event_loop: Py<PyAny>,
    pub(crate) future: Py<PyAny>,
}

/// All of them.
pub(crate) struct All {
    next: u64,
    waiting: Option<HashMap<u64, Waiting>>,
}

static ALL: Mutex<All> = Mutex::new(All { next: 0, waiting: None });

impl Awaited {
    pub(crate) fn new(py: Python<'_>, locals: &TaskLocals, future: &Bound<'_, PyAny>) -> Self {
        let event_loop = locals.event_loop(py).unbind();
        let future = future.clone().unbind();
        let mut all = all();
        all.next += 1;
        let number = all.next;
        all.waiting.get_or_insert_default().insert(number, Waiting { event_loop, future });
        Self(number)
    }

    /// What is known of it, unless it was taken.
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Waiting> {
        let clone = |it: &Waiting| Waiting {
            event_loop: it.event_loop.clone_ref(py),
            future: it.future.clone_ref(py),
        };
        all().waiting.as_ref()?.get(&self.0).map(clone)
    }

    /// Takes it, unless somebody else has.
    pub(crate) fn take(&self) -> Option<Waiting> {
        all().waiting.as_mut()?.remove(&self.0)
    }

    /// Leaves it to the exit.
    pub(crate) fn put_back(&self, waiting: Waiting) {
        all().waiting.get_or_insert_default().insert(self.0, waiting);
    }
}

/// Takes all.
pub(crate) fn take_all() -> impl Iterator<Item = Waiting> {
    let waiting = all().waiting.take();
    waiting.into_iter().flat_map(HashMap::into_values)
}

/// The lock. A fork waits for it; it is held for an instant.
pub(crate) fn all() -> MutexGuard<'static, All> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl All {
    /// In a forked child, those of the parent get no result.
    #[cfg(unix)]
    pub(crate) fn forget(&mut self) {
        std::mem::forget(self.waiting.take());
    }
}
