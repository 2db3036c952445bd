//! Builds the experiments while those that are built already run.
//!
//! Cargo builds the programs of a package in no particular order. So the first experiment is built alone,
//! then some, then the rest: the first verdict does not wait for sixty other programs, nor for web servers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::ControlFlow,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, Scope},
};

use lab::{guardian::Guardian, interrupt::Interrupt};

use crate::{
    build, child,
    failure::{Context as _, Failure, Result},
    output::Progress,
    workspace::{Source, Workspace},
};

/// How many are built together, in turn. The rest is built after those.
const TURNS: [usize; 3] = [1, 8, 16];

/// What cargo reports.
enum Report {
    Built {
        binary: String,
        executable: PathBuf,
    },
    /// What it does at the moment, in its own words: `Building 12/214: tokio, syn`.
    Status(String),
    /// Warnings.
    Said(String),
    /// A turn has ended. What is not built by then will not be.
    Over {
        binaries: Vec<String>,
        failed: Option<Failure>,
    },
}

/// The builds of a run. Dropping it stops cargo.
pub struct Builds {
    reports: Receiver<Report>,
    executables: BTreeMap<String, PathBuf>,
    said: String,
    /// What cargo does at the moment, until somebody asks.
    status: Option<String>,
    /// Whether the build of these failed that were to be built.
    over: BTreeMap<String, bool>,
    failures: VecDeque<Failure>,
    /// What is known of failures: the same is not said twice.
    known: BTreeSet<String>,
    has_ended: bool,
    stop: Interrupt,
}

/// What became of the build of one experiment.
pub enum Built {
    Yes(PathBuf),
    /// Cargo has ended without it.
    No,
    /// It does not build, or something that it is built of.
    Failed,
}

impl Builds {
    /// Starts to build these experiments, in this order.
    pub fn start<'scope>(
        chosen: &[Source],
        workspace: &'scope Workspace,
        guardian: &'scope Guardian,
        scope: &'scope Scope<'scope, '_>,
    ) -> Self {
        let (send, reports) = mpsc::channel();
        let stop = Interrupt::by_hand();
        let commands = commands(chosen, workspace);
        let stopped = stop.clone();
        scope.spawn(move || {
            for (binaries, command) in commands {
                if stopped.raised() {
                    return;
                }
                let failed = run(command, guardian, &stopped, &send).err();
                let _ = send.send(Report::Over { binaries, failed });
            }
        });
        Self {
            reports,
            executables: BTreeMap::new(),
            said: String::new(),
            status: None,
            over: BTreeMap::new(),
            failures: VecDeque::new(),
            known: BTreeSet::new(),
            has_ended: false,
            stop,
        }
    }

    /// What became of the build of one experiment, if that is known yet.
    pub fn look(&mut self, source: &Source) -> Option<Built> {
        let goes_on = self.go_on();
        if let Some(executable) = self.executables.get(&source.binary) {
            return Some(Built::Yes(executable.clone()));
        }
        match self.over.get(&source.binary) {
            Some(true) => Some(Built::Failed),
            Some(false) => Some(Built::No),
            None => (!goes_on).then_some(Built::No),
        }
    }

    /// Waits until that is known, and shows what cargo does. `None` if the run is interrupted before.
    pub fn wait_for(
        &mut self,
        source: &Source,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Option<Built> {
        let mut doing = "building".to_owned();
        while !interrupt.raised() {
            let built = self.look(source);
            if built.is_some() {
                return built;
            }
            if let Some(status) = self.status() {
                progress.message(status.clone());
                doing = status;
            }
            progress.line(|| doing.clone());
            thread::sleep(child::TICK);
        }
        None
    }

    /// What cargo does at the moment, if it began something else since this was last asked.
    pub fn status(&mut self) -> Option<String> {
        self.status.take()
    }

    /// Whether cargo still builds.
    pub fn go_on(&mut self) -> bool {
        while !self.has_ended {
            match self.reports.try_recv() {
                Ok(report) => self.take(report),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => self.has_ended = true,
            }
        }
        false
    }

    /// The warnings of the build so far, each once.
    pub fn said(&mut self) -> Option<String> {
        let said = std::mem::take(&mut self.said);
        (!said.is_empty()).then_some(said)
    }

    /// Why something was not built: every reason once.
    pub fn failure(&mut self) -> Option<Failure> {
        self.failures.pop_front()
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Built { binary, executable } => {
                self.executables.insert(binary, executable);
            }
            Report::Status(status) => self.status = Some(status),
            Report::Said(said) => self.said += &said,
            Report::Over { binaries, failed } => {
                self.over.extend(binaries.into_iter().map(|it| (it, failed.is_some())));
                self.failures
                    .extend(failed.filter(|it| self.known.insert(it.message().to_owned())));
            }
        }
    }
}

