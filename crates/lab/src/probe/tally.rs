//! Counts the trials of one command, and saves the output of some. Each trial takes at most eight bytes
//! of memory.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Command,
    report::{Arm, FailureKind, First, LeftBehind, Slow},
    trial::{EndKind, Trial},
};
use crate::{
    Outcomes, Spread,
    aftermath::ThreadState,
    capture::Captured,
    sandbox::Ended,
    statistics::{failure_rate_upper_bound, wilson},
};

/// How many trials of each kind of failure keep their output.
const KEPT_PER_KIND: usize = 3;

/// How many kinds of failure keep output.
const KEPT_KINDS: usize = 20;

/// How many of the slowest clean trials keep their output.
const SLOWEST: usize = 3;

/// Counts the trials of one command.
pub(super) struct Tally {
    command: Command,
    folder: PathBuf,
    outcomes: Outcomes,
    failures: BTreeMap<EndKind, FailureCount>,
    clean_micros: Vec<i64>,
    left: BTreeMap<String, u32>,
    /// The slowest clean trials, the slowest first.
    slowest: Vec<(Duration, u32)>,
    truncated: u32,
    too_short: u32,
    /// The first error in saving output. No output is saved after it.
    keep_error: Option<io::Error>,
}

/// The trials of one kind of failure.
struct FailureCount {
    trials: u32,
    /// The number of the first, and its seed.
    first: (u32, u64),
    kept: Vec<u32>,
    threads: Vec<ThreadState>,
}

impl Tally {
    pub(super) fn new(command: Command, folder: PathBuf) -> Self {
        Self {
            command,
            folder,
            outcomes: Outcomes::default(),
            failures: BTreeMap::new(),
            clean_micros: Vec::new(),
            left: BTreeMap::new(),
            slowest: Vec::new(),
            truncated: 0,
            too_short: 0,
            keep_error: None,
        }
    }

    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// Counts a trial. Returns whether it is the first of a new kind of failure.
    pub(super) fn add(&mut self, trial: &Trial, ended: &Ended) -> bool {
        self.outcomes.add(trial.end.outcome);
        for left in &trial.left {
            *self.left.entry(left.clone()).or_default() += 1;
        }
        self.truncated += u32::from(trial.is_truncated);
        self.too_short += u32::from(trial.is_too_short);
        let (is_new_failure, keep) = if trial.end.is_failure() {
            self.add_failed(trial)
        } else {
            (false, self.add_clean(trial))
        };
        if keep {
            self.on_disk(trial.number, |folder| write(folder, ended));
        }
        is_new_failure
    }

    /// Counts a failed trial. Returns whether its kind is new, and whether to save its output.
    fn add_failed(&mut self, trial: &Trial) -> (bool, bool) {
        let has_room = self.failures.len() < KEPT_KINDS;
        let first = (trial.number, trial.seed);
        let count = self.failures.entry(trial.end.clone()).or_insert(FailureCount {
            trials: 0,
            first,
            kept: Vec::new(),
            threads: Vec::new(),
        });
        count.trials += 1;
        if count.trials == 1 || first < count.first {
            count.first = first;
            count.threads.clone_from(&trial.threads);
        }
        let is_new = count.trials == 1;
        let has_output = !count.kept.is_empty();
        let keep = count.kept.len() < KEPT_PER_KIND && (has_output || (is_new && has_room));
        if keep {
            count.kept.push(trial.number);
        }
        (is_new, keep)
    }

    /// Counts a clean trial. Returns whether it is among the slowest so far. Removes the output of the
    /// trial that it replaces.
    fn add_clean(&mut self, trial: &Trial) -> bool {
        self.clean_micros.push(i64::try_from(trial.wall.as_micros()).unwrap_or(i64::MAX));
        self.slowest.push((trial.wall, trial.number));
        self.slowest.sort_unstable_by_key(|(wall, number)| (Reverse(*wall), *number));
        let dropped = if self.slowest.len() > SLOWEST { self.slowest.pop() } else { None };
        match dropped {
            Some((_, number)) if number == trial.number => false,
            Some((_, number)) => {
                self.on_disk(number, |folder| fs::remove_dir_all(folder));
                true
            }
            None => true,
        }
    }

    fn on_disk(&mut self, trial: u32, change: impl FnOnce(&Path) -> io::Result<()>) {
        if self.keep_error.is_none() {
            self.keep_error = change(&self.folder.join(format!("trial-{trial:04}"))).err();
        }
    }

    /// Summarises the trials. A command that runs one again ends with what else is done to it.
    pub(super) fn finish(self, provoked: &str) -> Arm {
        let (trials, clean) = (self.outcomes.total(), self.outcomes.clean);
        let failed = trials - clean;
        let (low, high) = wilson(failed, trials);
        let mut failures: Vec<_> = self.failures.into_iter().collect();
        failures.sort_by_key(|(_, it)| (Reverse(it.trials), it.first));
        let mut left: Vec<_> = self.left.into_iter().collect();
        left.sort_by_key(|(_, trials)| Reverse(*trials));
        let left = left.into_iter().map(|(what, trials)| LeftBehind { what, trials }).collect();
        let command = &self.command.shell_quoted;
        let kind = |(end, count): (EndKind, FailureCount)| {
            let FailureCount { trials, first: (trial, seed), kept, threads } = count;
            let rerun = format!("PROBE_TRIAL={trial} PROBE_SEED={seed} {command}{provoked}");
            FailureKind { end, trials, first: First { trial, seed, rerun }, kept, threads }
        };
        let micros = |wall: Duration| u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Arm {
            kinds: failures.into_iter().map(kind).collect(),
            command: self.command.shell_quoted,
            trials,
            outcomes: self.outcomes,
            failed,
            interval: [low, high],
            failure_rate_upper_bound: (failed == 0).then(|| failure_rate_upper_bound(trials)),
            clean_wall_micros: Spread::of(self.clean_micros),
            slowest: self
                .slowest
                .into_iter()
                .map(|(wall, trial)| Slow { trial, micros: micros(wall) })
                .collect(),
            left,
            stderr_truncated: self.truncated,
            ended_before_signal: self.too_short,
            kept: self.folder,
            keep_error: self.keep_error.map(|error| error.to_string()),
        }
    }
}

fn write(folder: &Path, ended: &Ended) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("stdout"), with_gap_marked(&ended.stdout))?;
    fs::write(folder.join("stderr"), with_gap_marked(&ended.stderr))?;
    if ended.threads.is_empty() {
        return Ok(());
    }
    let threads: String = ended.threads.iter().map(|thread| format!("{thread}\n")).collect();
    fs::write(folder.join("threads"), threads + &ended.stacks)
}

/// Returns the captured bytes; if some were dropped, a line of text marks the gap.
fn with_gap_marked(captured: &Captured) -> Vec<u8> {
    if captured.is_cut() { captured.text().into_bytes() } else { captured.bytes.clone() }
}
