//! A multi-thread runtime is brought to rest before it goes down.
//!
//! When a multi-thread runtime is dropped, Tokio closes its blocking pool while the workers still poll.
//! A task that uses `spawn_blocking` then gets a cancelled handle, and many panic on that: deadpool does
//! (experiment 11). So no task may be polled from the moment when the pool is closed until all tasks have
//! been dropped.
//!
//! The runtime has one worker more than was asked for, the *warden*. It never polls a task, because it is
//! caught at the start in the hook that Tokio calls before a worker goes idle. To go down:
//!
//! 1. Each of the other workers polls a task of ours that holds it. Then no thread polls any other task,
//!    except one inside `block_in_place`, which has handed its worker over. If any task is left, all other
//!    threads of the pool are held as well; what is inside `block_in_place` returns first.
//! 2. The runtime is dropped. Tokio closes its queue of tasks, and then the blocking pool.
//! 3. The warden sees that the pool refuses work, and leaves the hook. It finds the queue closed, and drops
//!    all tasks, unpolled. Then its thread ends.
//! 4. That lets the others go. They find only tasks that have ended.
//!
//! Tokio documents the hooks, that a dropped runtime drops its tasks where they wait, and that a task that
//! blocks keeps its worker. The rest is how it works today: that a worker with nothing to do calls the
//! hook with an empty queue, the order in which a runtime closes, and that a worker leaves the scheduler
//! after it has dropped all tasks. `tests/it/runtime/rest.rs` fails if that changes. A step that does not
//! succeed in time is given up: then the runtime goes down as Tokio's drop does it, and the report says so.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, Runtime};

use super::threads::{Role, Threads};
use crate::{panics, roll_call::RollCall, sync::lock};

/// How long the workers may take to start. That takes a fraction of a millisecond.
const START: Duration = Duration::from_secs(2);

/// How long it may take to bring a runtime to rest, and again to drop its tasks. That takes milliseconds,
/// unless a task does not yield. It does not depend on how long the callers of the shutdown wait: if one of
/// them gives up early, the others still get a runtime that goes down at rest.
const TIME: Duration = Duration::from_secs(2);

/// How long the pool may take to refuse work, once the drop of the runtime has begun, before the warden
/// asks again.
const ASK_AGAIN: Duration = Duration::from_micros(20);

/// How long to wait before another thread of the pool is asked for: at first, and at most.
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Brings one generation of a multi-thread runtime to rest.
pub(super) struct Rest {
    roll: RollCall,
    /// How many tasks of this module are on the runtime.
    holding: AtomicUsize,
    /// How many workers did not come to rest in time: each is inside a task that does not yield.
    stuck: AtomicUsize,
    /// When held threads go, whatever happens.
    latest: Mutex<Option<Instant>>,
}

/// What was on the runtime when it was at rest, or was not brought to rest in time.
#[derive(Default)]
pub(super) struct Found {
    /// Whether everything was at rest.
    pub(super) exact: bool,
    /// How many tasks were left.
    pub(super) tasks: usize,
}

