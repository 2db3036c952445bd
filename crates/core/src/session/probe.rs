//! Whether a runtime has been shut down, if the session has only Tokio's handle of it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{panics, sync::lock};

/// Asks a runtime by a task that does nothing. Tokio drops the tasks of a runtime when that is shut down
/// ([`tokio::spawn`]), and, which a test here holds it to, one that is spawned later at once.
pub(super) struct Probe {
    runtime: Handle,
    /// The last task.
    task: Mutex<Option<Task>>,
}

struct Task {
    join: JoinHandle<()>,
    was_polled: Arc<AtomicBool>,
}

impl Task {
    /// Tokio panics if this thread's locals are being destroyed: then there is none.
    fn on(runtime: &Handle) -> Option<Self> {
        let was_polled = Arc::<AtomicBool>::default();
        let polled = Arc::clone(&was_polled);
        // Relaxed: whoever reads it has seen the task end.
        let task = async move { polled.store(true, Ordering::Relaxed) };
        let join = panics::catch(|| runtime.spawn(task)).ok()?;
        Some(Self { join, was_polled })
    }

    /// Whether it was dropped unpolled.
    fn was_dropped(&self) -> bool {
        self.join.is_finished() && !self.was_polled.load(Ordering::Relaxed)
    }
}

impl Probe {
    pub(super) fn of(runtime: Handle) -> Self {
        Self { runtime, task: Mutex::default() }
    }

    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether the runtime has been shut down. If nobody drives it, it has at most one task of this more.
    pub(super) fn is_down(&self) -> bool {
        let mut task = lock(&self.task);
        // One that was polled says nothing of now. One that waits would have been dropped.
        if task.as_ref().is_none_or(|task| task.join.is_finished() && !task.was_dropped()) {
            // Under the lock: a spawn runs no code but Tokio's.
            *task = Task::on(&self.runtime);
        }
        task.as_ref().is_some_and(Task::was_dropped)
    }

    /// How many tasks of this the runtime has.
    pub(super) fn tasks(&self) -> usize {
        usize::from(lock(&self.task).as_ref().is_some_and(|task| !task.join.is_finished()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Instant;

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::limit::PLENTY;

    fn both() -> [Runtime; 2] {
        [Builder::new_current_thread(), Builder::new_multi_thread()]
            .map(|mut builder| builder.build().unwrap())
    }

    #[test]
    fn a_task_that_is_spawned_on_a_runtime_that_was_shut_down_is_dropped_at_once() {
        for runtime in both() {
            let handle = runtime.handle().clone();
            drop(runtime);
            assert!(Task::on(&handle).unwrap().was_dropped());
        }
    }

    #[test]
    fn a_runtime_is_down_when_it_was_dropped_and_not_before() {
        for runtime in both() {
            let probe = Probe::of(runtime.handle().clone());
            for _ in 0..100 {
                assert!(!probe.is_down());
            }
            runtime.block_on(async { assert!(!probe.is_down()) });
            drop(runtime);
            assert!(probe.is_down() && probe.is_down());
            assert_eq!(probe.tasks(), 0);
        }
    }

    /// Nobody waits for its workers, and they drop the tasks.
    #[test]
    fn a_runtime_that_is_shut_down_in_the_background_is_down_soon() {
        for runtime in both() {
            let probe = Probe::of(runtime.handle().clone());
            runtime.shutdown_background();
            let began = Instant::now();
            while !probe.is_down() {
                assert!(began.elapsed() < PLENTY);
            }
        }
    }

    #[test]
    fn a_runtime_that_nobody_drives_gets_one_task_however_often_it_is_asked() {
        let [current_thread, _] = both();
        let probe = Probe::of(current_thread.handle().clone());
        for _ in 0..100 {
            assert!(!probe.is_down());
        }
        assert_eq!((current_thread.metrics().num_alive_tasks(), probe.tasks()), (1, 1));
    }
}
