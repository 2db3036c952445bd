//! The tasks of a set that returned an error.

use std::{error::Error, sync::Arc};

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

    /// Records that a task failed, before it leaves its place.
    #[cold]
    pub fn failed(&self, label: Label, error: TaskError) {
        // Before anybody sees it, and under no lock: the subscriber and the error are foreign code.
        observe::task_failed(&label.name, label.spawned_at, &*error);
        let mut seen = lock(&self.failures.seen);
        seen.0 += 1;
        let later = match seen.1 {
            None => {
                let Label { name, spawned_at } = label;
                seen.1 = Some(MemberFailed { name: name.into_owned(), spawned_at, error });
                None
            }
            Some(_) => Some(error),
        };
        drop(seen);
        // Only now: its destructor is foreign code.
        drop(later);
        self.stop_if_a_failure_stops();
    }

    /// After a failure or a panic was recorded.
    pub(super) fn stop_if_a_failure_stops(&self) {
        // Relaxed: as above.
        if self.failures.stops.load(Ordering::Relaxed) {
            self.stop();
        }
    }
}
