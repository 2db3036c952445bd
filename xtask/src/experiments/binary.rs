//! What an experiment's executable is asked, and what it may answer.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use lab::{
    interrupt,
    results::{Declaration, Event, ExperimentResult, Skipped},
};
use thiserror::Error;

use super::Run;
use crate::{
    conversation::{self, Company, Ended, Reply},
    workspace::Source,
};

/// How much of a line that makes no sense is shown.
const SHOWN: usize = 120;

/// How much of its standard error is shown where it goes wrong.
const STDERR_KEPT: usize = 4 << 10;

/// An experiment that was built.
#[derive(Debug)]
pub struct Binary {
    /// Its source.
    pub source: Source,
    executable: Option<PathBuf>,
}

/// Why an experiment has no result.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The build did not make it.
    #[error("was not built: is experiments/src/bin/{0}.rs a target of the package?")]
    NotBuilt(String),
    /// It could not be started or talked to.
    #[error("could not be run: {0}")]
    NotRun(#[from] io::Error),
    /// It said something that is neither a declaration nor an event.
    #[error("said something that makes no sense: `{0}`")]
    Nonsense(String),
    /// It ended in another way than it should.
    #[error("{how}{stderr}")]
    Ended {
        /// What it did.
        how: String,
        /// What it said on standard error.
        stderr: String,
    },
    /// It is another experiment than its file says.
    #[error("declares itself as `{0}`: use Experiment::new(file!())")]
    SomebodyElse(String),
    /// This machine lacks what it needs.
    #[error("{0}")]
    Skipped(Skipped),
    /// It was interrupted before it had anything to say.
    #[error("was interrupted")]
    Interrupted,
}

impl Binary {
    /// The executable of a source, among those that were built.
    pub fn of(source: &Source, executables: &BTreeMap<String, PathBuf>) -> Self {
        let executable = executables.get(&source.binary).cloned();
        Self { source: source.clone(), executable }
    }

    fn command(&self, format: &str, run: &Run<'_>) -> Result<Command, Trouble> {
        let executable = self.executable.as_ref();
        let executable = executable.ok_or_else(|| Trouble::NotBuilt(self.source.binary.clone()))?;
        let mut command = Command::new(executable);
        command.args(["--format", format]).current_dir(run.workspace.root());
        if let Some(trials) = run.options.trials {
            command.args(["--trials", &trials.to_string()]);
        }
        if run.options.quick {
            command.arg("--quick");
        }
        Ok(command)
    }

    /// Asks what the experiment declares of itself.
    pub fn declaration(&self, run: &Run<'_>) -> Result<Declaration, Trouble> {
        let mut command = self.command("json", run)?;
        command.arg("--list");
        let mut said = Vec::new();
        let ended = conversation::hold(command, company(run), |line| {
            said.extend(line);
            Reply::Continue
        })?;
        if ended.interrupted {
            return Err(Trouble::Interrupted);
        }
        ended_well(&ended)?;
        let declaration: Declaration =
            serde_json::from_slice(&said).map_err(|_| Trouble::Nonsense(excerpt(&said)))?;
        if declaration.binary != self.source.binary {
            return Err(Trouble::SomebodyElse(declaration.binary));
        }
        Ok(declaration)
    }

    /// Runs the experiment with this seed, and calls back for every trial, and for what it makes ready
    /// before them.
    pub fn run(
        &self,
        run: &Run<'_>,
        seed: u64,
        mut on_trial: impl FnMut(),
        on_preparing: impl Fn(&str),
    ) -> Result<ExperimentResult, Trouble> {
        let mut command = self.command("events", run)?;
        command.args(["--seed", &seed.to_string()]);
        if let Some(jobs) = run.options.jobs {
            command.args(["--jobs", &jobs.to_string()]);
        }
        let (mut found, mut skipped, mut nonsense) = (None, None, None);
        let ended = conversation::hold(command, company(run), |line| {
            match serde_json::from_slice(line) {
                Ok(Event::Trial { .. }) => on_trial(),
                Ok(Event::Preparing { doing }) => on_preparing(&doing),
                Ok(Event::Skipped { skipped: it }) => skipped = Some(it),
                Ok(Event::Result { result }) => found = Some(*result),
                Err(_) => {
                    nonsense.get_or_insert_with(|| excerpt(line));
                    return Reply::HangUp;
                }
            }
            Reply::Continue
        })?;
        if let Some(line) = nonsense {
            return Err(Trouble::Nonsense(line));
        }
        if let Some(skipped) = skipped {
            let right = skipped.id == self.source.id;
            let somebody_else = || Trouble::SomebodyElse(skipped.id.clone());
            return Err(if right { Trouble::Skipped(skipped) } else { somebody_else() });
        }
        match found {
            Some(result) if result.id != self.source.id => Err(Trouble::SomebodyElse(result.id)),
            Some(result) if ended.interrupted || result.interrupted => Ok(result),
            Some(result) => ended_well(&ended).map(|()| result),
            None if ended.interrupted => Err(Trouble::Interrupted),
            None => {
                ended_well(&ended)?;
                Err(Trouble::Ended {
                    how: "ended without a result".to_owned(),
                    stderr: indented(&ended.stderr),
                })
            }
        }
    }
}

const fn company<'a>(run: &'a Run<'_>) -> Company<'a> {
    Company { guardian: &run.guardian, interrupt: &run.interrupt, kept: STDERR_KEPT }
}

fn ended_well(ended: &Ended) -> Result<(), Trouble> {
    if ended.status.success() {
        return Ok(());
    }
    if ended.status.code() == Some(i32::from(interrupt::EXIT_CODE)) {
        return Err(Trouble::Interrupted);
    }
    Err(Trouble::Ended { how: how(ended.status), stderr: indented(&ended.stderr) })
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn indented(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| format!("\n    {line}"));
    if stderr.is_empty() { String::new() } else { format!(":{}", lines.collect::<String>()) }
}

/// The beginning of something, as one line.
fn excerpt(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said.get(..4 * SHOWN).unwrap_or(said)).into_owned();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
