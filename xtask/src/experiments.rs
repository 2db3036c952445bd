//! `cargo xtask experiments`: runs the experiments and compares the results with the snapshots.

mod binary;
mod difference;
mod merge;
pub mod report;
pub mod selection;
pub mod snapshots;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use lab::{
    guardian::Guardian,
    interrupt::Interrupt,
    results::{Declaration, ExperimentResult, Skipped},
};

use self::{
    binary::{Binary, Trouble},
    report::{Finding, Report},
    snapshots::Snapshots,
};
use crate::{
    build::build,
    failure::{Failure, Result},
    figures,
    flags::{self, Format},
    output::{self, Paper, Progress},
    results::{self, Meta, Results},
    sources,
    workspace::{Source, Workspace},
};

/// What a run needs at every step.
struct Run<'a> {
    flags: &'a flags::Experiments,
    workspace: &'a Workspace,
    interrupt: Interrupt,
    guardian: Guardian,
    seed: u64,
}

/// An experiment, and what it declares about itself.
type Declared = (Binary, Result<Declaration, Trouble>);

pub fn run(flags: &flags::Experiments, workspace: &Workspace) -> Result<ExitCode> {
    let sources = workspace.experiments()?;
    let chosen = selection::choose(&sources, &flags.only)?;
    if flags.list {
        return list(&Run::begin(flags, workspace)?, &chosen);
    }
    let path = results_path(flags, workspace)?;
    results::check_writable(&path)?;
    let snapshots = Snapshots::open(flags, workspace)?;
    if !flags.merge.is_empty() {
        let (meta, findings) = merge::run(flags, &sources, &snapshots)?;
        let orphans = snapshots.orphans(&sources)?;
        let planned = findings.len();
        let report = Report { findings, planned, orphans, interrupted: false, seed: None };
        return finish(&report, meta, &path, flags.format, workspace);
    }
    let run = Run::begin(flags, workspace)?;
    let meta = Meta::now(workspace, run.seed, flags.quick, flags.trials);
    let declared = run.declarations(&chosen)?;
    let findings = run.experiments(&declared, &snapshots)?;
    let interrupted = run.interrupt.raised();
    let is_complete = flags.only.is_empty() && flags.shard.is_none() && !interrupted;
    let report = Report {
        findings,
        planned: declared.len(),
        orphans: if is_complete { snapshots.orphans(&sources)? } else { Vec::new() },
        interrupted,
        seed: Some(run.seed),
    };
    drop(run);
    finish(&report, meta, &path, flags.format, workspace)
}

/// Writes the results, prints the report, and returns the exit code.
fn finish(
    report: &Report,
    meta: Meta,
    path: &Path,
    format: Format,
    workspace: &Workspace,
) -> Result<ExitCode> {
    let results = Results {
        meta,
        experiments: report.results().cloned().collect(),
        skipped: report.skipped().cloned().collect(),
    };
    // Print the report even if the results cannot be written.
    let written = results.write(path);
    let text = report.text(&workspace.shown(path).to_string(), workspace);
    match format {
        Format::Text => output::print(&(report::tables(&report.findings, Paper::stdout()) + &text)),
        // Standard output has the JSON lines.
        Format::Json => output::note(text.trim_end()),
    }
    written?;
    Ok(report.complain())
}

fn results_path(flags: &flags::Experiments, workspace: &Workspace) -> Result<PathBuf> {
    Ok(match &flags.results {
        Some(path) => std::path::absolute(path)?,
        None if probe_seed().is_some() => env::temp_dir().join("results.json"),
        None => workspace.results()?,
    })
}

/// The trial's seed under `cargo xtask probe`. Then several runs may go on at the same time and nobody
/// reviews their results, so a run writes neither results for the notebook nor pending snapshots.
fn probe_seed() -> Option<u64> {
    env::var("PROBE_SEED").ok()?.parse().ok()
}

