//! `cargo xtask stress`: experiments and tests again and again, under load.

mod end;
mod executable;
mod load;
mod options;
mod progress;
mod report;

use std::{process::ExitCode, thread, time::Instant};

use lab::{
    interrupt::{self, Interrupt},
    sandbox::Sandbox,
    seed,
};

pub use self::options::Options;
use self::{
    end::End,
    executable::Executable,
    load::Load,
    options::Format,
    progress::Progress,
    report::{Instability, Report, Tally},
};
use crate::{
    experiments::{
        self,
        again::{Again, Experiment, Found},
    },
    failure::Failure,
    output,
    workspace::Workspace,
};

/// What is run again and again: one thing of it.
enum Subject<'a> {
    Experiment(Experiment<'a>),
    Tests(Executable),
}

/// What it takes to run them.
struct Stress<'a> {
    sandbox: &'a Sandbox,
    interrupt: &'a Interrupt,
    seed: u64,
}

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    let interrupt = Interrupt::install()?;
    let chosen = experiments::Options {
        only: options.only.clone(),
        quick: options.quick,
        ..experiments::Options::default()
    };
    // Tests alone are asked for where no experiment is named.
    let again = (!options.only.is_empty() || options.test.is_empty())
        .then(|| Again::prepare(&chosen, workspace, &interrupt))
        .transpose()?;
    let mut built = Vec::new();
    let packages = if options.test.is_empty() { Vec::new() } else { workspace.packages()? };
    for selected in &options.test {
        executable::check_package(&selected.package, &packages)?;
    }
    for selected in &options.test {
        let executables =
            executable::build_tests(selected, options.timeout, workspace, &interrupt)?;
        built.push((selected, executables));
    }
    // Not before all is built: what cargo leaves running is no stray of ours.
    let sandbox = Sandbox::open()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let stress = Stress { sandbox: &sandbox, interrupt: &interrupt, seed };
    let experiments = again.iter().flat_map(Again::experiments).map(Subject::Experiment);
    let mut subjects: Vec<_> = experiments.collect();
    for (selected, executables) in built {
        let tests = executable::with_tests(selected, executables, &sandbox, &interrupt)?;
        subjects.extend(tests.into_iter().map(Subject::Tests));
    }
    let load = options.load.unwrap_or_else(cores);
    let (busy, began) = (Load::of(load)?, Instant::now());
    let (tallies, ran) = stress.run(&subjects, options.end());
    drop(busy);
    let (took, interrupted) = (began.elapsed(), interrupt.raised());
    let report = Report { tallies, seed, load, took, interrupted };
    sandbox.close()?;
    // What is known is worth something, even if the sandbox has failed.
    output::print(&match options.format {
        Format::Text => report.text(output::width(), output::is_terminal()),
        Format::Json => report.json()?,
    });
    ran?;
    Ok(exit_code(&report))
}

fn cores() -> u32 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(1)
}

/// 0 when nothing was unstable, 1 when something was, 130 when it was interrupted.
fn exit_code(report: &Report) -> ExitCode {
    if report.interrupted {
        ExitCode::from(interrupt::EXIT_CODE)
    } else if report.unstable() > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Stress<'_> {
    /// Runs everything in turn, until that is enough.
    fn run(&self, subjects: &[Subject<'_>], end: End) -> (Vec<Tally>, Result<(), Failure>) {
        let (began, mut progress) = (Instant::now(), Progress::start(end));
        let mut tallies: Vec<_> = subjects.iter().map(|it| Tally::new(it.title())).collect();
        let mut ran = Ok(());
        'rounds: for round in 0.. {
            for (subject, tally) in subjects.iter().zip(&mut tallies) {
                let enough = end.has_come(tally.runs, began.elapsed());
                if tally.skipped {
                    continue;
                }
                if self.interrupt.raised() || enough {
                    break 'rounds;
                }
                let (start, seed) = (Instant::now(), seed::of_trial(self.seed, &tally.name, round));
                let found = match subject.run(seed, self, || progress.at(&tally.name, round)) {
                    Ok(Found::Interrupted) => break 'rounds,
                    Ok(Found::Skipped(why)) => {
                        output::note(&why);
                        tally.skipped = true;
                        continue;
                    }
                    Ok(Found::TheSame) => None,
                    Ok(Found::SomethingElse(found)) => Some(found),
                    Err(failure) => {
                        ran = Err(failure);
                        break 'rounds;
                    }
                };
                let rerun = || subject.rerun(seed);
                let instability =
                    found.map(|found| Instability { round, seed, found, rerun: rerun() });
                progress.ran(instability.as_ref());
                tally.add(start.elapsed(), instability);
            }
            if tallies.iter().all(|tally| tally.skipped) {
                break;
            }
        }
        progress.end();
        tallies.retain(|tally| !tally.skipped);
        (tallies, ran)
    }
}

impl Subject<'_> {
    fn title(&self) -> String {
        match self {
            Self::Experiment(experiment) => experiment.title(),
            Self::Tests(tests) => tests.title(),
        }
    }

    fn rerun(&self, seed: u64) -> String {
        match self {
            Self::Experiment(experiment) => experiment.rerun(seed),
            Self::Tests(tests) => tests.rerun(seed),
        }
    }

    fn run(
        &self,
        seed: u64,
        stress: &Stress<'_>,
        on_progress: impl Fn(),
    ) -> Result<Found, Failure> {
        on_progress();
        match self {
            Self::Experiment(experiment) => Ok(experiment.run(seed, on_progress)),
            Self::Tests(tests) => tests.run(seed, stress.sandbox, stress.interrupt),
        }
    }
}
