//! `cargo xtask experiments`: runs the experiments and compares the results with the snapshots.

mod binary;
mod builds;
pub mod difference;
mod estimate;
mod left_out;
pub mod line;
pub mod merge;
pub mod report;
mod screen;
pub mod selection;
pub mod snapshots;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use lab::{
    guardian::Guardian,
    interrupt::Interrupt,
    results::{Declaration, ExperimentResult, Skipped},
};

use self::{
    binary::{Binary, Trouble},
    builds::{Builds, Built},
    line::Pages,
    report::{Finding, Report, State},
    screen::Screen,
    snapshots::Snapshots,
};
use crate::{
    failure::{Failure, Result},
    flags::{self, Format},
    output::{self, Paper},
    probe::held,
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
    /// The words that stand before each trial, which hold its threads; none usually.
    under: Vec<OsString>,
}

/// An experiment that is built, and what it declares about itself.
type Declared = (Binary, Declaration);

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
        let planned = findings.len();
        let pages = Pages(workspace);
        let lines = findings.iter().filter(|finding| finding.state != State::Skipped);
        let lines =
            lines.map(|it| pages.line(it, Paper::stdout().width, console::colors_enabled()));
        if flags.format == Format::Text {
            output::print(&lines.map(|line| line + "\n").collect::<String>());
        }
        let orphans = snapshots.orphans(&sources)?;
        let report =
            Report { findings, planned, orphans, interrupted: false, seed: None, took: None };
        return finish(&report, meta, &path, flags, workspace);
    }
    let run = Run::begin(flags, workspace)?;
    let meta = Meta::now(workspace, run.seed, flags.quick, flags.trials);
    let began = Instant::now();
    let (planned, findings) = run.experiments(&chosen, &snapshots)?;
    let interrupted = run.interrupt.raised();
    let is_complete = flags.only.is_empty() && flags.shard.is_none() && !interrupted;
    let report = Report {
        findings,
        planned,
        orphans: if is_complete { snapshots.orphans(&sources)? } else { Vec::new() },
        interrupted,
        seed: Some(run.seed),
        took: Some(began.elapsed()),
    };
    drop(run);
    finish(&report, meta, &path, flags, workspace)
}

/// Writes the results, prints the report, and returns the exit code.
fn finish(
    report: &Report,
    meta: Meta,
    path: &Path,
    flags: &flags::Experiments,
    workspace: &Workspace,
) -> Result<ExitCode> {
    let results = Results {
        meta,
        experiments: report.results().cloned().collect(),
        skipped: report.skipped().cloned().collect(),
    };
    // Print the report even if the results cannot be written.
    let written = results.write(path);
    let shown = workspace.shown(path).to_string();
    match flags.format {
        Format::Text => {
            let paper = Paper::stdout();
            let tables =
                if flags.verbose { report::tables(&report.findings, paper) } else { String::new() };
            output::print(&format!("\n{tables}{}", report.text(&shown, paper, workspace)));
        }
        // Standard output has the JSON lines.
        Format::Json => output::note(report.text(&shown, Paper::stderr(), workspace).trim_end()),
    }
    written?;
    Ok(report.complain())
}

fn results_path(flags: &flags::Experiments, workspace: &Workspace) -> Result<PathBuf> {
    Ok(match &flags.results {
        Some(path) => std::path::absolute(path)?,
        None if probe_seed().is_some() => env::temp_dir().join("results.json"),
        None if flags.chaos => workspace.target()?.join("experiments/chaos.json"),
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
    thread::scope(|scope| -> Result<()> {
        let mut work = Work::start(run, chosen, scope);
        for source in chosen {
            let title = source.title();
            match work.declared(source, |_| ()) {
                Ok((_, it)) => {
                    lines += &(serde_json::to_string(&it)? + "\n");
                    let trials = trials(&it).to_string();
                    rows.push(vec![title, it.question, it.claims.join(" "), trials]);
                }
                Err(Trouble::Interrupted) => return Err(Failure::Interrupted),
                Err(trouble) => {
                    work.builds.failure().map_or(Ok(()), Err)?;
                    is_complete = false;
                    output::complain(&format!("{title} {trouble}"));
                }
            }
        }
        Ok(())
    })?;
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
        let under = if flags.chaos { held::words()? } else { Vec::new() };
        Ok(Self { flags, workspace, interrupt, guardian: Guardian::start()?, seed, under })
    }

    /// Why an experiment is left out of this run, if it is: nobody asked for it.
    fn not_asked_for(&self, source: &Source, because: Option<&str>) -> Option<Skipped> {
        let asked_for = self.flags.all || !self.flags.only.is_empty();
        let because = because.filter(|_| !asked_for)?;
        Some(Skipped {
            id: source.id.clone(),
            name: source.name(),
            missing: because.to_owned(),
            remedy: report::asking_for(&source.id),
        })
    }

    /// Why an experiment is not even built, if it is not.
    fn left_out(&self, source: &Source) -> Option<Skipped> {
        let because = left_out::because(source, self.workspace);
        self.not_asked_for(source, because).or_else(|| left_out::missing_server(source))
    }

    /// Runs the experiments, one after another and each as soon as it is built, and compares them with
    /// their snapshots. Returns also how many were to run.
    fn experiments(
        &self,
        chosen: &[Source],
        snapshots: &Snapshots,
    ) -> Result<(usize, Vec<Finding>)> {
        let is_built =
            |source: &&Source| self.flags.shard.is_some() || self.left_out(source).is_none();
        let built: Vec<_> = chosen.iter().filter(is_built).cloned().collect();
        thread::scope(|scope| {
            let mut work = Work::start(self, &built, scope);
            let mine = work.share(chosen)?;
            let screen = Screen::open(&mine, self.flags, self.workspace);
            for source in mine.iter().filter(|source| self.left_out(source).is_some()) {
                screen.leaves_out(source);
            }
            let mut findings: Vec<Finding> = Vec::new();
            for source in &mine {
                if self.interrupt.raised() {
                    break;
                }
                let finding = match self.left_out(source) {
                    Some(skipped) => Finding::skipped(source, skipped),
                    None => match work.experiment(source, snapshots, &screen)? {
                        Some(finding) => finding,
                        None => break,
                    },
                };
                if let Some(said) = work.builds.said() {
                    screen.note(&said);
                }
                if let Some(failure) = work.builds.failure() {
                    if findings.iter().chain([&finding]).all(|it| it.result.is_none()) {
                        return Err(failure);
                    }
                    screen.note(failure.message());
                }
                screen.ended(&finding);
                if self.flags.format == Format::Json {
                    finding.print_json()?;
                }
                findings.push(finding);
            }
            if self.interrupt.raised() && findings.iter().all(|it| it.result.is_none()) {
                return Err(Failure::Interrupted);
            }
            Ok((mine.len(), findings))
        })
    }
}

/// The experiments of a run while they are built.
struct Work<'a> {
    run: &'a Run<'a>,
    builds: Builds,
    /// By the name of the binary. Taken before the build: a file that changes during it is newer than the
    /// result.
    digests: BTreeMap<String, BTreeMap<String, String>>,
}

