//! The tasks of a set that returned an error.

use std::{
    error::Error,
    sync::{Arc, OnceLock, Weak},
};

use super::{Label, TaskSet};
use crate::{
    observe,
    shutdown::MemberFailed,
    sync::{AtomicBool, Mutex, Ordering, lock},
};

/// The error of a task.
pub type TaskError = Arc<dyn Error + Send + Sync>;

/// How many tasks failed, the first failure, and whether that stops the set.
#[derive(Default)]
pub struct Failures {
    stops: AtomicBool,
    also_stops: OnceLock<Weak<TaskSet>>,
    seen: Mutex<(usize, Option<MemberFailed>)>,
}

impl Failures {
    /// How many tasks failed, and the first.
    pub fn seen(&self) -> (usize, Option<MemberFailed>) {
        lock(&self.seen).clone()
    }
}

impl TaskSet {
    /// From now on, the first task that fails or panics stops the set.
    pub fn stop_on_failure(&self) {
        // Relaxed: the flag publishes nothing else, and is set before a task is spawned.
        self.failures.stops.store(true, Ordering::Relaxed);
    }

    /// From now on, the first task that fails or panics stops that set. Of several calls the first counts.
    #[cfg(all(feature = "service", unix))]
    pub fn failure_stops(&self, other: &Arc<Self>) {
        let _ = self.failures.also_stops.set(Arc::downgrade(other));
    }

    /// Records that a task failed, before it leaves its place, here and in the sets above.
    #[cold]
    pub fn failed(&self, label: Label, error: TaskError) {
        // Before anybody sees it, and under no lock: the subscriber and the error are foreign code.
        observe::task_failed(&label.name, label.spawned_at, &*error);
        for set in self.with_those_above() {
            let mut seen = lock(&set.failures.seen);
            seen.0 += 1;
            if seen.1.is_none() {
                let Label { name, spawned_at } = label.clone();
                let error = Arc::clone(&error);
                seen.1 = Some(MemberFailed { name: name.into_owned(), spawned_at, error });
            }
        }
        // Only now: its destructor is foreign code.
        drop(error);
        self.stop_if_a_failure_stops();
    }

    /// After a failure or a panic was recorded.
    pub(super) fn stop_if_a_failure_stops(&self) {
        for set in self.with_those_above() {
            // Relaxed: as above.
            if set.failures.stops.load(Ordering::Relaxed) {
                set.stop();
            }
            if let Some(other) = set.failures.also_stops.get().and_then(Weak::upgrade) {
                other.stop();
            }
        }
    }
}
