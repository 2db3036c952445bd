//! One trial of a command, and how it ended.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    Outcome,
    aftermath::ThreadState,
    sandbox::{Ended, Provoked},
    stderr::{panics, signature, without_what_varies},
};

/// One trial, without its output.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which of the commands it is a trial of, from 0.
    pub command: usize,
    /// Its number among the trials of its command, from 0.
    pub number: u32,
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub end: EndKind,
    /// From start to end.
    pub wall: Duration,
    /// Whether it had ended before the first signal that it was to get.
    pub is_too_short: bool,
    /// What it left behind, with `#` in place of numbers and identifiers.
    pub left: Vec<String>,
    /// What its threads did when it was killed at the deadline.
    pub threads: Vec<ThreadState>,
    /// Whether the middle of its standard error was dropped because there was too much.
    pub is_truncated: bool,
}

/// How trials end. Trials that differ only in numbers have the same kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EndKind {
    /// The outcome.
    pub outcome: Outcome,
    /// How the process ended: `exit code 1`, `SIGABRT`.
    pub ending: String,
    /// The panic sites, each once.
    pub panics: Vec<Panic>,
    /// Without a panic: the most telling line of standard error.
    pub stderr_line: Option<String>,
}

/// A place where trials panic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Panic {
    /// The site, without paths of this machine.
    pub site: String,
    /// The panic's message, with `#` in place of numbers and identifiers.
    pub message: String,
}

impl Trial {
    /// Describes a trial that was not interrupted.
    pub(super) fn of(
        (command, number): (usize, u32),
        seed: u64,
        ended: &Ended,
        provoked: &Provoked,
    ) -> Self {
        let (end, is_truncated) = (EndKind::of(ended), ended.stderr.is_cut());
        let left = ended.left.iter().map(|left| without_what_varies(&left.to_string()));
        let mut left: Vec<_> = left.collect();
        left.dedup();
        let threads = ended.threads.clone();
        let first_signal = provoked.signals.iter().map(|(after, _)| *after).min();
        let is_too_short = first_signal.is_some_and(|after| ended.wall < after);
        Self {
            command,
            number,
            seed,
            end,
            wall: ended.wall,
            is_too_short,
            left,
            threads,
            is_truncated,
        }
    }
}

impl EndKind {
    fn of(ended: &Ended) -> Self {
        let stderr = ended.stderr.text();
        let mut found = panics(&stderr);
        let outcome = ended.ending.outcome(!found.is_empty());
        if outcome == Outcome::Failed {
            // `cargo test` prints the panics of failed tests to standard output.
            found = panics(&ended.stdout.text());
        }
        let mut panics: Vec<_> = found
            .into_iter()
            .map(|panic| Panic { site: panic.site, message: without_what_varies(&panic.message) })
            .collect();
        panics.sort_unstable();
        panics.dedup();
        let is_silent = outcome == Outcome::Clean || !panics.is_empty();
        let stderr_line = if is_silent { None } else { signature(&stderr) };
        Self { outcome, ending: ended.ending.to_string(), panics, stderr_line }
    }

    /// Whether these trials failed.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.outcome != Outcome::Clean
    }
}

/// `aborted (SIGABRT)`.
impl fmt::Display for EndKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.outcome, self.ending)
    }
}
