//! The report of a probe: the object that `cargo xtask probe --format json` prints.

use std::path::PathBuf;

use serde::Serialize;

use super::trial::EndKind;
use crate::{
    Outcomes, Spread,
    aftermath::ThreadState,
    statistics::{Share, difference, fisher},
};

/// The significance level: the rates differ if `p` is below it.
const SIGNIFICANT: f64 = 0.05;

/// The report of a probe.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The commands.
    pub commands: Vec<Arm>,
    /// The comparison of the two commands' failure rates, if there are two.
    pub comparison: Option<Comparison>,
    /// What else was done to the commands: the options for their standard input, signals, and process 1.
    pub provoked: String,
    /// Every trial's seed is derived from this one.
    pub seed: u64,
    /// How long the probe took.
    pub seconds: f64,
    /// How many trials ran at a time.
    pub jobs: usize,
    /// How many CPU-busy threads ran during the trials.
    pub load: u32,
    /// How long a trial was allowed to run.
    pub timeout_seconds: f64,
    /// Whether the probe stopped at the first failure. The counts then give no rate.
    pub until_failure: bool,
    /// Whether the probe was interrupted. The counts cover the trials that had ended.
    pub interrupted: bool,
}

/// The trials of one command.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// The command, quoted for a shell.
    pub command: String,
    /// How many trials ended.
    pub trials: u32,
    /// How they ended.
    pub outcomes: Outcomes,
    /// How many failed.
    pub failed: u32,
    /// The Wilson interval of the failure rate, at 95 %.
    pub interval: [f64; 2],
    /// If no trial failed: the upper bound of the failure rate, at 95 %.
    pub failure_rate_upper_bound: Option<f64>,
    /// The kinds of failure, the most frequent first.
    pub kinds: Vec<FailureKind>,
    /// How long the clean trials took, in microseconds.
    pub clean_wall_micros: Option<Spread>,
    /// The slowest clean trials, the slowest first.
    pub slowest: Vec<Slow>,
    /// What trials left behind when they had ended, the most frequent first: processes, and files in their
    /// temporary directory. The probe removes both.
    pub left: Vec<LeftBehind>,
    /// How many trials had their standard error truncated. Of the dropped part, only the panics are seen.
    pub stderr_truncated: u32,
    /// How many trials had ended before the first signal that they were to get.
    pub ended_before_signal: u32,
    /// The folder with the output of some trials, in `trial-NNNN/stdout` and `stderr`.
    pub kept: PathBuf,
    /// The first error in saving output, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_error: Option<String>,
}

/// A kind of failure, with its trials.
#[derive(Clone, Debug, Serialize)]
pub struct FailureKind {
    /// How these trials ended.
    #[serde(flatten)]
    pub end: EndKind,
    /// How many trials failed like this.
    pub trials: u32,
    /// The first of these trials.
    pub first: First,
    /// The trials whose output is kept.
    pub kept: Vec<u32>,
    /// The threads of the first, if it was killed at its deadline. Their stacks are in the file `threads`
    /// beside its output, if gdb is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<ThreadState>,
}

/// Something that trials left behind.
#[derive(Clone, Debug, Serialize)]
pub struct LeftBehind {
    /// What it is, with `#` in place of numbers and identifiers.
    pub what: String,
    /// How many trials left it.
    pub trials: u32,
}

/// The first trial of a kind of failure.
#[derive(Clone, Debug, Serialize)]
pub struct First {
    /// Its number, from 0.
    pub trial: u32,
    /// Its seed.
    pub seed: u64,
    /// The shell command that runs this trial again.
    pub rerun: String,
}

/// One of the slowest clean trials.
#[derive(Clone, Debug, Serialize)]
pub struct Slow {
    /// Its number, from 0.
    pub trial: u32,
    /// How long it took.
    pub micros: u64,
}

/// A comparison of the failure rates of two commands.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The first rate minus the second.
    pub difference: f64,
    /// The interval of the difference at 95 %, by Newcombe's method.
    pub interval: [f64; 2],
    /// The probability of counts at least this far apart if the rates were equal (Fisher's exact test,
    /// two-sided).
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
