//! Foreign tasks of a runtime: how long they may take to end by themselves, and how many did not.
//!
//! Stable Tokio tells how many tasks are alive, and tells nobody when that changes. (It calls a hook before a
//! worker goes idle. None does when a task ends that was inside `block_in_place`.) So the owner thread asks
//! again and again, ever less often.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::task::yield_now;

use crate::{
    lifecycle::Lifecycle,
    limit::{one_after_another, until},
    shutdown::CutOff,
    sync::lock,
};

/// The time for foreign tasks, unless the builder or the caller says otherwise: a tenth of the limit, at
/// most this. Many programs have tasks that never end by themselves.
const TIME: Duration = Duration::from_millis(100);

/// How often to ask how many are alive, before waiting a little. Tokio counts a task for a moment after it
/// has ended.
const CHECKS_AT_ONCE: usize = 10;

/// How long to wait before asking again: a quarter of what was waited so far, within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// The time that foreign tasks get by default, of a shutdown with this limit.
pub(crate) fn default_time(limit: Duration) -> Duration {
    (limit / 10).min(TIME)
}

/// What the threads of a generation know of its foreign tasks.
#[derive(Default)]
pub(super) struct Foreign {
    /// Their time: of what the callers of the shutdown give, the longest.
    time: Mutex<Duration>,
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
        for _ in 0..CHECKS_AT_ONCE {
            if alive() == 0 || life.is_aborted() {
                return;
            }
            yield_now().await;
        }
        one_after_another(async {
            while alive() > 0 {
                // A more patient caller may have come meanwhile.
                let (time, waited) = (*lock(&self.time), began.elapsed());
                if waited >= time {
                    return;
                }
                let pause = (waited / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE).min(time - waited);
                if until(Instant::now().checked_add(pause), life.until_aborted()).await.is_some() {
                    return;
                }
                // If no thread can keep the limit, this is what lets the tasks go on.
                yield_now().await;
            }
        })
        .await;
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
