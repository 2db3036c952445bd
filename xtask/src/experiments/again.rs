//! The experiments again and again, for `cargo xtask stress`.

use lab::interrupt::Interrupt;

use super::{
    Options, Run, begin,
    binary::{Binary, Trouble},
    difference, selection,
    snapshots::Snapshots,
};
use crate::{failure::Failure, snapshot_file, workspace::Workspace};

/// Experiments that were built, with what their snapshots say.
pub struct Again<'a> {
    run: Run<'a>,
    experiments: Vec<(Binary, String)>,
}

/// One of them.
pub struct Experiment<'a> {
    run: &'a Run<'a>,
    binary: &'a Binary,
    expected: &'a str,
}

/// What came of one more run.
pub enum Found {
    /// What it should.
    TheSame,
    /// Something else, or nothing; in words.
    SomethingElse(String),
    /// This machine lacks what it needs; in words.
    Skipped(String),
    /// The run was interrupted, and says nothing.
    Interrupted,
}

impl<'a> Again<'a> {
    /// Builds the experiments that the options choose. Each must have a snapshot.
    pub fn prepare(
        options: &'a Options,
        workspace: &'a Workspace,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let chosen = selection::choose(&workspace.experiments()?, &options.only)?;
        let snapshots = Snapshots::at(workspace.snapshots());
        let mut expected = Vec::new();
        for source in &chosen {
            expected.push(snapshots.expected(source)?.ok_or_else(|| {
                let title = source.title();
                Failure::Usage(format!("{title} has no snapshot that it could be held against"))
            })?);
        }
        let run = begin(options, workspace, interrupt.clone())?;
        let declared = run.declarations(&chosen)?;
        let binaries = declared.into_iter().map(|(binary, _)| binary);
        let experiments = binaries.zip(expected).collect();
        Ok(Self { run, experiments })
    }

    /// The experiments, in the order of their numbers.
    pub fn experiments(&self) -> impl Iterator<Item = Experiment<'_>> {
        self.experiments.iter().map(|(binary, expected)| Experiment {
            run: &self.run,
            binary,
            expected,
        })
    }
}

impl Experiment<'_> {
    /// What it is called.
    pub fn title(&self) -> String {
        self.binary.source.title()
    }

    /// The command that runs it again with a seed.
    pub fn rerun(&self, seed: u64) -> String {
        let quick = if self.run.options.quick { " --quick" } else { "" };
        format!("cargo xtask experiments --only {} --seed {seed}{quick}", self.binary.source.id)
    }

    /// Runs it once more, with this seed.
    pub fn run(&self, seed: u64, on_trial: impl FnMut()) -> Found {
        let source = &self.binary.source;
        let result = match self.binary.run(self.run, seed, on_trial, |_| {}) {
            Ok(result) if result.interrupted => return Found::Interrupted,
            Ok(result) => result,
            Err(Trouble::Interrupted) => return Found::Interrupted,
            Err(Trouble::Skipped(skipped)) => return Found::Skipped(skipped.to_string()),
            Err(trouble) => return Found::SomethingElse(format!("{} {trouble}", source.title())),
        };
        let found = lab::snapshot::render(&result);
        if snapshot_file::agree(self.expected, &found) {
            Found::TheSame
        } else {
            Found::SomethingElse(difference::described(source, self.expected, &found, &result))
        }
    }
}
