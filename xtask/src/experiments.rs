//! `cargo xtask experiments`: runs the experiments and holds what they find against the snapshots.

pub mod again;
mod binary;
mod difference;
mod list;
mod merge;
mod options;
mod progress;
mod report;
pub mod selection;
mod snapshots;
mod summary;
pub mod table;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use lab::{guardian::Guardian, interrupt::Interrupt, results::Declaration};

pub use self::options::{Format, Options};
use self::{
    binary::{Binary, Trouble},
    progress::Progress,
    report::{Finding, Report},
    snapshots::Snapshots,
};
use crate::{
    build::build,
    failure::Failure,
    output,
    results::{self, Meta, Results},
    workspace::{Source, Workspace},
};

/// The package that holds the experiments.
const PACKAGE: &str = "experiments";

/// What a run needs at every step.
struct Run<'a> {
    options: &'a Options,
    workspace: &'a Workspace,
    interrupt: Interrupt,
    guardian: Guardian,
    seed: u64,
}

/// An experiment, and what it declares of itself.
type Declared = (Binary, Result<Declaration, Trouble>);

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    snapshots::prepare_environment(options.accept, workspace)?;
    let sources = workspace.experiments()?;
    let chosen = selection::choose(&sources, &options.only)?;
    let snapshots = Snapshots::at(snapshot_folder(options, workspace));
    if options.list {
        return list::run(&begin(options, workspace, Interrupt::install()?)?, &chosen);
    }
    let path = results_path(options, workspace)?;
    results::check_writable(&path)?;
    if options.accept || options.snapshots.is_some() {
        snapshots.check(options.accept)?;
    }
    if !options.merge.is_empty() {
        return merge::run(options, workspace, &sources, &snapshots, &path);
    }
    let run = begin(options, workspace, Interrupt::install()?)?;
    let meta = Meta::now(workspace, run.seed, options.quick, options.trials);
    let declared = run.declarations(&chosen)?;
    let findings = run.experiments(&declared, &snapshots)?;
    let complete = options.only.is_empty() && options.shard.is_none() && !run.interrupt.raised();
    let report = Report {
        orphans: if complete { snapshots.orphans(&sources)? } else { Vec::new() },
        findings,
        planned: declared.len(),
        interrupted: run.interrupt.raised(),
        seed: Some(run.seed),
        results: path,
    };
    drop(run);
    finish(&report, meta, options, workspace)
}

/// Gets ready to start processes.
fn begin<'a>(
    options: &'a Options,
    workspace: &'a Workspace,
    interrupt: Interrupt,
) -> Result<Run<'a>, Failure> {
    let guardian = Guardian::start()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    Ok(Run { options, workspace, interrupt, guardian, seed })
}

/// Writes the results, prints the report, and says with the exit code how it went.
fn finish(
    report: &Report,
    meta: Meta,
    options: &Options,
    workspace: &Workspace,
) -> Result<ExitCode, Failure> {
    let results = Results {
        meta,
        experiments: report.results().cloned().collect(),
        skipped: report.skipped().cloned().collect(),
    };
    let written = results.write(&report.results);
    report.print(options.format, workspace);
    written?;
    Ok(report.exit_code())
}

fn snapshot_folder(options: &Options, workspace: &Workspace) -> PathBuf {
    options.snapshots.clone().unwrap_or_else(|| workspace.snapshots())
}

fn results_path(options: &Options, workspace: &Workspace) -> Result<PathBuf, Failure> {
    Ok(match &options.results {
        Some(path) => std::path::absolute(path)?,
        None => workspace.results()?,
    })
}

impl Run<'_> {
    /// Runs the experiments, one after another, and compares each with its snapshot.
    fn experiments(
        &self,
        declared: &[Declared],
        snapshots: &Snapshots,
    ) -> Result<Vec<Finding>, Failure> {
        let total = declared.iter().filter_map(|(_, it)| it.as_ref().ok()).map(trials).sum();
        let progress = Progress::start(total);
        let mut findings = Vec::new();
        for (binary, declaration) in declared {
            if self.interrupt.raised() {
                break;
            }
            let finding = match declaration {
                Ok(declaration) => self.experiment(binary, declaration, snapshots, &progress)?,
                Err(trouble) => Finding::trouble(&binary.source, trouble),
            };
            progress.finished(&finding);
            if self.options.format == Format::Json {
                finding.print_json()?;
            }
            findings.push(finding);
        }
        progress.end();
        Ok(findings)
    }

    /// Builds the experiments, and asks those that were chosen, or the shard of them that this run
    /// is, what they declare of themselves.
    fn declarations(&self, chosen: &[Source]) -> Result<Vec<Declared>, Failure> {
        let arguments = ["build", "--package", PACKAGE, "--bins"];
        let built = build("the experiments", &arguments, "", self.workspace, &self.interrupt)?;
        let bins = built.into_iter().filter(|built| built.is("bin"));
        let executables = bins.map(|built| (built.target.name, built.executable)).collect();
        let mut declared = Vec::new();
        for source in chosen {
            let binary = Binary::of(source, &executables);
            match binary.declaration(self) {
                Err(Trouble::Interrupted) => {
                    return Err(Failure::Interrupted("nothing had begun"));
                }
                declaration => declared.push((binary, declaration)),
            }
        }
        let weight = |(_, declaration): &Declared| declaration.as_ref().map_or(0, trials);
        Ok(match self.options.shard {
            Some(shard) => selection::shard(declared, shard, weight),
            None => declared,
        })
    }

    fn experiment(
        &self,
        binary: &Binary,
        declaration: &Declaration,
        snapshots: &Snapshots,
        progress: &Progress,
    ) -> Result<Finding, Failure> {
        progress.begin(&binary.source, trials(declaration));
        match binary.run(self, self.seed, || progress.trial(), |it| progress.preparing(it)) {
            Ok(result) if result.interrupted => Ok(Finding::partial(&binary.source, result)),
            Ok(result) => Ok(Finding::compared(&binary.source, result, snapshots)?),
            Err(Trouble::Skipped(skipped)) => Ok(Finding::skipped(&binary.source, skipped)),
            Err(trouble) => Ok(Finding::trouble(&binary.source, &trouble)),
        }
    }
}

/// How many trials an experiment is going to make.
fn trials(declaration: &Declaration) -> u64 {
    declaration.variants.iter().map(|variant| u64::from(variant.trials)).sum()
}

/// Prints a path as something to type.
fn shown(path: &Path, workspace: &Workspace) -> String {
    workspace.shown(path).to_string()
}

/// Prints where the run's words go: to standard output, unless that is taken by JSON.
fn say(format: Format, text: &str) {
    match format {
        Format::Json => output::note(text.trim_end()),
        Format::Auto | Format::Table => output::print(text),
    }
}