impl Rest {
    /// For a runtime with this many workers, and the warden.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            roll: RollCall::new(workers + 1),
            holding: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            latest: Mutex::default(),
        }
    }

    /// Tokio's hook: a thread has started.
    pub(super) fn started(&self) {
        self.roll.started();
    }

    /// Tokio's hook: a worker is about to go idle.
    pub(super) fn parking(&self, threads: &Threads) {
        let mut was_kept = false;
        let is_let_out = self.roll.parking(|| {
            threads.change_role(Role::Warden);
            was_kept = true;
        });
        if was_kept {
            // From here on it is a thread like others.
            threads.change_role(Role::Pool);
        }
        if !is_let_out {
            return;
        }
        // It is about to drop all tasks.
        while !pool_refuses() {
            if self.is_too_late() {
                // The runtime does not close as it should. Let it close as it does.
                self.roll.go_early();
                return;
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Tokio's hook: a thread is about to end.
    pub(super) fn stopped(&self) {
        self.roll.stopped();
    }

    /// Waits on the owner thread until the runtime has its warden. If it does not get one, because the OS
    /// has no thread for it, it works without.
    pub(super) fn begin(&self) {
        self.roll.begun(Instant::now().checked_add(START));
    }

    /// Lets all threads go: nothing is held from here on.
    pub(super) fn release(&self) {
        self.roll.release();
    }

    /// How many tasks of this module are on the runtime.
    pub(super) fn holding(&self) -> usize {
        // Relaxed: a number for a report.
        self.holding.load(Ordering::Relaxed)
    }

    /// How many workers did not come to rest in time.
    pub(super) fn stuck(&self) -> usize {
        // Relaxed: a number for a report.
        self.stuck.load(Ordering::Relaxed)
    }

    /// Brings the runtime to rest. After that, and whatever comes of it,
    /// [`drop_runtime`](Self::drop_runtime) must be called.
    pub(super) fn bring(self: &Arc<Self>, runtime: &Runtime, threads: &Arc<Threads>) -> Found {
        let deadline = Instant::now() + TIME;
        let metrics = runtime.metrics();
        let tasks = || metrics.num_alive_tasks().saturating_sub(self.holding());
        let mut exact = self.roll.has_warden() && self.hold_workers(runtime, threads, deadline);
        // If no task is left, none is inside `block_in_place`.
        if exact && tasks() > 0 {
            exact = self.hold_pool(runtime, threads, deadline);
        }
        Found { exact, tasks: tasks() }
    }

    /// Occupies every worker but the warden. Returns whether it succeeded.
    fn hold_workers(
        self: &Arc<Self>,
        runtime: &Runtime,
        threads: &Arc<Threads>,
        deadline: Instant,
    ) -> bool {
        for turn in 1..=self.roll.workers() {
            let (rest, threads) = (Arc::clone(self), Arc::clone(threads));
            // One at a time: two could end up in the queue of one worker.
            // Relaxed: a number for a report.
            self.holding.fetch_add(1, Ordering::Relaxed);
            drop(runtime.spawn(async move { rest.hold(&threads) }));
            if !self.roll.until_held(turn, Some(deadline)) {
                self.stuck.store(self.roll.workers() + 1 - turn, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// Occupies every thread of the pool. Returns whether it succeeded.
    fn hold_pool(
        self: &Arc<Self>,
        runtime: &Runtime,
        threads: &Arc<Threads>,
        deadline: Instant,
    ) -> bool {
        let (mut asked, mut pause) = (self.roll.held(), PAUSE);
        let mut elsewhere = self.roll.until_all_held(Some(Instant::now()));
        while elsewhere > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            // A busy thread leaves its closure to another one, or to a new thread. So ask again, ever less
            // often.
            let on_their_way = asked.saturating_sub(self.roll.held());
            for _ in on_their_way..elsewhere {
                let (rest, threads) = (Arc::clone(self), Arc::clone(threads));
                let spawned = panics::catch(|| {
                    drop(runtime.spawn_blocking(move || rest.hold(&threads)));
                });
                if spawned.is_err() {
                    // The OS has no thread left.
                    return false;
                }
                asked += 1;
            }
            let soon = Instant::now() + pause;
            elsewhere = self.roll.until_all_held(Some(deadline.min(soon)));
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        true
    }

    /// Drops the runtime. Returns whether it stayed at rest until all tasks had been dropped.
    pub(super) fn drop_runtime(&self, runtime: Runtime) -> Result<bool, String> {
        *lock(&self.latest) = Instant::now().checked_add(TIME);
        self.roll.close();
        let dropped = panics::catch(|| drop(runtime));
        self.release();
        dropped.map(|()| !self.roll.went_early())
    }

    /// Holds this thread.
    fn hold(&self, threads: &Threads) {
        threads.change_role(Role::Held);
        let had_no_task = AtomicBool::new(false);
        self.roll.hold(|roll| {
            // Relaxed: of this thread alone.
            let no_task =
                Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_alive_tasks() == 0);
            // Twice: Tokio counts a task as gone shortly before nothing can poll it.
            if no_task && had_no_task.swap(true, Ordering::Relaxed) {
                return true;
            }
            if self.is_too_late() {
                roll.go_early();
                return true;
            }
            false
        });
        threads.change_role(Role::Pool);
    }

    fn is_too_late(&self) -> bool {
        lock(&self.latest).is_some_and(|latest| Instant::now() >= latest)
    }
}

/// Whether the blocking pool of this thread's runtime refuses work. A closed pool drops what it is given
/// before it returns. An open one runs it, later or now.
fn pool_refuses() -> bool {
    /// Says so if it is dropped and was not run.
    struct Probe {
        refused: Arc<AtomicBool>,
        has_run: bool,
    }
    impl Drop for Probe {
        fn drop(&mut self) {
            if !self.has_run {
                // Relaxed: it is read by this thread; by another it matters to nobody.
                self.refused.store(true, Ordering::Relaxed);
            }
        }
    }
    let refused = Arc::new(AtomicBool::new(false));
    let mut probe = Probe { refused: Arc::clone(&refused), has_run: false };
    // It panics if the OS has no thread for it. Then the pool is open.
    let asked = panics::catch(|| {
        drop(tokio::task::spawn_blocking(move || {
            probe.has_run = true;
            drop(probe);
        }));
    });
    asked.is_ok() && refused.load(Ordering::Relaxed)
}
