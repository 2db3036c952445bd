//! One trial of a command, and the way in which it ended.

use std::{fmt, time::Duration};

use lab::{
    Outcome,
    sandbox::Ended,
    stderr::{panics, signature, without_what_varies},
};
use serde::Serialize;

/// One trial, without what it printed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which, from 0.
    pub number: u32,
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub way: Way,
    /// From start to end.
    pub wall: Duration,
    /// Whether its standard error was too long to be looked at in full.
    pub is_cut: bool,
}

/// A way in which trials end. Those that differ in nothing but numbers end in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Way {
    /// What it comes to.
    pub outcome: Outcome,
    /// How the process ended: `exit code 1`, `SIGABRT`.
    pub ending: String,
    /// Where it panicked, each site once.
    pub panics: Vec<Panic>,
    /// The line of standard error that tells most, where there is no panic.
    pub says: Option<String>,
}

/// A place where trials panic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Panic {
    /// The site, without anything of this machine.
    pub site: String,
    /// What the panic said, with `#` for what varies.
    pub message: String,
}

impl Trial {
    /// What came of a trial that was not interrupted.
    pub fn of(number: u32, seed: u64, ended: &Ended) -> Self {
        let (way, is_cut) = (Way::of(ended), ended.stderr.is_cut());
        Self { number, seed, way, wall: ended.wall, is_cut }
    }
}

impl Way {
    fn of(ended: &Ended) -> Self {
        let stderr = ended.stderr.text();
        let mut panics: Vec<_> = panics(&stderr)
            .into_iter()
            .map(|panic| Panic { site: panic.site, message: without_what_varies(&panic.message) })
            .collect();
        panics.sort_unstable();
        panics.dedup();
        let outcome = ended.ending.outcome(!panics.is_empty());
        let speaks = outcome != Outcome::Clean && panics.is_empty();
        let says = if speaks { signature(&stderr) } else { None };
        Self { outcome, ending: ended.ending.to_string(), panics, says }
    }

    /// Whether it is a way to fail.
    pub fn is_failure(&self) -> bool {
        self.outcome != Outcome::Clean
    }
}

/// `aborted (SIGABRT)`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.outcome, self.ending)
    }
}
