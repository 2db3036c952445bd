//! The driving thread. It polls the tasks that destructors spawn, but only if there are any, or if
//! a destructor or a closure may be waiting for a timer. Otherwise it polls nothing, because quiescence
//! can only be detected while no task is polled ([`quiescence`](super::quiescence)).

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, Runtime};

use super::reaper::Shared;
use crate::sync::Arc;

/// How often to check for a task, while a destructor or a closure runs.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// How long to wait for a task before driving without one: a destructor or a closure may be waiting for
/// a timer.
const DRIVE_ANYWAY_AFTER: Duration = Duration::from_millis(5);

/// Runs until no more values can come and no work is left.
pub(super) fn drive(runtime: &Runtime, shared: &Arc<Shared>) {
    while is_needed(shared, runtime.handle()) {
        shared.lock().quiescence.set_driving(true);
        runtime.block_on(until_idle(shared, runtime.handle()));
        shared.lock().quiescence.set_driving(false);
        shared.post_marker(runtime.handle());
    }
}

/// Waits, without driving, until the driver is needed. Returns `false` once it never will be.
fn is_needed(shared: &Shared, handle: &Handle) -> bool {
    let mut busy_since = None;
    let mut state = shared.lock();
    loop {
        if state.is_quiescent() {
            if state.ended {
                return false;
            }
            busy_since = None;
            state = match shared.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
            continue;
        }
        let since = *busy_since.get_or_insert_with(Instant::now);
        if handle.metrics().num_alive_tasks() > 0 || since.elapsed() >= DRIVE_ANYWAY_AFTER {
            return true;
        }
        state = shared.wait(state, CHECK_INTERVAL);
    }
}

/// Drives until no value is being dropped, the queue of closures is drained as far as is known, and no
/// task is alive.
async fn until_idle(shared: &Shared, handle: &Handle) {
    poll_fn(|context| {
        let mut state = shared.lock();
        let has_tasks = handle.metrics().num_alive_tasks() > 0;
        if !has_tasks && state.all_dropped() && state.quiescence.queue_drained() {
            return Poll::Ready(());
        }
        state.driver = Some(context.waker().clone());
        // Only if there is a task that can be the last to end. The runtime calls `on_park` whenever
        // it has nothing to poll, and waking the driver each time would make it spin.
        state.driver_idle = has_tasks.then(|| context.waker().clone());
        Poll::Pending
    })
    .await;
}

impl Shared {
    /// Wakes the driver if the last task has ended. The runtime calls this when it has nothing to poll.
    pub(super) fn on_park(&self) {
        // The hook is called in the context of its runtime.
        if Handle::try_current().is_ok_and(|handle| handle.metrics().num_alive_tasks() == 0) {
            let waker = self.lock().driver_idle.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::future::pending;

    use crate::{limit::PLENTY, teardown::teardown_blocking};

    use super::*;

    #[test]
    fn the_driver_starts_at_once_for_a_task_and_waits_otherwise() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shared = Shared::default();
        shared.lock().quiescence.mark_busy();
        let waited = || {
            let began = Instant::now();
            assert!(is_needed(&shared, runtime.handle()));
            began.elapsed()
        };
        assert!(waited() >= DRIVE_ANYWAY_AFTER);
        runtime.spawn(pending::<()>());
        // On a busy machine not every time.
        assert!((0..500).any(|_| waited() < DRIVE_ANYWAY_AFTER));
        shared.lock().quiescence.mark_quiescent();
        shared.lock().ended = true;
        assert!(!is_needed(&shared, runtime.handle()), "no more values can come");
    }

    #[test]
    fn the_driver_drives_until_no_task_is_alive() {
        let shared = Arc::<Shared>::default();
        let parks = Arc::clone(&shared);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.on_thread_park(move || parks.on_park()).build().unwrap();
        runtime.spawn(tokio::task::yield_now());
        runtime.block_on(until_idle(&shared, runtime.handle()));
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    }

    /// The marker that is posted after its destructor is enough. A machine that is always busy could be slower
    /// than the driver, so this happens in one of many teardowns.
    #[test]
    fn a_value_without_tasks_does_not_wait_for_the_driver() {
        let in_time = (0..500).any(|_| {
            let report = teardown_blocking((), PLENTY).unwrap();
            report.destructor + report.ending < DRIVE_ANYWAY_AFTER
        });
        assert!(in_time);
    }
}
