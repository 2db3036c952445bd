//! The trials of one command, counted, and the files that keep the output of the interesting ones.
//! However many trials there are, each adds eight bytes at most.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Command,
    report::{Arm, FailedWay, First, Slow},
    trial::{Trial, Way},
};
use crate::{
    Outcomes, Spread,
    capture::Captured,
    sandbox::Ended,
    statistics::{room_left_by_none, wilson},
};

/// The output of this many trials of each way to fail is kept, in this many ways, and of this many
/// of the slowest clean ones.
const FAILED: usize = 3;
const WAYS: usize = 20;
const SLOWEST: usize = 3;

/// The trials of one command, counted.
pub(super) struct Tally {
    command: Command,
    folder: PathBuf,
    outcomes: Outcomes,
    failures: BTreeMap<Way, Counted>,
    clean_micros: Vec<i64>,
    /// The clean trials that took longest, the longest first.
    slowest: Vec<(Duration, u32)>,
    cut: u32,
    /// The first file that could not be written. After it no other is tried.
    not_kept: Option<io::Error>,
}

/// The trials that failed in one way.
struct Counted {
    trials: u32,
    /// The number of the first, and its seed.
    first: (u32, u64),
    kept: Vec<u32>,
}

impl Tally {
    pub(super) fn new(command: Command, folder: PathBuf) -> Self {
        Self {
            command,
            folder,
            outcomes: Outcomes::default(),
            failures: BTreeMap::new(),
            clean_micros: Vec::new(),
            slowest: Vec::new(),
            cut: 0,
            not_kept: None,
        }
    }

    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// Counts one more trial, and says whether it is the first that failed in its way.
    pub(super) fn add(&mut self, trial: &Trial, ended: &Ended) -> bool {
        self.outcomes.add(trial.way.outcome);
        self.cut += u32::from(trial.is_cut);
        let (is_news, keep) = if trial.way.is_failure() {
            self.failed(trial)
        } else {
            (false, self.was_clean(trial))
        };
        if keep {
            self.on_disk(trial.number, |folder| write(folder, ended));
        }
        is_news
    }

    /// Counts a failure: whether it is the first in its way, and whether its output is worth keeping.
    fn failed(&mut self, trial: &Trial) -> (bool, bool) {
        let has_room = self.failures.len() < WAYS;
        let first = (trial.number, trial.seed);
        let counted = self.failures.entry(trial.way.clone()).or_insert(Counted {
            trials: 0,
            first,
            kept: Vec::new(),
        });
        counted.trials += 1;
        counted.first = counted.first.min(first);
        let is_news = counted.trials == 1;
        let known = !counted.kept.is_empty();
        let keep = counted.kept.len() < FAILED && (known || (is_news && has_room));
        if keep {
            counted.kept.push(trial.number);
        }
        (is_news, keep)
    }

    /// Counts a clean trial: whether it is among the slowest so far. The output of the one that no
    /// longer is gets removed.
    fn was_clean(&mut self, trial: &Trial) -> bool {
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
        if self.not_kept.is_none() {
            self.not_kept = change(&self.folder.join(format!("trial-{trial:04}"))).err();
        }
    }

    /// What the trials came to.
    pub(super) fn finish(self) -> Arm {
        let (trials, clean) = (self.outcomes.total(), self.outcomes.clean);
        let failed = trials - clean;
        let (low, high) = wilson(failed, trials);
        let mut ways: Vec<_> = self.failures.into_iter().collect();
        ways.sort_by_key(|(_, it)| (Reverse(it.trials), it.first));
        let typed = &self.command.typed;
        let way = |(way, Counted { trials, first: (trial, seed), kept }): (Way, Counted)| {
            let rerun = format!("PROBE_TRIAL={trial} PROBE_SEED={seed} {typed}");
            FailedWay { way, trials, first: First { trial, seed, rerun }, kept }
        };
        let micros = |wall: Duration| u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Arm {
            ways: ways.into_iter().map(way).collect(),
            command: self.command.typed,
            trials,
            outcomes: self.outcomes,
            failed,
            interval: [low, high],
            room_left_by_none: (failed == 0).then(|| room_left_by_none(trials)),
            clean_wall_micros: Spread::of(self.clean_micros),
            slowest: self
                .slowest
                .into_iter()
                .map(|(wall, trial)| Slow { trial, micros: micros(wall) })
                .collect(),
            not_read_in_full: self.cut,
            kept: self.folder,
            not_kept: self.not_kept.map(|error| error.to_string()),
        }
    }
}

fn write(folder: &Path, ended: &Ended) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("stdout"), as_it_came(&ended.stdout))?;
    fs::write(folder.join("stderr"), as_it_came(&ended.stderr))
}

/// The captured bytes, with a line of text in place of those that were dropped.
fn as_it_came(captured: &Captured) -> Vec<u8> {
    if captured.is_cut() { captured.text().into_bytes() } else { captured.bytes.clone() }
}
