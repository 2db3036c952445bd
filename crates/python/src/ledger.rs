//! The work that has not ended, with the names and places that a Python program knows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::IntoPyObject;

/// The work of one runtime that has not ended.
#[derive(Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    next: u64,
    open: BTreeMap<u64, StillRunning>,
}

/// A piece of work that has not ended. It becomes a dictionary in Python.
#[derive(Clone, Debug, IntoPyObject)]
pub struct StillRunning {
    /// Its name.
    pub name: String,
    /// Where it was spawned: a file and a line.
    pub spawned_at: String,
    /// Whether its callable is being called now.
    pub inside: bool,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece of work, and returns its number.
    pub fn add(&self, name: String, spawned_at: String) -> u64 {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.open.insert(number, StillRunning { name, spawned_at, inside: false });
        number
    }

    /// Records whether its callable is being called.
    pub fn set_inside(&self, number: u64, inside: bool) {
        if let Some(entry) = self.entries().open.get_mut(&number) {
            entry.inside = inside;
        }
    }

    /// Removes a piece of work.
    pub fn remove(&self, number: u64) {
        self.entries().open.remove(&number);
    }

    /// The work that has not ended, oldest first.
    pub fn still_running(&self) -> Vec<StillRunning> {
        self.entries().open.values().cloned().collect()
    }

    /// How much work has not ended.
    pub fn len(&self) -> usize {
        self.entries().open.len()
    }

    /// How many callables are being called.
    pub fn inside(&self) -> usize {
        self.entries().open.values().filter(|work| work.inside).count()
    }
}
