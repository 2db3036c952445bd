//! What a probe found out: the object that `--format json` prints.

use std::path::PathBuf;

use lab::{
    Outcomes, Spread,
    statistics::{Share, difference, fisher, room_left_by_none, wilson},
};
use serde::Serialize;

use super::{
    command::Command,
    kept::Kept,
    tally::{Counted, Tally},
    trial::Way,
};

/// Below which probability, were the rates the same, two rates are said to differ.
const SIGNIFICANT: f64 = 0.05;

/// Everything that a probe found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One command, or the two that were compared.
    pub commands: Vec<Arm>,
    /// How their rates of failure compare.
    pub comparison: Option<Comparison>,
    /// The seed from which every trial's seed was derived.
    pub seed: u64,
    /// How long the probe took.
    pub seconds: f64,
    /// How many trials ran at a time.
    pub jobs: usize,
    /// How long a trial could take.
    pub timeout_seconds: f64,
    /// Whether the first failure was the end: then the rates are none.
    pub until_failure: bool,
    /// Whether it was interrupted, and the counts are what was known by then.
    pub interrupted: bool,
}

/// What the trials of one command came to.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// The command, as it would be typed.
    pub command: String,
    /// How many trials ended.
    pub trials: u32,
    /// How.
    pub outcomes: Outcomes,
    /// How many of them failed.
    pub failed: u32,
    /// The Wilson interval, at 95 %, of the rate of failure.
    pub interval: [f64; 2],
    /// Where none failed: the highest rate of failure that this leaves room for, at 95 %.
    pub room_left_by_none: Option<f64>,
    /// The ways in which trials failed, the most frequent first.
    pub ways: Vec<FailedWay>,
    /// How long the trials took that were clean, in microseconds.
    pub clean_wall_micros: Option<Spread>,
    /// The clean trials that took longest, the longest first.
    pub slowest: Vec<Slow>,
    /// Of how many trials the middle of standard error was not looked at, because it was too long.
    pub not_read_in_full: u32,
    /// The folder in which what they printed is kept, in `trial-NNNN/stdout` and `stderr`.
    pub kept: PathBuf,
}

/// A way in which trials failed.
#[derive(Clone, Debug, Serialize)]
pub struct FailedWay {
    /// The way.
    #[serde(flatten)]
    pub way: Way,
    /// How many trials ended in it.
    pub trials: u32,
    /// The first of them.
    pub first: Again,
    /// Those of which it is kept what they printed.
    pub kept: Vec<u32>,
}

/// What it takes to run a trial again.
#[derive(Clone, Debug, Serialize)]
pub struct Again {
    /// Which trial, from 0.
    pub trial: u32,
    /// Its seed.
    pub seed: u64,
    /// The command that runs it again, in a shell.
    pub rerun: String,
}

/// A clean trial that took long.
#[derive(Clone, Debug, Serialize)]
pub struct Slow {
    /// Which trial, from 0.
    pub trial: u32,
    /// How long it took.
    pub micros: u64,
}

/// How the rates of failure of two commands compare.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The first rate less the second.
    pub difference: f64,
    /// Its interval at 95 %, by Newcombe's method.
    pub interval: [f64; 2],
    /// The probability of counts as unlikely as these, were the rates the same: Fisher's exact
    /// test, two-sided.
    pub p: f64,
    /// Whether they differ: whether that is below 0.05.
    pub differ: bool,
}

impl Report {
    /// Whether any trial failed.
    pub fn has_failures(&self) -> bool {
        self.commands.iter().any(|arm| arm.failed > 0)
    }
}

impl Arm {
    /// What the trials of a command come to.
    pub fn of(command: &Command, tally: &Tally, kept: &Kept) -> Self {
        let outcomes = tally.outcomes();
        let (trials, failed) = (outcomes.total(), outcomes.total() - outcomes.clean);
        let (low, high) = wilson(failed, trials);
        let slowest = kept.slowest().iter();
        Self {
            command: command.to_string(),
            trials,
            outcomes,
            failed,
            interval: [low, high],
            room_left_by_none: (failed == 0).then(|| room_left_by_none(trials)),
            ways: ways(command, tally, kept),
            clean_wall_micros: tally.clean_micros(),
            slowest: slowest
                .map(|(wall, trial)| Slow { trial: *trial, micros: micros(*wall) })
                .collect(),
            not_read_in_full: tally.cut(),
            kept: kept.folder().to_owned(),
        }
    }

    const fn share(&self) -> Share {
        Share { hits: self.failed, trials: self.trials }
    }
}

impl Comparison {
    /// How the rates of failure of these two compare.
    pub fn of(one: &Arm, other: &Arm) -> Self {
        let (difference, interval) = difference(one.share(), other.share());
        let p = fisher(one.share(), other.share());
        Self { difference, interval, p, differ: p < SIGNIFICANT }
    }
}

fn ways(command: &Command, tally: &Tally, kept: &Kept) -> Vec<FailedWay> {
    let failures = tally.failures().into_iter();
    failures
        .map(|(way, Counted { trials, first: (trial, seed) })| {
            let rerun = format!("PROBE_TRIAL={trial} PROBE_SEED={seed} {command}");
            let first = Again { trial, seed, rerun };
            FailedWay { way: way.clone(), trials, first, kept: kept.odd(way) }
        })
        .collect()
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
