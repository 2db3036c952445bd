//! Runs the executable of an experiment, and parses its output.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
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
    child::{self, Ended},
    workspace::Source,
};

/// How much of an invalid line an error shows, in characters, and of standard error, in bytes.
const LINE_SHOWN: usize = 120;
const STDERR_SHOWN: usize = 4 << 10;

#[derive(Debug)]
pub struct Binary {
    pub source: Source,
    executable: PathBuf,
    /// A digest of each file that it was built from.
    pub digests: BTreeMap<String, String>,
}

/// Why an experiment has no result.
#[derive(Debug, Error)]
pub enum Trouble {
    #[error("was not built: is experiments/src/bin/{0}.rs a target of the package?")]
    NotBuilt(String),
    #[error("does not build (cargo says why, above)")]
    DoesNotBuild,
    #[error("could not be run: {0}")]
    NotRun(#[from] io::Error),
    /// The line is not a declaration or not an event.
    #[error("printed a line that makes no sense: `{0}`")]
    Nonsense(String),
    #[error("{how}{stderr}")]
    Ended { how: String, stderr: String },
    #[error("declares itself as `{0}`: use Experiment::new(file!())")]
    OtherName(String),
    #[error("{0}")]
    Skipped(Skipped),
    #[error("was interrupted")]
    Interrupted,
}

impl Binary {
    pub fn of(source: &Source, executable: PathBuf, digests: BTreeMap<String, String>) -> Self {
        Self { source: source.clone(), executable, digests }
    }

    fn command(&self, format: &str, run: &Run<'_>) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(["--format", format]).current_dir(run.workspace.root());
        if let Some(trials) = run.flags.trials {
            command.args(["--trials", &trials.to_string()]);
        }
        if run.flags.is_quick() {
            command.arg("--quick");
        }
        command
    }

    /// Reads the declaration of the experiment.
    pub fn declaration(&self, run: &Run<'_>) -> Result<Declaration, Trouble> {
        let mut command = self.command("json", run);
        command.arg("--list");
        let mut printed = Vec::new();
        let ended = listen(command, run, |line| {
            printed.extend(line);
            ControlFlow::Continue(())
        })?;
        if ended.interrupted {
            return Err(Trouble::Interrupted);
        }
        ended_well(&ended)?;
        let declaration: Declaration =
            serde_json::from_slice(&printed).map_err(|_| Trouble::Nonsense(excerpt(&printed)))?;
        if declaration.binary != self.source.binary {
            return Err(Trouble::OtherName(declaration.binary));
        }
        Ok(declaration)
    }

    /// Runs the experiment, and calls back for every trial and every preparation before them.
    pub fn run(
        &self,
        run: &Run<'_>,
        mut on_trial: impl FnMut(),
        on_preparing: impl Fn(&str),
    ) -> Result<ExperimentResult, Trouble> {
        let mut command = self.command("events", run);
        command.args(["--seed", &run.seed.to_string()]);
        if let Some(jobs) = run.flags.jobs {
            command.args(["--jobs", &jobs.to_string()]);
        }
        for word in &run.under {
            command.arg("--under").arg(word);
        }
        let (mut found, mut skipped, mut nonsense) = (None, None, None);
        let ended = listen(command, run, |line| {
            match serde_json::from_slice(line) {
                Ok(Event::Trial { .. }) => on_trial(),
                Ok(Event::Preparing { doing }) => on_preparing(&doing),
                Ok(Event::Skipped { skipped: it }) => skipped = Some(it),
                Ok(Event::Result { result }) => found = Some(*result),
                Err(_) => {
                    nonsense.get_or_insert_with(|| excerpt(line));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(line) = nonsense {
            return Err(Trouble::Nonsense(line));
        }
        match (found, skipped) {
            (_, Some(it)) if it.id != self.source.id => Err(Trouble::OtherName(it.id)),
            (_, Some(it)) => Err(Trouble::Skipped(it)),
            (Some(it), _) if it.id != self.source.id => Err(Trouble::OtherName(it.id)),
            (Some(it), _) if ended.interrupted || it.interrupted => Ok(it),
            (Some(it), _) => ended_well(&ended).map(|()| it),
            (None, None) if ended.interrupted => Err(Trouble::Interrupted),
            (None, None) => {
                ended_well(&ended)?;
                Err(trouble("ended without a result".to_owned(), &ended))
            }
        }
    }
}

fn listen(
    command: Command,
    run: &Run<'_>,
    on_line: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<Ended> {
    child::listen(command, &run.guardian, &run.interrupt, STDERR_SHOWN, on_line)
}

fn ended_well(ended: &Ended) -> Result<(), Trouble> {
    match ended.status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(interrupt::EXIT_CODE) => Err(Trouble::Interrupted),
        _ => Err(trouble(how(ended.status), ended)),
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn trouble(how: String, ended: &Ended) -> Trouble {
    let lines = ended.stderr.lines().map(|line| format!("\n    {line}"));
    let lines = lines.collect::<String>();
    let stderr = if lines.is_empty() { lines } else { format!(":{lines}") };
    Trouble::Ended { how, stderr }
}

/// Returns the beginning of a text, as one line.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..4 * LINE_SHOWN).unwrap_or(text)).into_owned();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LINE_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
