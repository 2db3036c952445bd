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
    /// What the callers of the shutdown allow.
    allowed: Mutex<Allowed>,
    /// The owner thread waits until no task is alive.
    is_awaited: AtomicBool,
    /// Fires when no task was alive, after the owner thread had begun to wait for that.
    none_alive: Latch,
    /// How many were cut off, and how; `None` before that.
    cut_off: Mutex<Option<(usize, CutOff)>>,
}

/// What the callers of a shutdown allow: each value is that of the most patient one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Allowed {
    /// The time for foreign tasks.
    time: Duration,
    /// When the last caller gives up; `None` if nobody has called.
    give_up: Option<GiveUp>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GiveUp {
    At(Instant),
    Never,
}

/// The least and the longest time to bring a runtime to rest.
const LEAST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(2);

impl Foreign {
    /// Gives them at least this time, from the end of the last task of the kit, by a caller who gives up at
    /// this moment.
    pub(super) fn give(&self, time: Duration, give_up: Option<Instant>) {
        let mut allowed = lock(&self.allowed);
        allowed.time = time.max(allowed.time);
        allowed.give_up = Some(give_up.map_or(GiveUp::Never, GiveUp::At)).max(allowed.give_up);
    }

    /// How long it may take to bring the runtime to rest: most of what is left until the last caller gives
    /// up. If nobody waits, it may take longer.
    pub(super) fn time_for_rest(&self) -> Duration {
        match lock(&self.allowed).give_up {
            Some(GiveUp::At(at)) => {
                let left = at.saturating_duration_since(Instant::now());
                (left * 3 / 4).clamp(LEAST, LONGEST)
            }
            Some(GiveUp::Never) | None => LONGEST,
        }
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
            let time = lock(&self.allowed).time;
            let ended = first_of(self.none_alive.wait(), life.until_aborted());
            // A more patient caller may have come meanwhile.
            if until(began.checked_add(time), ended).await.is_some()
                || time == lock(&self.allowed).time
            {
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
