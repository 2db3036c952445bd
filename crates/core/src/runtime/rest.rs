//! A multi-thread runtime is brought to rest before it goes down.
//!
//! When a multi-thread runtime is dropped, Tokio closes its blocking pool while the workers still poll.
//! A task that uses `spawn_blocking` then gets a cancelled handle, and many panic on that: deadpool does
//! (experiment 11). So no task may be polled from the moment when the pool is closed until all tasks have
//! been dropped. As long as the runtime runs, this does nothing. To go down:
//!
//! 1. Each worker polls a task of ours that gathers it. So none sleeps.
//! 2. They are let go on. A worker that goes idle is kept in the hook that Tokio calls before that.
//! 3. As soon as one is kept, each of the others polls a task of ours that holds it, or is kept as well.
//!    Now no thread polls any other task, except one that is inside `block_in_place`, or has returned from
//!    it: it has handed its worker over. If there can be one, all other threads of the pool are held as
//!    well; what is inside `block_in_place` returns first.
//! 4. The runtime is dropped. Tokio closes its queue of tasks, and then the blocking pool.
//! 5. The kept workers see that the pool refuses work, and leave the hook. They find the queue closed, and
//!    drop all tasks, unpolled. Then their threads end.
//! 6. That lets the others go. They find only tasks that have ended.
//!
//! If none goes idle, tasks keep all workers busy. Then the rest of the pool is occupied, too, so that tasks
//! that use it have to wait. If even that does not help, there are as many tasks as workers that never wait
//! for anything, and it is given up.
//!
//! There can be a thread inside `block_in_place` if any other thread than those that the runtime started
//! with was ever found to be a worker: when it went idle, was gathered or held. (Threads that run blocking
//! work are no workers. They are waited for only as long as one after another ends, because such work may wait
//! for a task.) This does not find a worker that was handed over to such a thread, ran into `block_in_place`
//! there before it had ever been found, and was taken back by the thread that had it before, while the second
//! call goes on and takes longer than 20 ms.
//!
//! Tokio documents the hooks, that a dropped runtime drops its tasks where they wait, and that a task that
//! blocks keeps its worker. The rest is how it works today: that a worker with nothing to do calls the
//! hook with an empty queue, also before it has its first task, the order in which a runtime closes, and
//! that a worker leaves the scheduler after it has dropped all tasks.
//! `tests/it/runtime/rest.rs` fails if that changes. A step that does not succeed in time is given up: then
//! the runtime goes down as Tokio's drop does it, and the report says so.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::threads::{Role, Threads};
use crate::{
    panics,
    roll_call::RollCall,
    sync::{Mutex, lock},
};

/// How long it may take to bring a runtime to rest, and again to drop its tasks. That takes microseconds,
/// unless a task does not yield. (Then Tokio's own drop waits for it, too.)
const TIME: Duration = Duration::from_secs(2);

/// How long to wait for a worker that goes idle before the pool is occupied.
const UNOCCUPIED: Duration = Duration::from_millis(5);

/// How long to wait for a worker that goes idle, or for the next thread of the pool, while nothing moves.
/// Tokio's own drop does not wait for that. So this is also at most half of the time that the most patient
/// caller of the shutdown has left, if any is left: if one of them gives up early, the others still get a
/// runtime that goes down at rest.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long to wait for the next thread of the pool while nothing moves, if none seems to be inside
/// `block_in_place`.
const UNSUSPECTED: Duration = Duration::from_millis(20);

/// How long the workers may take to start.
const START: Duration = Duration::from_millis(100);

/// How long to wait before asking again, at first. It doubles each time.
const PAUSE: Duration = Duration::from_micros(200);

/// How long to wait before asking the pool again, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The same, until the pool refuses work.
const PAUSE_AT_END: Duration = Duration::from_micros(20);

/// Brings one generation of a multi-thread runtime to rest.
pub(super) struct Rest {
    roll: RollCall,
    threads: Arc<Threads>,
    /// How many threads were found to be workers before anybody had the handle of the runtime.
    found_at_first: AtomicUsize,
    /// How many closures were given to the pool, to hold its threads.
    asked: AtomicUsize,
    /// How many tasks of this module are on the runtime.
    holding: AtomicUsize,
    /// How many workers did not come to rest in time: each is inside a task that does not yield.
    stuck: AtomicUsize,
    /// Until when the most patient caller of a shutdown waits; `None` if there was none.
    callers_until: Mutex<Option<Instant>>,
}

