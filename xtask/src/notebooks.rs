//! `cargo xtask notebooks`: writes the notebook's figures from results, or checks that they agree.

mod bench;
mod block;
mod check;
mod committed;
mod contents;
mod excerpt;
mod ledger;
mod links;
mod markdown;
mod page;
mod plots;

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use clap::Args;
use thiserror::Error;

use self::{
    block::BlockError,
    committed::{Committed, Record},
    ledger::Ledger,
};
use crate::{
    failure::Failure,
    figures::plural,
    output,
    results::{self, Results, ResultsError},
    workspace::{Source, Workspace},
};

/// Write the notebook (docs/) from the results of a run, or check that it agrees with them.
///
/// The results of each experiment are kept in docs/results, and from these the marked blocks of its
/// page are written: question, hypothesis and result. What stands between the blocks is prose, and
/// left alone. An experiment without a page gets one, with the headings and what is to be written
/// under them. From the same results come the ledger of others' claims (docs/claims.toml), the
/// pictures in docs/src/plots, and the table in README.md; from the figures of the benches in
/// docs/results/bench, the tables and pictures of the page on benchmarks. Nothing is built and nothing
/// runs.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The file of results to write from, of `cargo xtask experiments` [default: experiments/results.json in the target directory]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// Change nothing: say where pages, contents, claims, pictures, README, committed results, sources
    /// and snapshots disagree, or a link points nowhere, and exit 1 if there is any such place
    #[arg(long, conflicts_with = "results")]
    check: bool,
}

/// Why the notebook cannot be written.
#[derive(Debug, Error)]
enum NotebookError {
    #[error("there are no results to write from: run `cargo xtask experiments` first")]
    NoResults,
    #[error("{0} in the results was interrupted: run it again")]
    Interrupted(String),
    #[error("{0} in the results is not among the experiments in experiments/src/bin")]
    Unknown(String),
    #[error("cannot read {path}: {error}")]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("cannot write {path}: {error}")]
    Unwritable { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Marker { path: String, error: BlockError },
}

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    let notebook = Notebook { workspace, sources: workspace.experiments()? };
    if options.check {
        return notebook.check();
    }
    let mut records = Committed::of(workspace).read(&notebook.sources)?;
    notebook.take_in(options, &mut records)?;
    let changed = notebook.write(&records)?;
    output::print(&match changed.len() {
        0 => "The notebook is as the results say: nothing to write.\n".to_owned(),
        count => format!("Wrote {}:\n  {}\n", plural(count, "file"), changed.join("\n  ")),
    });
    Ok(ExitCode::SUCCESS)
}

/// The notebook of a workspace.
struct Notebook<'a> {
    workspace: &'a Workspace,
    sources: Vec<Source>,
}

impl Notebook<'_> {
    fn check(&self) -> Result<ExitCode, Failure> {
        let disagreements = check::disagreements(self.workspace, &self.sources)?;
        if disagreements.is_empty() {
            let count = plural(self.sources.len(), "experiment");
            output::print(&format!("The notebook agrees with results and snapshots of {count}.\n"));
            return Ok(ExitCode::SUCCESS);
        }
        for disagreement in &disagreements {
            output::note(disagreement);
        }
        Ok(ExitCode::FAILURE)
    }

    /// Takes the results of a run in among the committed ones. A run of some of the experiments
    /// leaves the others as they are.
    fn take_in(
        &self,
        options: &Options,
        records: &mut BTreeMap<String, Record>,
    ) -> Result<(), Failure> {
        let path = match &options.results {
            Some(path) => path.clone(),
            None => self.workspace.results()?,
        };
        let results = match Results::read(&path) {
            // Pages can be written anew from what is committed.
            Err(ResultsError::Unreadable { error, .. })
                if error.kind() == std::io::ErrorKind::NotFound && options.results.is_none() =>
            {
                if records.is_empty() {
                    return Err(NotebookError::NoResults.into());
                }
                return Ok(());
            }
            results => results?,
        };
        for result in &results.experiments {
            let title = format!("{} {}", result.id, result.name);
            let source = self.sources.iter().find(|source| source.title() == title);
            let source = match source {
                Some(source) => source,
                // The last run was before the experiment was taken away.
                None if options.results.is_none() => {
                    output::note(&format!(
                        "{title} is in the results of the last run, and no more"
                    ));
                    continue;
                }
                None => return Err(NotebookError::Unknown(title).into()),
            };
            if result.interrupted {
                return Err(NotebookError::Interrupted(title).into());
            }
            let older = records
                .get(&source.binary)
                .is_some_and(|record| record.meta.started > results.meta.started);
            if older && options.results.is_none() {
                output::note(&format!(
                    "{title}: the committed results are newer than the last run, and stay \
                     (--results takes a file whatever its age)"
                ));
                continue;
            }
            records.insert(source.binary.clone(), Record::of(&results.meta, result));
        }
        Ok(())
    }

    /// Writes what is not as it should be, and says which files that were.
    fn write(&self, records: &BTreeMap<String, Record>) -> Result<Vec<String>, Failure> {
        let mut changed = Vec::new();
        let committed = Committed::of(self.workspace);
        for source in &self.sources {
            let Some(record) = records.get(&source.binary) else {
                output::note(&format!("{} has no results: run it first", source.title()));
                continue;
            };
            self.put(committed.path(source), &results::json(record)?, &mut changed)?;
            let path = page::path(self.workspace, source);
            let written = |page: &str| page::written(page, source, record);
            self.fill(path, || page::skeleton(source), written, &mut changed)?;
        }
        let path = contents::path(self.workspace);
        let written = |page: &str| contents::written(page, &self.sources);
        self.fill(path, contents::skeleton, written, &mut changed)?;

        let ledger = Ledger::read(&ledger::source(self.workspace))?;
        let path = ledger::path(self.workspace);
        let written = |page: &str| ledger.written(page, &self.sources, records);
        self.fill(path, ledger::skeleton, written, &mut changed)?;
        for wrong in ledger.wrong(records) {
            output::note(&wrong);
        }

        if let Some(record) = records.get(excerpt::BINARY) {
            let path = excerpt::path(self.workspace);
            self.fill(path, String::new, |page| excerpt::written(page, record), &mut changed)?;
        }

        let figures = bench::read(self.workspace)?;
        if !figures.is_empty() {
            let path = bench::path(self.workspace);
            self.fill(path, String::new, |page| bench::written(page, &figures), &mut changed)?;
        }
        for plot in plots::all(records, &figures)? {
            let path = plots::folder(self.workspace).join(plot.name);
            self.put(path, &plot.svg, &mut changed)?;
        }
        Ok(changed)
    }

    /// Fills the blocks of a page, which is made if there is none.
    fn fill(
        &self,
        path: PathBuf,
        skeleton: impl FnOnce() -> String,
        written: impl FnOnce(&str) -> Result<String, BlockError>,
        changed: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let before = match fs::read_to_string(&path) {
            // What is there and cannot be read is not to be written over.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(NotebookError::Unreadable { path, error }.into());
            }
            before => before.unwrap_or_else(|_| skeleton()),
        };
        let text = written(&before).map_err(|error| NotebookError::Marker {
            path: self.workspace.shown(&path).to_string(),
            error,
        })?;
        self.put(path, &text, changed)
    }

    fn put(&self, path: PathBuf, text: &str, changed: &mut Vec<String>) -> Result<(), Failure> {
        if fs::read_to_string(&path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        changed.push(self.workspace.shown(&path).to_string());
        results::write_whole(&path, text)
            .map_err(|error| NotebookError::Unwritable { path, error }.into())
    }
}
