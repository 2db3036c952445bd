//! Where the threads of a runtime are while it goes down: who is held, who is kept, and when they may go.
//!
//! There is no Tokio in here: `runtime/rest.rs` says what this is good for, and calls it from Tokio's hooks.
//!
//! As long as the runtime runs, nothing happens here. To close, all workers are [gathered](RollCall::gather),
//! so that none sleeps. Then they are let go on, and whoever goes idle is [kept](RollCall::parking). When
//! one is kept, the others are made to [`hold`](RollCall::hold). The kept ones are let out when the runtime
//! is dropped. The held ones stay until the threads of those have ended.
//!
//! If none goes idle, tasks keep the workers busy. Then the rest of the pool is held as well, and threads that
//! [start](RollCall::started) meanwhile wait: so tasks that use the pool have to wait, too.

use std::time::Instant;

use crate::{
    sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, lock},
    this_thread,
};

/// Where the threads of a runtime are.
pub struct RollCall {
    /// Whether `parking` has anything to do. It is called whenever a worker goes idle.
    is_catching: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// How many threads there are.
    threads: usize,
    /// How many workers were found.
    found: usize,
    /// How many workers there are, once they are to be gathered.
    workers: usize,
    /// How many have been gathered.
    gathered: usize,
    /// How many workers are held.
    held: usize,
    /// How many other threads of the pool are held.
    others: usize,
    /// Threads that start have to wait.
    has_newcomers_wait: bool,
    /// How many of these there are.
    newcomers: usize,
    /// The workers that are kept, or have been let out and not ended; by the numbers of their threads.
    kept: Vec<usize>,
    /// From the closing on: when held threads go, whatever happens.
    latest: Option<Instant>,
    /// A thread was let go before it was time.
    went_early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The workers work, or are gathered.
    Working,
    /// Workers that go idle are kept.
    Catching,
    /// The kept ones may go.
    Closing,
    /// Everybody may go, wherever they are.
    Over,
}

impl State {
    fn at_rest(&self) -> usize {
        self.held + self.kept.len()
    }

    fn elsewhere(&self) -> usize {
        self.threads.saturating_sub(self.at_rest() + self.others + self.newcomers)
    }

    /// This thread is about to end.
    fn leave(&mut self) {
        let (this, before) = (this_thread::number(), self.kept.len());
        self.kept.retain(|kept| *kept != this);
        if before > 0 && self.kept.is_empty() {
            self.phase = Phase::Over;
        }
    }
}

impl Default for RollCall {
    fn default() -> Self {
        Self::new()
    }
}

