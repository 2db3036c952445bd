//! The driving thread. It polls the tasks that destructors spawn, but only if there are any, or if
//! somebody may be waiting for a timer. Otherwise it keeps still, so that one can know that nothing is
//! left ([`quiet`](super::quiet)).

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, Runtime};

use super::reaper::Shared;
use crate::sync::Arc;

/// How often to look whether there is a task to drive, while a destructor or a closure runs.
const LOOK: Duration = Duration::from_millis(1);

/// After how long to drive even without a task: a destructor or a closure may be waiting for a timer.
const WITHHELD: Duration = Duration::from_millis(5);

/// Runs until nothing more can be handed over and nothing is left.
pub(super) fn drive(runtime: &Runtime, shared: &Arc<Shared>) {
    while is_needed(shared, runtime.handle()) {
        shared.lock().quiet.drive(true);
        runtime.block_on(until_still(shared, runtime.handle()));
        shared.lock().quiet.drive(false);
        shared.post_fence(runtime.handle());
    }
}

/// Waits, without driving, until the driver is needed. Returns `false` once it never will be.
fn is_needed(shared: &Shared, handle: &Handle) -> bool {
    let mut withheld_since = None;
    let mut state = shared.lock();
    loop {
        if state.is_settled() {
            if state.ended {
                return false;
            }
            withheld_since = None;
            state = match shared.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
            continue;
        }
        let since = *withheld_since.get_or_insert_with(Instant::now);
        if handle.metrics().num_alive_tasks() > 0 || since.elapsed() >= WITHHELD {
            return true;
        }
        state = shared.wait(state, LOOK);
    }
}

/// Drives until no value is being dropped, no closure is left as far as is known, and no task is
/// alive.
async fn until_still(shared: &Shared, handle: &Handle) {
    poll_fn(|context| {
        let mut state = shared.lock();
        let has_tasks = handle.metrics().num_alive_tasks() > 0;
        if !has_tasks && state.all_dropped() && state.quiet.is_behind_the_fence() {
            return Poll::Ready(());
        }
        state.driver = Some(context.waker().clone());
        // Only if there is a task that can be the last to end. The runtime calls `parking` whenever
        // it has nothing to poll, and waking it each time would make it spin.
        state.driver_idle = has_tasks.then(|| context.waker().clone());
        Poll::Pending
    })
    .await;
}

impl Shared {
    /// The runtime has nothing to poll, so the last task may just have ended.
    pub(super) fn parking(&self) {
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
    fn the_driver_starts_at_once_for_a_task_and_withholds_itself_otherwise() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shared = Shared::default();
        shared.lock().quiet.disturb();
        let waited = || {
            let began = Instant::now();
            assert!(is_needed(&shared, runtime.handle()));
            began.elapsed()
        };
        assert!(waited() >= WITHHELD);
        runtime.spawn(pending::<()>());
        // On a busy machine not every time.
        assert!((0..500).any(|_| waited() < WITHHELD));
        shared.lock().quiet.settle();
        shared.lock().ended = true;
        assert!(!is_needed(&shared, runtime.handle()), "nothing more can be handed over");
    }

    #[test]
    fn the_driver_drives_until_no_task_is_alive() {
        let shared = Arc::<Shared>::default();
        let parks = Arc::clone(&shared);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.on_thread_park(move || parks.parking()).build().unwrap();
        runtime.spawn(tokio::task::yield_now());
        runtime.block_on(until_still(&shared, runtime.handle()));
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    }

    /// The fence behind its destructor is enough. A machine that is busy all the time could be slower
    /// than the driver, so this happens in one of many teardowns.
    #[test]
    fn a_value_without_tasks_does_not_wait_for_the_driver() {
        let in_time = (0..500).any(|_| {
            let report = teardown_blocking((), PLENTY).unwrap();
            report.destructor + report.ending < WITHHELD
        });
        assert!(in_time);
    }
}
