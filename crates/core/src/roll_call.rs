//! Where the threads of a runtime are: who was let in, who is kept, who is held, and when they may go.
//!
//! There is no Tokio in here: `runtime/rest.rs` says what this is good for, and calls it from Tokio's hooks.
//!
//! The threads come in one after another. Each waits at its first [`parking`](RollCall::parking) until all
//! workers have come there. The last of them stays: it is the *warden*. The others go on and work. To
//! close, the others are made to [`hold`](RollCall::hold), and then the warden is let out. The others stay
//! until the warden's thread has ended.

use std::time::Instant;

use crate::{
    sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, lock},
    this_thread,
};

/// Where the threads of a runtime are.
pub struct RollCall {
    /// How many workers there are, the warden included.
    workers: usize,
    /// Whether `parking` has nothing to do any more. It is called whenever a worker goes idle.
    has_begun: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// How many threads came in.
    came: usize,
    /// How many workers came to their first `parking`.
    caught: usize,
    /// The warden, by the number of its thread.
    warden: Option<usize>,
    /// All threads, by number.
    threads: Vec<usize>,
    /// The threads that are held now.
    held: Vec<usize>,
    /// A thread was let go before the warden had ended.
    went_early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The workers come in.
    Starting,
    /// The warden is kept; the others work, or are held.
    Kept,
    /// The warden may go.
    Closing,
    /// Everybody may go, wherever they are.
    Over,
}

impl State {
    /// How many threads are neither held nor the warden.
    fn elsewhere(&self) -> usize {
        let is_known =
            |thread: &&usize| self.held.contains(*thread) || self.warden == Some(**thread);
        self.threads.iter().filter(|thread| !is_known(thread)).count()
    }
}

impl RollCall {
    /// For this many workers, the warden included: two at least.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let state = State {
            phase: Phase::Starting,
            came: 0,
            caught: 0,
            warden: None,
            threads: Vec::new(),
            held: Vec::new(),
            went_early: false,
        };
        Self {
            workers,
            has_begun: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// How many workers there are besides the warden.
    pub const fn workers(&self) -> usize {
        self.workers - 1
    }

    /// A thread has started. Workers are let in one after another: each when the one before has come to its
    /// first `parking`.
    pub fn started(&self) {
        let mut state = lock(&self.state);
        state.threads.push(this_thread::number());
        let turn = state.came;
        state.came += 1;
        while state.phase == Phase::Starting && turn < self.workers && state.caught < turn {
            state = self.wait(state, None);
        }
    }

    /// A worker is about to go idle. The last worker that comes here at the start is kept until the closing:
    /// it calls `kept` before that. Returns `true` on that thread, if the closing let it out.
    pub fn parking(&self, kept: impl FnOnce()) -> bool {
        // Acquire pairs with the release of whoever ended the start: with the flag, the end is seen.
        if self.has_begun.load(Ordering::Acquire) {
            return false;
        }
        let mut state = lock(&self.state);
        if state.phase != Phase::Starting {
            return false;
        }
        state.caught += 1;
        if state.caught < self.workers {
            self.changed.notify_all();
            while state.phase == Phase::Starting {
                state = self.wait(state, None);
            }
            return false;
        }
        drop(state);
        // Before anybody knows that it is kept.
        kept();
        let mut state = lock(&self.state);
        if state.phase == Phase::Starting {
            state.warden = Some(this_thread::number());
            state.phase = Phase::Kept;
            // Release: see above.
            self.has_begun.store(true, Ordering::Release);
            self.changed.notify_all();
        }
        while state.phase == Phase::Kept {
            state = self.wait(state, None);
        }
        state.phase == Phase::Closing
    }

    /// A thread is about to end.
    pub fn stopped(&self) {
        let this = this_thread::number();
        let mut state = lock(&self.state);
        state.threads.retain(|thread| *thread != this);
        if state.warden == Some(this) {
            state.phase = Phase::Over;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the warden is kept. If that has not happened by the deadline, there is none: everybody is
    /// let go.
    pub fn begun(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while state.phase == Phase::Starting && !has_passed(deadline) {
            state = self.wait(state, deadline);
        }
        let is_kept = state.phase == Phase::Kept;
        drop(state);
        if !is_kept {
            self.release();
        }
        is_kept
    }

    /// Whether there is a warden, and it is kept.
    pub fn has_warden(&self) -> bool {
        lock(&self.state).phase == Phase::Kept
    }

    /// Lets everybody go, wherever they are.
    pub fn release(&self) {
        lock(&self.state).phase = Phase::Over;
        // Release: see `parking`.
        self.has_begun.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Holds this thread until the warden's thread has ended, or everybody is let go. `may_go` is asked now
    /// and then, from the closing on.
    pub fn hold(&self, may_go: impl Fn(&Self) -> bool) {
        let this = this_thread::number();
        let mut state = lock(&self.state);
        if state.warden == Some(this) {
            // It has left the scheduler, and takes what is queued before it ends.
            state.phase = Phase::Over;
        }
        state.held.push(this);
        drop(state);
        self.changed.notify_all();
        state = lock(&self.state);
        while state.phase < Phase::Over {
            let is_closing = state.phase == Phase::Closing;
            if is_closing {
                drop(state);
                let may_go = may_go(self);
                state = lock(&self.state);
                if may_go {
                    break;
                }
            }
            if state.phase < Phase::Over {
                state = self.wait(state, if is_closing { soon() } else { None });
            }
        }
        state.held.retain(|held| *held != this);
    }

    /// How many threads are held.
    pub fn held(&self) -> usize {
        lock(&self.state).held.len()
    }

    /// Waits until so many are held. Returns whether they are, by the deadline.
    pub fn until_held(&self, held: usize, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while state.held.len() < held && !has_passed(deadline) {
            state = self.wait(state, deadline);
        }
        state.held.len() >= held
    }

    /// Waits until every thread but the warden is held. Returns how many are not, at the deadline.
    pub fn until_all_held(&self, deadline: Option<Instant>) -> usize {
        let mut state = lock(&self.state);
        loop {
            let elsewhere = state.elsewhere();
            if elsewhere == 0 || has_passed(deadline) {
                return elsewhere;
            }
            state = self.wait(state, deadline);
        }
    }

    /// Lets the warden out.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Kept {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Says that a thread goes before it was time.
    pub fn go_early(&self) {
        lock(&self.state).went_early = true;
    }

    /// Whether a thread went before it was time.
    pub fn went_early(&self) -> bool {
        lock(&self.state).went_early
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

/// When a held thread looks again whether it may go.
fn soon() -> Option<Instant> {
    Instant::now().checked_add(std::time::Duration::from_millis(1))
}

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| cfg!(not(loom)) && Instant::now() >= deadline)
}
