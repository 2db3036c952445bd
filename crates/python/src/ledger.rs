//! Which work has not ended, by the names and places that Python knows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::IntoPyObject;

/// All work of one runtime that has not ended.
#[derive(Default)]
pub struct Ledger(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    next: u64,
    open: BTreeMap<u64, StillRunning>,
}

/// A piece of work that has not ended. In Python it is a dictionary.
#[derive(Clone, Debug, IntoPyObject)]
pub struct StillRunning {
    /// Its name.
    pub name: String,
    /// Where it was spawned: a file and a line.
    pub spawned_at: String,
    /// Whether its callable is being called right now.
    pub inside: bool,
}

impl Ledger {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a line for a piece of work.
    pub fn open(&self, name: String, spawned_at: String) -> u64 {
        let mut lines = self.lines();
        let at = lines.next;
        lines.next += 1;
        lines.open.insert(at, StillRunning { name, spawned_at, inside: false });
        at
    }

    /// Notes whether its callable is being called.
    pub fn note(&self, at: u64, inside: bool) {
        if let Some(line) = self.lines().open.get_mut(&at) {
            line.inside = inside;
        }
    }

    /// Closes a line.
    pub fn close(&self, at: u64) {
        self.lines().open.remove(&at);
    }

    /// The open lines, oldest first.
    pub fn still_running(&self) -> Vec<StillRunning> {
        self.lines().open.values().cloned().collect()
    }

    /// How many lines are open.
    pub fn len(&self) -> usize {
        self.lines().open.len()
    }
}