impl RollCall {
    /// No thread has come yet.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            phase: Phase::Working,
            threads: 0,
            found: 0,
            workers: usize::MAX,
            gathered: 0,
            held: 0,
            others: 0,
            has_newcomers_wait: false,
            newcomers: 0,
            kept: Vec::new(),
            latest: None,
            went_early: false,
        };
        Self {
            is_catching: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// A thread has started.
    pub fn started(&self) {
        let mut state = lock(&self.state);
        state.threads += 1;
        if state.has_newcomers_wait {
            drop(self.stay(state, |state| &mut state.newcomers));
        }
    }

    /// A thread is about to end.
    pub fn stopped(&self) {
        self.change(|state| {
            state.threads -= 1;
            state.leave();
        });
    }

    /// A thread that was not known as a worker is one.
    pub fn note_worker(&self) {
        self.change(|state| state.found += 1);
    }

    /// How many workers were found.
    pub fn workers_found(&self) -> usize {
        lock(&self.state).found
    }

    /// Waits until so many workers were found, at most until the deadline. Returns how many were.
    pub fn until_found(&self, workers: usize, deadline: Option<Instant>) -> usize {
        self.until(deadline, |state| state.found >= workers);
        self.workers_found()
    }

    /// So many workers are to be gathered.
    pub fn expect(&self, workers: usize) {
        lock(&self.state).workers = workers;
    }

    /// Holds this worker until all are gathered, or `catch` is called.
    pub fn gather(&self) {
        let mut state = lock(&self.state);
        state.gathered += 1;
        if state.gathered >= state.workers {
            self.catch_in(&mut state);
        }
        self.changed.notify_all();
        while state.phase == Phase::Working {
            state = self.wait(state, None);
        }
    }

    /// Waits until so many workers are gathered. Returns whether they are, by the deadline.
    pub fn until_gathered(&self, workers: usize, deadline: Option<Instant>) -> bool {
        self.until(deadline, |state| state.gathered >= workers)
    }

    /// How many workers are gathered.
    pub fn gathered(&self) -> usize {
        lock(&self.state).gathered
    }

    /// Lets the gathered workers go on, also if some are missing. From here on, workers that go idle are
    /// kept.
    pub fn catch(&self) {
        self.change(|state| self.catch_in(state));
    }

    fn catch_in(&self, state: &mut State) {
        // Relaxed: whoever was gathered sees it, because the lock comes between. Others may miss it.
        self.is_catching.store(true, Ordering::Relaxed);
        state.phase = state.phase.max(Phase::Catching);
    }

    /// A worker is about to go idle. If such workers are kept, this one stays here until the closing.
    /// Returns `true` on that thread, if the closing let it out.
    pub fn parking(&self) -> bool {
        // Relaxed: see `catch`.
        if !self.is_catching.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = lock(&self.state);
        if state.phase != Phase::Catching {
            return false;
        }
        state.kept.push(this_thread::number());
        self.changed.notify_all();
        while state.phase == Phase::Catching {
            state = self.wait(state, None);
        }
        state.phase == Phase::Closing
    }

    /// Waits until a worker is kept. Returns whether one is, by the deadline.
    pub fn until_one_kept(&self, deadline: Option<Instant>) -> bool {
        self.until(deadline, |state| !state.kept.is_empty())
    }

    /// Holds this worker until the threads of all workers that are kept have ended, or everybody is let go.
    pub fn hold(&self) {
        drop(self.stay(lock(&self.state), |state| &mut state.held));
    }

    /// Holds this thread of the pool in the same way. If it is that of a kept worker, it has left the
    /// scheduler, and takes what is queued before it ends: it is not held.
    pub fn hold_other(&self) {
        drop(self.stay(lock(&self.state), |state| &mut state.others));
    }

    fn stay<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        counted: fn(&mut State) -> &mut usize,
    ) -> MutexGuard<'a, State> {
        if state.kept.contains(&this_thread::number()) {
            return state;
        }
        *counted(&mut state) += 1;
        self.changed.notify_all();
        while state.phase < Phase::Over {
            if has_passed(state.latest) {
                state.went_early = true;
                break;
            }
            let latest = state.latest;
            state = self.wait(state, latest);
        }
        *counted(&mut state) -= 1;
        state
    }

    /// Waits until so many workers are held or kept. Returns whether they are, by the deadline.
    pub fn until_at_rest(&self, workers: usize, deadline: Option<Instant>) -> bool {
        self.until(deadline, |state| state.at_rest() >= workers)
    }

    /// How many workers are held or kept.
    pub fn at_rest(&self) -> usize {
        lock(&self.state).at_rest()
    }

    /// From here on, threads that start have to wait.
    pub fn let_newcomers_wait(&self) {
        self.change(|state| state.has_newcomers_wait = true);
    }

    /// Waits until so many other threads of the pool are held. Returns whether they are, by the deadline.
    pub fn until_others_held(&self, others: usize, deadline: Option<Instant>) -> bool {
        self.until(deadline, |state| state.others >= others)
    }

    /// How many threads are neither workers at rest nor held.
    pub fn elsewhere(&self) -> usize {
        lock(&self.state).elsewhere()
    }

    /// Waits until fewer threads than these are elsewhere. Returns whether they are, by the deadline.
    pub fn until_fewer_elsewhere(&self, than: usize, deadline: Option<Instant>) -> bool {
        self.until(deadline, |state| state.elsewhere() < than)
    }

    /// Lets the kept workers out. If there are none, lets everybody go.
    pub fn close(&self, latest: Option<Instant>) {
        self.change(|state| {
            state.latest = latest;
            let any = !state.kept.is_empty();
            state.phase = if any { Phase::Closing } else { Phase::Over };
        });
    }

    /// Whether held threads go now, whatever happens. A kept one that was let out asks, and then goes as well.
    pub fn is_too_late(&self) -> bool {
        let mut state = lock(&self.state);
        let is_too_late = has_passed(state.latest);
        state.went_early |= is_too_late;
        is_too_late
    }

    /// Lets everybody go, wherever they are.
    pub fn release(&self) {
        self.change(|state| state.phase = Phase::Over);
    }

    /// Whether a thread went before it was time.
    pub fn went_early(&self) -> bool {
        lock(&self.state).went_early
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits until this holds, at most until the deadline. Returns whether it does.
    fn until(&self, deadline: Option<Instant>, holds: impl Fn(&State) -> bool) -> bool {
        let mut state = lock(&self.state);
        while !holds(&state) && !has_passed(deadline) {
            state = self.wait(state, deadline);
        }
        holds(&state)
    }

    /// Waits for a change, at most until the deadline.
    #[cfg(not(loom))]
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(std::time::Duration::MAX);
        match self.changed.wait_timeout(state, left) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// Waits for a change. Loom knows no time.
    #[cfg(loom)]
    fn wait<'a>(&self, state: MutexGuard<'a, State>, _: Option<Instant>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| cfg!(not(loom)) && Instant::now() >= deadline)
}
