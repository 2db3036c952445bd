//! A gate in front of the interpreter. A thread passes it to call into Python, until it is closed.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A gate, or none, which lets every thread pass.
#[derive(Clone, Default)]
pub struct Gate(Option<Arc<Shared>>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    inside: usize,
}

/// A thread that has passed is inside until this is dropped.
pub struct Inside<'a>(Option<&'a Shared>);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// A gate that can be closed.
    pub fn open() -> Self {
        Self(Some(Arc::default()))
    }

    /// Passes, unless the gate is closed.
    pub fn enter(&self) -> Option<Inside<'_>> {
        let Some(shared) = &self.0 else { return Some(Inside(None)) };
        let mut state = shared.state();
        if state.closed {
            return None;
        }
        state.inside += 1;
        Some(Inside(Some(shared)))
    }

    /// Closes the gate, and waits up to the limit until no thread is inside. The caller must not hold
    /// the interpreter's lock, because a thread that is inside may wait for it.
    pub fn close(&self, limit: Duration) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.state();
        state.closed = true;
        let _ = shared.left.wait_timeout_while(state, limit, |state| state.inside > 0);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.state().inside -= 1;
            shared.left.notify_all();
        }
    }
}