thread_local! {
    /// Whether this thread was found to be a worker. It belongs to one runtime as long as it lives.
    static IS_FOUND: Cell<bool> = const { Cell::new(false) };
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
    /// For a runtime whose threads, which are listed here, have not started.
    pub(super) fn new(threads: Arc<Threads>) -> Self {
        Self {
            roll: RollCall::new(),
            threads,
            found_at_first: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            holding: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            callers_until: Mutex::default(),
        }
    }

    /// Tokio's hook: a thread has started.
    pub(super) fn started(&self) {
        self.roll.started();
    }

    /// Tokio's hook: a worker is about to go idle.
    pub(super) fn parking(&self) {
        self.note_worker();
        if self.roll.parking() {
            // It is about to drop all tasks.
            self.until_pool_refuses();
        }
    }

    /// Tokio's hook: a thread is about to end.
    pub(super) fn stopped(&self) {
        self.roll.stopped();
    }

    /// The runtime has started with so many workers. Nobody has its handle yet, so no task is there. Waits
    /// until all workers have gone idle for the first time. From here on, it is known which threads they are.
    pub(super) fn begin(&self, workers: usize) {
        // If the OS has no thread for one of them, Tokio works without.
        let found = self.roll.until_found(workers, Instant::now().checked_add(START));
        // Relaxed: of the owner thread alone.
        self.found_at_first.store(found, Ordering::Relaxed);
    }

    /// A caller of a shutdown waits until this moment; `None` if the clock cannot represent it.
    pub(super) fn caller_waits(&self, until: Option<Instant>) {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let until = until.or_else(|| Instant::now().checked_add(CENTURY));
        let mut latest = lock(&self.callers_until);
        *latest = until.max(*latest);
    }

    /// Until when to try what Tokio's own drop does not do, since `began`: for half of the time that the most
    /// patient caller had left then. That caller may come later.
    fn give_up(&self, began: Instant) -> Instant {
        let until = lock(&self.callers_until).filter(|until| *until > began);
        let half = until.map_or(TIME, |until| TIME.min((until - began) / 2));
        began + half
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
    pub(super) fn bring(self: &Arc<Self>, runtime: &Runtime) -> Found {
        let deadline = Instant::now() + TIME;
        let metrics = runtime.metrics();
        let tasks = || metrics.num_alive_tasks().saturating_sub(self.holding());
        let mut exact = self.hold_workers(runtime, deadline);
        // If no task is left, none is inside `block_in_place`.
        if exact && tasks() > 0 {
            let may_be_in_place = self.may_be_in_place();
            let patience = if may_be_in_place { PATIENCE } else { UNSUSPECTED };
            // What takes longer is blocking work, except in the one case above.
            exact = self.hold_pool(runtime, deadline, patience) || !may_be_in_place;
        }
        Found { exact, tasks: tasks() }
    }

    /// Keeps one worker at least, and occupies the others. Returns whether it succeeded.
    fn hold_workers(self: &Arc<Self>, runtime: &Runtime, deadline: Instant) -> bool {
        let (roll, workers) = (&self.roll, runtime.metrics().num_workers());
        roll.expect(workers);
        let missing = || workers.saturating_sub(roll.gathered());
        let are_gathered = self.occupy(runtime, deadline, RollCall::gather, missing, |until| {
            roll.until_gathered(workers, Some(until))
        });
        // Relaxed: a number for a report.
        self.stuck.store(missing(), Ordering::Relaxed);
        if !are_gathered {
            roll.catch();
            return false;
        }
        // Often all go idle at once.
        roll.until_at_rest(workers, Instant::now().checked_add(PAUSE))
            || self.keep_one(runtime) && {
                let missing = || workers.saturating_sub(roll.at_rest());
                self.occupy(runtime, deadline, RollCall::hold, missing, |until| {
                    roll.until_at_rest(workers, Some(until))
                })
            }
    }

    /// Spawns as many tasks that occupy a worker as are missing. Returns whether `all_until` said that none is
    /// missing, by the deadline.
    fn occupy(
        self: &Arc<Self>,
        runtime: &Runtime,
        deadline: Instant,
        how: fn(&RollCall),
        missing: impl Fn() -> usize,
        all_until: impl Fn(Instant) -> bool,
    ) -> bool {
        let mut pause = PAUSE;
        loop {
            for _ in 0..missing() {
                let ours = Ours::new(self);
                drop(runtime.spawn(async move { ours.occupy_worker(how) }));
            }
            let now = Instant::now();
            if all_until(deadline.min(now + pause)) {
                return true;
            }
            if now >= deadline {
                return false;
            }
            // Two may be in the queue of one worker, where another that has work does not look. So again,
            // but ever less often.
            pause *= 2;
        }
    }

    /// Waits until a worker is kept. Returns whether one is.
    fn keep_one(self: &Arc<Self>, runtime: &Runtime) -> bool {
        let began = Instant::now();
        let until_one_kept =
            |time| self.roll.until_one_kept(Some(self.give_up(began).min(Instant::now() + time)));
        if until_one_kept(UNOCCUPIED) {
            return true;
        }
        self.roll.let_newcomers_wait();
        for _ in runtime.metrics().num_workers()..self.roll.elsewhere() {
            if !self.ask(runtime) {
                return false;
            }
        }
        until_one_kept(PATIENCE)
    }

    /// Whether a thread may be inside `block_in_place`. All workers are at rest.
    fn may_be_in_place(&self) -> bool {
        // Relaxed: see `begin`.
        self.roll.workers_found() > self.found_at_first.load(Ordering::Relaxed)
    }

    /// Occupies every other thread of the pool. Returns whether it succeeded, by the deadline. It gives up early
    /// when no thread was occupied for a while: those that are left may wait for a task, which waits for this.
    fn hold_pool(
        self: &Arc<Self>,
        runtime: &Runtime,
        deadline: Instant,
        patience: Duration,
    ) -> bool {
        let began = Instant::now();
        let (mut moved, mut pause) = (began, PAUSE);
        loop {
            let give_up = deadline.min(self.give_up(began)).min(moved + patience);
            let soon = || Some(give_up.min(Instant::now() + pause));
            let are_taken = self.are_taken(soon());
            // After that, or a thread that was started for a closure of ours would count as one that moved.
            let elsewhere = self.roll.elsewhere();
            if elsewhere == 0 || Instant::now() >= give_up {
                return elsewhere == 0;
            }
            // If no thread is free, Tokio starts one more. So one at a time, and ever less often.
            if are_taken && !self.ask(runtime) {
                return false;
            }
            if self.roll.until_fewer_elsewhere(elsewhere, soon()) {
                (moved, pause) = (Instant::now(), PAUSE);
            } else {
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }

    /// Gives the pool a closure that holds a thread. Returns `false` if the OS has no thread left.
    fn ask(self: &Arc<Self>, runtime: &Runtime) -> bool {
        // Relaxed: of the owner thread alone.
        self.asked.fetch_add(1, Ordering::Relaxed);
        let rest = Arc::clone(self);
        let hold = move || rest.occupy_this_thread(RollCall::hold_other);
        panics::catch(|| drop(runtime.spawn_blocking(hold))).is_ok()
    }

    /// Waits until all of these closures hold a thread. Returns whether they do, by the deadline.
    fn are_taken(&self, deadline: Option<Instant>) -> bool {
        // Relaxed: see `ask`.
        let asked = self.asked.load(Ordering::Relaxed);
        self.roll.until_others_held(asked, deadline)
    }

    /// Drops the runtime. Returns whether it stayed at rest until all tasks had been dropped.
    pub(super) fn drop_runtime(&self, runtime: Runtime) -> Result<bool, String> {
        self.roll.close(Instant::now().checked_add(TIME));
        let dropped = panics::catch(|| drop(runtime));
        self.roll.release();
        dropped.map(|()| !self.roll.went_early())
    }

    fn occupy_this_thread(&self, how: fn(&RollCall)) {
        self.threads.change_role(Role::Held);
        how(&self.roll);
        self.threads.change_role(Role::Pool);
    }

    /// This thread is a worker.
    fn note_worker(&self) {
        if !IS_FOUND.replace(true) {
            self.roll.note_worker();
        }
    }

    /// Waits until the blocking pool of this thread's runtime refuses work, once the drop of the runtime has
    /// begun.
    fn until_pool_refuses(&self) {
        let mut pause = PAUSE_AT_END;
        while !pool_refuses() && !self.roll.is_too_late() {
            // Tokio calls no hook when the pool closes.
            thread::sleep(pause);
            // Ever less often: if no thread is free, Tokio starts one more.
            pause *= 2;
        }
    }
}

/// Part of a task of this module: counts it while it is there.
struct Ours(Arc<Rest>);

impl Ours {
    fn new(rest: &Arc<Rest>) -> Self {
        // Relaxed: a number for a report.
        rest.holding.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(rest))
    }

    fn occupy_worker(&self, how: fn(&RollCall)) {
        self.0.note_worker();
        self.0.occupy_this_thread(how);
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Relaxed: a number for a report.
        self.0.holding.fetch_sub(1, Ordering::Relaxed);
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
