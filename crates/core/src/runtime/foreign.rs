//! Foreign tasks of a runtime: how long they may take to end by themselves, and how many did not.
//!
//! Stable Tokio tells how many tasks are alive, and calls a hook before a thread goes idle. So the owner
//! thread need not ask again and again: the thread that finds nothing left to do looks for it.

use std::{
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering, fence},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{latch::Latch, lifecycle::Lifecycle, limit::until, shutdown::CutOff, sync::lock};

/// The time for foreign tasks, unless the builder or the caller says otherwise: a tenth of the limit, at
/// most this. Many programs have tasks that never end by themselves.
const TIME: Duration = Duration::from_millis(100);

/// The time that foreign tasks get by default, of a shutdown with this limit.
pub(crate) fn default_time(limit: Duration) -> Duration {
    (limit / 10).min(TIME)
}

/// What the threads of a generation know of its foreign tasks.
#[derive(Default)]
pub(super) struct Foreign {
    /// Their time: of what the callers of the shutdown give, the longest.
    time: Mutex<Duration>,
    /// The owner thread waits until no task is alive.
    is_awaited: AtomicBool,
    /// Fires when no task was alive, after the owner thread had begun to wait for that.
    none_alive: Latch,
    /// How many were cut off, and how; `None` before that.
    cut_off: Mutex<Option<(usize, CutOff)>>,
}

impl Foreign {
    /// Gives them at least this time, from the end of the last task of the kit.
    pub(super) fn give(&self, time: Duration) {
        let mut longest = lock(&self.time);
        *longest = time.max(*longest);
    }

    /// Waits on the owner thread until no task is alive, their time has passed, or the generation is
    /// aborted.
    pub(super) async fn wait(&self, life: &Lifecycle, alive: impl Fn() -> usize) {
        let began = Instant::now();
        // Relaxed, and a fence: either this thread sees that no task is alive, or the thread that goes
        // idle after the last one sees that it is awaited. `parking` has the other fence.
        self.is_awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if alive() == 0 {
            return;
        }
        loop {
            let time = *lock(&self.time);
            let ended = first_of(self.none_alive.wait(), life.until_aborted());
            // A more patient caller may have come meanwhile.
            if until(began.checked_add(time), ended).await.is_some() || time == *lock(&self.time) {
                return;
            }
        }
    }

    /// Called by each thread of the runtime before it goes idle, in the context of the runtime.
    pub(super) fn parking(&self) {
        fence(Ordering::SeqCst);
        // Relaxed: see `wait`.
        if self.is_awaited.load(Ordering::Relaxed)
            && let Ok(runtime) = Handle::try_current()
            && runtime.metrics().num_alive_tasks() == 0
        {
            self.none_alive.fire();
        }
    }

    /// Records how many were cut off, and how. The last record counts.
    pub(super) fn record(&self, tasks: usize, how: CutOff) {
        *lock(&self.cut_off) = Some((tasks, how));
    }

    /// How many were cut off, and how; `None` before that.
    pub(super) fn cut_off(&self) -> Option<(usize, CutOff)> {
        *lock(&self.cut_off)
    }
}

/// Completes when one of two futures does.
async fn first_of(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}