impl Drop for Builds {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

/// The commands of cargo, one after another, and what each builds.
fn commands(chosen: &[Source], workspace: &Workspace) -> Vec<(Vec<String>, Command)> {
    let command = |sources: &[Source]| {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--package", "experiments", "--package", "servers", "--keep-going"]);
        cargo.arg("--message-format=json-render-diagnostics");
        // Shows how far it is although nobody looks at a terminal, and without colours.
        cargo.envs([
            ("CARGO_TERM_PROGRESS_WHEN", "always"),
            ("CARGO_TERM_PROGRESS_WIDTH", "200"),
            ("CARGO_TERM_COLOR", "never"),
        ]);
        cargo.args(sources.iter().flat_map(|source| ["--bin", &source.binary]));
        (sources.iter().map(|source| source.binary.clone()).collect(), cargo)
    };
    let mut rest = chosen;
    let mut parts = Vec::new();
    for turn in TURNS {
        let (part, after) = rest.split_at(rest.len().min(turn));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts.into_iter().filter(|sources| !sources.is_empty()).map(command).collect()
}

fn run(
    command: Command,
    guardian: &Guardian,
    stop: &Interrupt,
    send: &Sender<Report>,
) -> Result<()> {
    let said = Arc::<Mutex<Said>>::default();
    let (keep, status) = (Arc::clone(&said), send.clone());
    let on_stderr = move |part: &[u8]| {
        let mut said = keep.lock().unwrap_or_else(PoisonError::into_inner);
        said.take(part, |doing| drop(status.send(Report::Status(doing))));
    };
    let on_line = |line: &[u8]| {
        let artifact = build::artifact(line).filter(|artifact| artifact.is("bin"));
        if let Some(artifact) = artifact {
            let (binary, executable) = (artifact.target.name, artifact.executable);
            let _ = send.send(Report::Built { binary, executable });
        }
        ControlFlow::Continue(())
    };
    let listened = child::listen_to_both(command, guardian, stop, on_stderr, on_line);
    let (status, interrupted) = listened.context(|| "cannot start cargo (is it on PATH?)")?;
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).errors();
    if !status.success() && !interrupted {
        return Err(Failure::Failed(format!("the experiments do not build:\n{said}")));
    }
    if !said.is_empty() {
        let _ = send.send(Report::Said(said));
    }
    Ok(())
}

/// What cargo says on standard error: what it does at the moment, and everything else.
#[derive(Default)]
struct Said {
    /// A line that has not ended yet.
    begun: Vec<u8>,
    errors: String,
}

impl Said {
    /// A part of what it says. Its bar is drawn again and again, with a return at the end.
    fn take(&mut self, part: &[u8], mut on_status: impl FnMut(String)) {
        for byte in part {
            if !matches!(byte, b'\n' | b'\r') {
                self.begun.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned();
            match status(&line) {
                Some(status) => on_status(status),
                None if line.trim().is_empty() && self.errors.is_empty() => {}
                None => self.errors += &(line + "\n"),
            }
        }
    }

    fn errors(&self) -> String {
        self.errors.trim_end().to_owned() + &String::from_utf8_lossy(&self.begun)
    }
}

/// What a line says about the work of cargo, if it does: `   Compiling tokio v1.54.0`, or its bar,
/// `    Building [==>   ] 12/214: tokio`, of which the drawing is left out.
fn status(line: &str) -> Option<String> {
    /// Cargo puts the first word into a column of this width.
    const COLUMN: usize = 12;
    let (word, rest) = line.split_at_checked(COLUMN)?;
    let word = word.trim_start();
    let is_word = word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphabetic);
    let rest = rest.strip_prefix(' ').filter(|_| is_word)?.trim();
    let rest = match rest.strip_prefix('[').and_then(|bar| bar.split_once(']')) {
        Some((_, after)) => after.trim_start(),
        None => rest,
    };
    Some(format!("{word} {rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_of_cargo_is_told_apart_from_its_errors() {
        let mut said = Said::default();
        let mut doing = Vec::new();
        let parts = [
            "    Updating crates.io index\n    Building [=>   ] 12/214: tok",
            "io, syn\r   Compiling tokio v1.54.0\n",
            "error[E0425]: cannot find value `x`\n  --> src/lib.rs:1:1\n",
        ];
        for part in parts {
            said.take(part.as_bytes(), |it| doing.push(it));
        }
        assert_eq!(
            doing,
            ["Updating crates.io index", "Building 12/214: tokio, syn", "Compiling tokio v1.54.0"]
        );
        assert_eq!(said.errors(), "error[E0425]: cannot find value `x`\n  --> src/lib.rs:1:1");
    }

    #[test]
    fn the_first_experiment_is_built_alone() {
        let names = (1..=40).map(|number| Source::named(&format!("{number:02}_a")).unwrap());
        let chosen: Vec<_> = names.collect();
        let commands = commands(&chosen, &Workspace::find().unwrap());
        let bins = |(_, command): &(Vec<_>, Command)| {
            command.get_args().filter(|it| *it == "--bin").count()
        };
        assert_eq!(commands.iter().map(bins).collect::<Vec<_>>(), [1, 8, 16, 15]);
        let first: Vec<_> = commands[0].1.get_args().collect();
        assert_eq!(first.last().unwrap().to_str(), Some("01_a"));
    }
}