impl<'scope> Work<'scope> {
    fn start(
        run: &'scope Run<'scope>,
        sources: &[Source],
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> Self {
        let digests = |source: &Source| sources::digests(run.workspace, source);
        let digests = sources.iter().map(|it| (it.binary.clone(), digests(it))).collect();
        let builds = Builds::start(sources, run.workspace, &run.guardian, scope);
        Self { run, builds, digests }
    }

    /// The experiments of this shard. What each weighs is known when all are built.
    fn share(&mut self, chosen: &[Source]) -> Result<Vec<Source>> {
        let Some(shard) = self.run.flags.shard else { return Ok(chosen.to_vec()) };
        let mut weighed = Vec::new();
        for source in chosen {
            let weight = match self.declared(source, |_| ()) {
                Ok((_, declaration)) => trials(&declaration),
                Err(Trouble::Interrupted) => return Err(Failure::Interrupted),
                Err(_) => self.builds.failure().map_or(Ok(0), Err)?,
            };
            weighed.push((source.clone(), weight));
        }
        let mine = selection::shard(weighed, shard, |(_, weight)| *weight);
        Ok(mine.into_iter().map(|(source, _)| source).collect())
    }

    /// Waits until an experiment is built, and reads its declaration.
    fn declared(
        &mut self,
        source: &Source,
        on_status: impl FnMut(Option<&str>),
    ) -> Result<Declared, Trouble> {
        let executable = match self.builds.wait_for(source, &self.run.interrupt, on_status) {
            Built::Yes(executable) => executable,
            Built::No => return Err(Trouble::NotBuilt(source.binary.clone())),
            Built::Failed => return Err(Trouble::DoesNotBuild),
            Built::Interrupted => return Err(Trouble::Interrupted),
        };
        let digests = self.digests.get(&source.binary).cloned().unwrap_or_default();
        let mut binary = Binary::of(source, executable, digests);
        let declaration = binary.declaration(self.run)?;
        Ok((binary, declaration))
    }

    /// Runs an experiment when it is built. `None` if the run is interrupted before that.
    fn experiment(
        &mut self,
        source: &Source,
        snapshots: &Snapshots,
        screen: &Screen<'_>,
    ) -> Result<Option<Finding>> {
        let (binary, declaration) = match self.declared(source, |it| screen.building(it)) {
            Ok(declared) => declared,
            Err(Trouble::Interrupted) => return Ok(None),
            Err(trouble) => return Ok(Some(Finding::trouble(source, &trouble))),
        };
        if let Some(skipped) = self.run.not_asked_for(source, declaration.on_demand.as_deref()) {
            return Ok(Some(Finding::skipped(source, skipped)));
        }
        screen.starts(source);
        let (mut ended, all) = (0, trials(&declaration));
        let on_trial = || {
            ended += 1;
            screen.trials(source, ended, all, self.builds.go_on());
        };
        let ran = binary.run(self.run, on_trial, |doing| screen.note(doing));
        Ok(Some(match ran {
            Ok(result) if result.interrupted => Finding::interrupted(source, result),
            Ok(result) => {
                let result = ExperimentResult { sources: binary.digests.clone(), ..result };
                if self.run.under.is_empty() {
                    Finding::compared(source, result, snapshots)?
                } else {
                    Finding::held(source, result)
                }
            }
            Err(Trouble::Skipped(skipped)) => Finding::skipped(source, skipped),
            Err(trouble) => Finding::trouble(source, &trouble),
        }))
    }
}

/// How many trials an experiment will run.
fn trials(declaration: &Declaration) -> u64 {
    declaration.variants.iter().map(|variant| u64::from(variant.trials)).sum()
}
