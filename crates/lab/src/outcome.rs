//! How a process ended, the outcome of its trial, and counts of outcomes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// SIGABRT, which has this number on every Unix.
const SIGABRT: i32 = 6;

/// How one trial ended. If several apply, the first in this order wins: `hung`,
/// `signalled`/`aborted`, `panicked`, `failed`, `clean`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Exit code 0, no panic on any thread, and every check of the trial held.
    Clean,
    /// At least one panic, on any thread, whatever the exit code.
    Panicked,
    /// Ended by SIGABRT, with or without a panic.
    Aborted,
    /// Ended by any other signal.
    Signalled,
    /// Still running at its deadline, and killed.
    Hung,
    /// A check of the trial did not hold, its body returned an error, or it exited with a non-zero code
    /// without a panic.
    Failed,
}

impl Outcome {
    /// Every outcome, in the order in which reports list them.
    pub const ALL: [Self; 6] =
        [Self::Clean, Self::Panicked, Self::Aborted, Self::Signalled, Self::Hung, Self::Failed];

    /// The word that reports, snapshots and JSON use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Panicked => "panicked",
            Self::Aborted => "aborted",
            Self::Signalled => "signalled",
            Self::Hung => "hung",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How many trials of one variant had each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Trials that ended [`Outcome::Clean`].
    pub clean: u32,
    /// Trials that ended [`Outcome::Panicked`].
    pub panicked: u32,
    /// Trials that ended [`Outcome::Aborted`].
    pub aborted: u32,
    /// Trials that ended [`Outcome::Signalled`].
    pub signalled: u32,
    /// Trials that ended [`Outcome::Hung`].
    pub hung: u32,
    /// Trials that ended [`Outcome::Failed`].
    pub failed: u32,
}

impl Outcomes {
    /// Counts a trial.
    pub const fn add(&mut self, outcome: Outcome) {
        *self.counter(outcome) += 1;
    }

    /// How many trials had this outcome.
    #[must_use]
    pub const fn count(mut self, outcome: Outcome) -> u32 {
        *self.counter(outcome)
    }

    const fn counter(&mut self, outcome: Outcome) -> &mut u32 {
        match outcome {
            Outcome::Clean => &mut self.clean,
            Outcome::Panicked => &mut self.panicked,
            Outcome::Aborted => &mut self.aborted,
            Outcome::Signalled => &mut self.signalled,
            Outcome::Hung => &mut self.hung,
            Outcome::Failed => &mut self.failed,
        }
    }

    /// How many trials were counted.
    #[must_use]
    pub fn total(self) -> u32 {
        Outcome::ALL.into_iter().map(|outcome| self.count(outcome)).sum()
    }

    /// The outcomes that occurred at least once.
    pub fn seen(self) -> impl Iterator<Item = Outcome> {
        Outcome::ALL.into_iter().filter(move |&outcome| self.count(outcome) > 0)
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut counts = Self::default();
        outcomes.into_iter().for_each(|outcome| counts.add(outcome));
        counts
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was killed at its deadline.
    DeadlinePassed,
    /// It was killed because this process was interrupted.
    Interrupted,
}

impl Ending {
    /// The outcome of a process that ended like this, with or without a panic. An interrupted process
    /// counts as one that was still running.
    #[must_use]
    pub const fn outcome(self, panicked: bool) -> Outcome {
        match self {
            Self::DeadlinePassed | Self::Interrupted => Outcome::Hung,
            Self::Signalled(SIGABRT) => Outcome::Aborted,
            Self::Signalled(_) => Outcome::Signalled,
            Self::Exited(_) if panicked => Outcome::Panicked,
            Self::Exited(0) => Outcome::Clean,
            Self::Exited(_) => Outcome::Failed,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(number) => match signal_hook::low_level::signal_name(*number) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {number}"),
            },
            Self::DeadlinePassed => f.write_str("killed at its deadline"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}
