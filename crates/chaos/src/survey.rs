//! How often each thread of a program comes to each kind of place. A shutdown stands at the end, so whoever wants to
//! hold a thread in it has to know where the end is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// How often a thread came to each kind of place.
pub type Counts = BTreeMap<Place, u32>;

/// The most threads of one trial that are remembered.
const THREADS: usize = 4096;

/// One trial in which nothing was held. A thread is named by its place in the tree of threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// How often each thread came to what.
    threads: BTreeMap<String, Counts>,
    /// Those that were the first of a process with several.
    firsts: BTreeSet<String>,
}

/// What is known of a program before any of its threads is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveys {
    /// How long it takes if it is not traced, in microseconds. No thread is held when the program has taken
    /// [`TIMES`] as long.
    pub bare_micros: Option<u64>,
    /// Several trials, because threads do not do the same again. Each seed takes one of them.
    pub surveys: Vec<Survey>,
}

/// How many times as long as the bare program a program may take until no thread is held any more. The rest of it
/// is still traced, and takes longer for that.
pub const TIMES: u32 = 4;

impl Surveys {
    /// Reads those that [`Surveys::write`] has written.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no such file.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Writes them into a file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }

    /// The one of this seed.
    pub(crate) fn of(&self, seed: u64) -> Option<&Survey> {
        Rng::with_seed(seed).choice(&self.surveys)
    }
}

impl Survey {
    pub(crate) fn add(&mut self, path: &[u32], counts: Counts) {
        let has_room = self.threads.len() < THREADS;
        if has_room && !counts.is_empty() {
            self.threads.insert(name(path), counts);
        }
    }

    /// Another thread has begun in the process whose first thread this is.
    pub(crate) fn has_another(&mut self, first: &[u32]) {
        if self.firsts.len() < THREADS {
            self.firsts.insert(name(first));
        }
    }

    /// The first thread of a process with several, and how often it got on.
    pub(crate) fn first(&self, rng: &mut Rng) -> Option<(&str, u32)> {
        let name = rng.choice(&self.firsts)?;
        let counts = self.threads.get(name)?;
        let places = counts.iter().filter(|(place, _)| place.is_progress());
        Some((name, places.map(|(_, count)| count).sum()))
    }

    /// How many threads were seen.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How often the thread at this place in the tree came to what.
    #[must_use]
    pub fn of(&self, path: &[u32]) -> Option<&Counts> {
        self.threads.get(&name(path))
    }

    /// The same for all threads together.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = Counts::new();
        for (place, count) in self.threads.values().flatten() {
            *total.entry(*place).or_default() += count;
        }
        total
    }
}

/// `0.2`: the third thread that the first one has started which the first process has.
pub(crate) fn name(path: &[u32]) -> String {
    path.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}
