//! What odd trials and slow ones printed, kept in files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use lab::{capture::Captured, sandbox::Ended};
use thiserror::Error;

use super::trial::{Trial, Way};
use crate::{failure::Failure, output, workspace::Workspace};

/// How many trials of each way to fail are kept, in how many ways, and how many of the slowest.
const ODD: usize = 3;
const WAYS: usize = 20;
const SLOWEST: usize = 3;

/// A folder with what trials of one command printed.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    odd: BTreeMap<Way, Vec<u32>>,
    /// The clean trials that took longest, the longest first.
    slowest: Vec<(Duration, u32)>,
    /// Whether a file could not be written: then no other is tried.
    is_broken: bool,
}

/// Why nothing can be kept.
#[derive(Debug, Error)]
enum KeptError {
    #[error("cannot make the folder {}: {error}; --keep names another", folder.display())]
    NoFolder { folder: PathBuf, error: io::Error },
}

/// The folder that a probe keeps things in: the one that was asked for, if it is new, or else one
/// of its own.
pub fn folder(asked: Option<&Path>, workspace: &Workspace) -> Result<PathBuf, Failure> {
    let folder = match asked {
        Some(folder) => std::path::absolute(folder)?,
        None => {
            let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let name = format!("{}-{}", now.replace(':', ""), std::process::id());
            workspace.target()?.join("probe").join(name)
        }
    };
    let shown = folder.display();
    if asked.is_some() && folder.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!("{shown} is there already: name a folder that is not")));
    }
    match fs::create_dir_all(&folder) {
        Ok(()) => Ok(folder),
        Err(error) if asked.is_some() => {
            Err(Failure::Usage(format!("cannot make the folder {shown}: {error}")))
        }
        Err(error) => Err(KeptError::NoFolder { folder, error }.into()),
    }
}

impl Kept {
    /// A place for what the trials of one command print.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, odd: BTreeMap::new(), slowest: Vec::new(), is_broken: false }
    }

    /// Keeps what a trial printed, if it is worth it.
    pub fn consider(&mut self, trial: &Trial, ended: &Ended) {
        let worth = if trial.way.is_failure() { self.is_odd(trial) } else { self.is_slow(trial) };
        if worth && !self.is_broken {
            let written = write(&self.of(trial.number), ended);
            self.note(written);
        }
    }

    fn is_odd(&mut self, trial: &Trial) -> bool {
        let known = self.odd.len();
        if known >= WAYS && !self.odd.contains_key(&trial.way) {
            return false;
        }
        let numbers = self.odd.entry(trial.way.clone()).or_default();
        let odd = numbers.len() < ODD;
        if odd {
            numbers.push(trial.number);
        }
        odd
    }

    /// Whether a trial is among the slowest so far. The one that is so no longer is removed.
    fn is_slow(&mut self, trial: &Trial) -> bool {
        self.slowest.push((trial.wall, trial.number));
        self.slowest.sort_unstable_by_key(|(wall, number)| (std::cmp::Reverse(*wall), *number));
        if self.slowest.len() <= SLOWEST {
            return true;
        }
        let Some((_, number)) = self.slowest.pop() else { return false };
        let is_slow = number != trial.number;
        if is_slow && !self.is_broken {
            let removed = fs::remove_dir_all(self.of(number));
            self.note(removed);
        }
        is_slow
    }

    fn note(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.is_broken = true;
            let folder = self.folder.display();
            output::complain(&format!(
                "cannot keep what trials print in {folder}: {error}; no more is kept"
            ));
        }
    }

    /// Where what a trial printed is, or would be.
    fn of(&self, number: u32) -> PathBuf {
        self.folder.join(format!("trial-{number:04}"))
    }

    /// The kept trials that ended in this way.
    pub fn odd(&self, way: &Way) -> Vec<u32> {
        self.odd.get(way).cloned().unwrap_or_default()
    }

    /// The clean trials that took longest, the longest first.
    pub fn slowest(&self) -> &[(Duration, u32)] {
        &self.slowest
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn write(folder: &Path, ended: &Ended) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, captured) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        fs::write(folder.join(name), as_it_came(captured))?;
    }
    Ok(())
}

/// What was captured: byte by byte, unless something had to be left out.
fn as_it_came(captured: &Captured) -> Vec<u8> {
    if captured.is_cut() { captured.text().into_bytes() } else { captured.bytes.clone() }
}
