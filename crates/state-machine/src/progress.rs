//! What the user is shown during a logout, and what a completed logout returns.

use std::time::Duration;

use crate::{
    error::Warning,
    transition::{State, progress},
};

/// How far a logout is. A watch channel keeps only the latest value, so each value lists the states
/// before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The number of the run: 1, 2, … and 0 before the first.
    pub run: u64,
    /// The state of the logout.
    pub state: State,
    /// The state in percent.
    pub percent: u8,
    /// The state in words for a person; after a failure, its cause.
    pub message: String,
    /// The time from the beginning of the logout to this state.
    pub elapsed: Duration,
    /// The states before this one, in order.
    pub steps: Vec<Step>,
}

/// A state that a logout has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state.
    pub state: State,
    /// How long the logout was in it.
    pub spent: Duration,
}

/// A logout that completed.
#[derive(Debug)]
#[must_use = "its warnings say what is left to clean up"]
#[non_exhaustive]
pub struct LogoutReport {
    /// What failed after the point of no return, and is left to clean up.
    pub warnings: Vec<Warning>,
    /// How long the logout took.
    pub elapsed: Duration,
    /// The states that it went through, in order.
    pub steps: Vec<Step>,
}

impl Progress {
    /// The progress of a run that has done nothing.
    pub(crate) fn idle(run: u64) -> Self {
        Self {
            run,
            state: State::Idle,
            percent: progress(State::Idle),
            message: State::Idle.to_string(),
            elapsed: Duration::ZERO,
            steps: Vec::new(),
        }
    }

    /// Enters the next state, at this time after the beginning.
    pub(crate) fn enter(&mut self, state: State, elapsed: Duration, message: String) {
        if self.state != State::Idle {
            let spent = elapsed.saturating_sub(self.elapsed);
            self.steps.push(Step { state: self.state, spent });
        }
        (self.state, self.percent) = (state, progress(state));
        (self.elapsed, self.message) = (elapsed, message);
    }
}
