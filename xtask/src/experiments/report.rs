//! What a run found, put together.

use std::{io, path::PathBuf, process::ExitCode};

use lab::{
    interrupt,
    results::{ExperimentResult, Skipped},
};

use super::{
    options::Format,
    snapshots::{Comparison, SnapshotError, Snapshots},
    summary, table,
};
use crate::{
    output,
    workspace::{Source, Workspace},
};

/// What is known of one experiment.
#[derive(Debug)]
pub struct Finding {
    /// Which.
    pub source: Source,
    /// What.
    pub state: State,
}

/// How far an experiment got.
#[derive(Debug)]
pub enum State {
    /// It ran, and was compared with its snapshot.
    Compared(ExperimentResult, Comparison),
    /// It was interrupted. The counts are what was known by then, and compared with nothing.
    Partial(ExperimentResult),
    /// This machine lacks what it needs.
    Skipped(Skipped),
    /// There is no result, and this is why.
    Trouble(String),
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// Of every experiment that was begun.
    pub findings: Vec<Finding>,
    /// How many experiments there were to run.
    pub planned: usize,
    /// Snapshots without an experiment.
    pub orphans: Vec<PathBuf>,
    /// Whether the run was told to stop.
    pub interrupted: bool,
    /// The seed, of a run.
    pub seed: Option<u64>,
    /// Where the full results are.
    pub results: PathBuf,
}

impl Finding {
    /// Of an experiment that ran: compares it with its snapshot.
    pub fn compared(
        source: &Source,
        mut result: ExperimentResult,
        snapshots: &Snapshots,
    ) -> Result<Self, SnapshotError> {
        let comparison = snapshots.compare(source, &result)?;
        result.snapshot = Some(comparison.status());
        Ok(Self { source: source.clone(), state: State::Compared(result, comparison) })
    }

    /// Of an experiment that was interrupted.
    pub fn partial(source: &Source, result: ExperimentResult) -> Self {
        Self { source: source.clone(), state: State::Partial(result) }
    }

    /// Of an experiment for which this machine lacks something.
    pub fn skipped(source: &Source, skipped: Skipped) -> Self {
        Self { source: source.clone(), state: State::Skipped(skipped) }
    }

    /// Of an experiment that has no result.
    pub fn trouble(source: &Source, trouble: &impl ToString) -> Self {
        Self { source: source.clone(), state: State::Trouble(trouble.to_string()) }
    }

    /// The result, if there is one.
    pub const fn result(&self) -> Option<&ExperimentResult> {
        match &self.state {
            State::Compared(result, _) | State::Partial(result) => Some(result),
            State::Skipped(_) | State::Trouble(_) => None,
        }
    }

    /// How it stands with the snapshot, in a word.
    pub const fn snapshot(&self) -> &'static str {
        match &self.state {
            State::Compared(_, Comparison::Match) => "match",
            State::Compared(_, Comparison::Written) => "written",
            State::Compared(_, Comparison::New(_)) => "new",
            State::Compared(_, Comparison::Mismatch(_)) => "mismatch",
            State::Partial(_) | State::Skipped(_) | State::Trouble(_) => "–",
        }
    }

    /// Whether it is as it should be, as far as this machine can tell.
    pub const fn is_fine(&self) -> bool {
        matches!(
            &self.state,
            State::Compared(_, Comparison::Match | Comparison::Written) | State::Skipped(_)
        )
    }

    /// Prints the result, or why there is none though nothing is wrong, as one line of JSON.
    pub fn print_json(&self) -> io::Result<()> {
        let line = match &self.state {
            State::Compared(result, _) | State::Partial(result) => serde_json::to_string(result)?,
            State::Skipped(skipped) => serde_json::to_string(skipped)?,
            State::Trouble(_) => return Ok(()),
        };
        output::print(&(line + "\n"));
        Ok(())
    }
}

impl Report {
    /// The results that there are.
    pub fn results(&self) -> impl Iterator<Item = &ExperimentResult> {
        self.findings.iter().filter_map(Finding::result)
    }

    /// What was skipped.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.findings.iter().filter_map(|finding| match &finding.state {
            State::Skipped(skipped) => Some(skipped),
            _ => None,
        })
    }

    /// Prints everything, except for the JSON lines, which have been printed one by one.
    pub fn print(&self, format: Format, workspace: &Workspace) {
        let mut text = String::new();
        if format != Format::Json {
            let ruled = format == Format::Table || output::is_terminal();
            text = table::render(&self.findings, output::width(), ruled);
        }
        for finding in &self.findings {
            match &finding.state {
                State::Compared(_, Comparison::New(words) | Comparison::Mismatch(words)) => {
                    text += &format!("{words}\n");
                }
                State::Trouble(trouble) => {
                    text += &format!("{} {trouble}\n\n", finding.source.title());
                }
                State::Compared(..) | State::Partial(_) | State::Skipped(_) => {}
            }
        }
        text += &summary::render(self, workspace);
        super::say(format, &text);
    }

    /// 0 when everything is as the snapshots say, 1 when not, 130 when the run was interrupted.
    pub fn exit_code(&self) -> ExitCode {
        if self.interrupted {
            ExitCode::from(interrupt::EXIT_CODE)
        } else if self.orphans.is_empty() && self.findings.iter().all(Finding::is_fine) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
