//! What the user is shown while a logout is under way, and what is left of it afterwards.

use std::time::Duration;

use crate::{
    error::Warning,
    transition::{State, progress},
};

/// How far a logout is. A watch channel keeps the latest one only; so each tells of those before it,
/// and whoever looks seldom misses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which run of the driver this is of: 1, 2, … and 0 before the first.
    pub run: u64,
    /// Where the logout is.
    pub state: State,
    /// How far that is, in percent.
    pub percent: u8,
    /// The same in words for a person; of a failure, why.
    pub message: String,
    /// How long after the logout began that state was entered.
    pub elapsed: Duration,
    /// The states before this one, in order.
    pub passed: Vec<Passed>,
}

/// A state that lies behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which.
    pub state: State,
    /// How long the logout was in it.
    pub spent: Duration,
}

/// A logout that completed.
#[derive(Debug)]
pub struct LogoutReport {
    /// What failed on the way, after the point of no return. Without any it is a complete success;
    /// with some, a partial one: logged out, and something is left.
    pub warnings: Vec<Warning>,
    /// How long it took.
    pub elapsed: Duration,
    /// The states it went through, in order.
    pub passed: Vec<Passed>,
}

impl Progress {
    /// Nothing of this run has been done.
    pub(crate) fn idle(run: u64) -> Self {
        Self {
            run,
            state: State::Idle,
            percent: progress(State::Idle),
            message: State::Idle.to_string(),
            elapsed: Duration::ZERO,
            passed: Vec::new(),
        }
    }

    /// The next state, entered so long after the beginning.
    pub(crate) fn enter(&mut self, state: State, elapsed: Duration, message: String) {
        if self.state != State::Idle {
            let spent = elapsed.saturating_sub(self.elapsed);
            self.passed.push(Passed { state: self.state, spent });
        }
        (self.state, self.percent) = (state, progress(state));
        (self.elapsed, self.message) = (elapsed, message);
    }
}