/// `--list`: prints the declarations of the experiments.
fn list(run: &Run<'_>, chosen: &[Source]) -> Result<ExitCode> {
    let (mut rows, mut lines, mut is_complete) = (Vec::new(), String::new(), true);
    for (binary, declaration) in run.declarations(chosen)? {
        let title = binary.source.title();
        match declaration {
            Ok(it) => {
                lines += &(serde_json::to_string(&it)? + "\n");
                let trials = trials(&it).to_string();
                rows.push(vec![title, it.question, it.claims.join(" "), trials]);
            }
            Err(trouble) => {
                is_complete = false;
                output::complain(&format!("{title} {trouble}"));
            }
        }
    }
    let header = ["experiment", "asks", "claims", "trials"];
    output::print(&match run.flags.format {
        Format::Text => Paper::stdout().table(&header, rows, &[3]),
        Format::Json => lines,
    });
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl<'a> Run<'a> {
    fn begin(flags: &'a flags::Experiments, workspace: &'a Workspace) -> Result<Self> {
        let interrupt = Interrupt::install()?;
        let seed = flags.seed.or_else(probe_seed).unwrap_or_else(|| fastrand::u64(..));
        Ok(Self { flags, workspace, interrupt, guardian: Guardian::start()?, seed })
    }

    /// Builds the experiments, and reads the declarations of the selected ones.
    fn declarations(&self, chosen: &[Source]) -> Result<Vec<Declared>> {
        // Before the build: a file that changes during it is newer than the result.
        let digests = chosen.iter().map(|source| sources::digests(self.workspace, source));
        let digests: Vec<_> = digests.collect();
        let arguments = ["build", "--package", "experiments", "--bins"];
        let built = build("the experiments", &arguments, "", self.workspace, &self.interrupt)?;
        let bins = built.into_iter().filter(|built| built.is("bin"));
        let executables = bins.map(|built| (built.target.name, built.executable)).collect();
        let mut declared = Vec::new();
        for (source, digests) in chosen.iter().zip(digests) {
            let mut binary = Binary::of(source, &executables, digests);
            match binary.declaration(self) {
                Err(Trouble::Interrupted) => return Err(Failure::Interrupted),
                declaration => declared.push((binary, declaration)),
            }
        }
        let weight = |(_, declaration): &Declared| declaration.as_ref().map_or(0, trials);
        Ok(match self.flags.shard {
            Some(shard) => selection::shard(declared, shard, weight),
            None => declared,
        })
    }

    /// Why an experiment is left out of this run, if it is: nobody asked for it.
    fn not_asked_for(&self, declaration: &Declaration) -> Option<Skipped> {
        let because = declaration.on_demand.clone()?;
        let asked_for = self.flags.all || !self.flags.only.is_empty();
        (!asked_for).then(|| Skipped {
            id: declaration.id.clone(),
            name: declaration.name.clone(),
            missing: because,
            remedy: format!("cargo xtask experiments --only {}", declaration.id),
        })
    }

    /// Runs the experiments, one after another, and compares each with its snapshot.
    fn experiments(&self, declared: &[Declared], snapshots: &Snapshots) -> Result<Vec<Finding>> {
        let trials = |declaration: &Declaration| match self.not_asked_for(declaration) {
            Some(_) => 0,
            None => trials(declaration),
        };
        let all = declared.iter().filter_map(|(_, it)| it.as_ref().ok()).map(trials).sum();
        let progress = Progress::start(
            Some(all),
            "{msg:26} {bar:24} {pos}/{len} trials  {elapsed} gone, about {eta} to go",
        );
        let (mut findings, mut until) = (Vec::new(), 0);
        for (binary, declaration) in declared {
            if self.interrupt.raised() {
                break;
            }
            until += declaration.as_ref().map_or(0, trials);
            let finding = match declaration {
                Ok(declaration) => match self.not_asked_for(declaration) {
                    Some(skipped) => Finding::skipped(&binary.source, skipped),
                    None => self.experiment(binary, snapshots, &progress)?,
                },
                Err(trouble) => Finding::trouble(&binary.source, trouble),
            };
            // After an interruption it has run fewer trials than it declared.
            progress.position(until);
            if !progress.is_bar() {
                progress.note(&line(&finding));
            }
            if self.flags.format == Format::Json {
                finding.print_json()?;
            }
            findings.push(finding);
        }
        Ok(findings)
    }

    fn experiment(
        &self,
        binary: &Binary,
        snapshots: &Snapshots,
        progress: &Progress,
    ) -> Result<Finding> {
        let source = &binary.source;
        progress.message(source.title());
        match binary.run(self, || progress.step(), |doing| progress.note(doing)) {
            Ok(result) if result.interrupted => Ok(Finding::interrupted(source, result)),
            Ok(result) => {
                let result = ExperimentResult { sources: binary.digests.clone(), ..result };
                Finding::compared(source, result, snapshots)
            }
            Err(Trouble::Skipped(skipped)) => Ok(Finding::skipped(source, skipped)),
            Err(trouble) => Ok(Finding::trouble(source, &trouble)),
        }
    }
}

/// How many trials an experiment will run.
fn trials(declaration: &Declaration) -> u64 {
    declaration.variants.iter().map(|variant| u64::from(variant.trials)).sum()
}

/// The line that is printed when an experiment ends, if there is no progress bar.
fn line(finding: &Finding) -> String {
    let (title, word) = (finding.source.title(), finding.state.word());
    match &finding.result {
        Some(result) => format!(
            "{title}: {} in {} trials, {}, snapshot {word}",
            result.verdict,
            report::trials(result),
            figures::seconds(result.seconds),
        ),
        None => format!("{title}: {word}"),
    }
}
