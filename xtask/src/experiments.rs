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
mod side_by_side;
pub mod snapshots;
mod work;

use std::{
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
    results::{Declaration, Skipped},
};

use self::{
    binary::Trouble,
    line::Pages,
    report::{Report, State},
    snapshots::Snapshots,
    work::Work,
};
use crate::{
    failure::{Failure, Result},
    flags::{self, Format},
    output::{self, Paper, Progress},
    probe::held,
    results::{self, Meta, Results},
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
    let side_by_side = chosen.len() > 1 && side_by_side::at_a_time(&run) > 1;
    let meta = Meta {
        side_by_side,
        chaos: flags.chaos,
        ..Meta::now(workspace, run.seed, flags.is_quick(), flags.trials)
    };
    let began = Instant::now();
    let (planned, findings) = side_by_side::run(&run, &chosen, &snapshots)?;
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
    // What was measured before is worth more than nothing.
    let has_ended = results.experiments.iter().any(|it| !it.interrupted);
    let is_kept = !has_ended && results.skipped.is_empty() && flags.results.is_none();
    let written = if is_kept { Ok(()) } else { results.write(path) };
    let shown = match is_kept {
        true => "none, and those of the run before stay".to_owned(),
        false => workspace.shown(path).to_string(),
    };
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
    output::note("building the experiments, which say themselves what they ask");
    thread::scope(|scope| -> Result<()> {
        let mut work = Work::start(run, chosen, scope);
        let progress = Progress::start(None, work::BUILDING);
        for source in chosen {
            let title = source.title();
            match work.declared(source, &progress) {
                Ok((_, it)) => {
                    lines += &(serde_json::to_string(&it)? + "\n");
                    let trials = trials(&it).to_string();
                    let because = it.on_demand.map(|because| format!("\n({because})"));
                    let asks = it.question + &because.unwrap_or_default();
                    rows.push(vec![title, asks, it.claims.join(" "), trials]);
                }
                Err(Trouble::Interrupted) => return Err(Failure::Interrupted),
                Err(trouble) => {
                    work.builds.failure().map_or(Ok(()), Err)?;
                    is_complete = false;
                    progress.above(|| output::complain(&format!("{title} {trouble}")));
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
}

/// How many trials an experiment will run.
fn trials(declaration: &Declaration) -> u64 {
    declaration.variants.iter().map(|variant| u64::from(variant.trials)).sum()
}
