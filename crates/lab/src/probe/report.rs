//! What a probe found: the object that `cargo xtask probe --format json` prints.

use std::path::PathBuf;

use serde::Serialize;

use super::trial::Way;
use crate::{
    Outcomes, Spread,
    statistics::{Share, difference, fisher},
};

/// Rates are said to differ where counts like these would be less likely than this if they did not.
const SIGNIFICANT: f64 = 0.05;

/// Everything that a probe found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The commands.
    pub commands: Vec<Arm>,
    /// How the rates of failure of two commands compare.
    pub comparison: Option<Comparison>,
    /// Every trial's seed is derived from this one.
    pub seed: u64,
    /// How long the probe took.
    pub seconds: f64,
    /// How many trials ran at a time.
    pub jobs: usize,
    /// How many threads kept the processors busy.
    pub load: u32,
    /// How long a trial was allowed to run.
    pub timeout_seconds: f64,
    /// Whether the first failure ended the probe. The counts then give no rate.
    pub until_failure: bool,
    /// Whether it was interrupted. The counts are those known by then.
    pub interrupted: bool,
}

/// The trials of one command.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// The command, as it is typed.
    pub command: String,
    /// How many trials ended.
    pub trials: u32,
    /// How they ended.
    pub outcomes: Outcomes,
    /// How many failed.
    pub failed: u32,
    /// The Wilson interval of the rate of failure, at 95 %.
    pub interval: [f64; 2],
    /// If none failed: how high the rate of failure could still be, at 95 %.
    pub room_left_by_none: Option<f64>,
    /// The ways in which trials failed, the most frequent first.
    pub ways: Vec<FailedWay>,
    /// How long the clean trials took, in microseconds.
    pub clean_wall_micros: Option<Spread>,
    /// The clean trials that took longest, the longest first.
    pub slowest: Vec<Slow>,
    /// How many trials wrote so much to standard error that its middle was not read.
    pub not_read_in_full: u32,
    /// The folder with the output of some trials, in `trial-NNNN/stdout` and `stderr`.
    pub kept: PathBuf,
    /// Why output was not kept, if that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

/// A way in which trials failed.
#[derive(Clone, Debug, Serialize)]
pub struct FailedWay {
    /// The way.
    #[serde(flatten)]
    pub way: Way,
    /// How many trials failed in it.
    pub trials: u32,
    /// The first of them.
    pub first: First,
    /// The trials whose output is kept.
    pub kept: Vec<u32>,
}

/// The first trial that failed in its way.
#[derive(Clone, Debug, Serialize)]
pub struct First {
    /// Its number, from 0.
    pub trial: u32,
    /// Its seed.
    pub seed: u64,
    /// The command that runs it again, in a shell.
    pub rerun: String,
}

/// A clean trial that took long.
#[derive(Clone, Debug, Serialize)]
pub struct Slow {
    /// Its number, from 0.
    pub trial: u32,
    /// How long it took.
    pub micros: u64,
}

/// How the rates of failure of two commands compare.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The first rate minus the second.
    pub difference: f64,
    /// The interval of the difference at 95 %, by Newcombe's method.
    pub interval: [f64; 2],
    /// How likely counts at least as far apart would be if the rates were the same: Fisher's exact
    /// test, two-sided.
    pub p: f64,
    /// Whether `p` is below 0.05.
    pub differ: bool,
}

impl Report {
    /// Whether any trial failed.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.commands.iter().any(|arm| arm.failed > 0)
    }
}

impl Comparison {
    pub(super) fn of(one: &Arm, other: &Arm) -> Self {
        let [one, other] = [one, other].map(|it| Share { hits: it.failed, trials: it.trials });
        let ((difference, interval), p) = (difference(one, other), fisher(one, other));
        Self { difference, interval, p, differ: p < SIGNIFICANT }
    }
}
