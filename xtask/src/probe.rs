//! `cargo xtask probe`: the lab's sandbox for any command.

mod command;
mod kept;
mod options;
mod progress;
mod report;
mod tally;
mod text;
mod trial;

use std::{
    env, fs,
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lab::{
    interrupt::{self, Interrupt},
    parallel,
    sandbox::{Ended, Ending, Sandbox, SandboxError, Sandboxed, Surroundings},
    seed,
};

pub use self::options::Options;
use self::{
    command::Command,
    kept::Kept,
    options::Format,
    progress::Progress,
    report::{Arm, Comparison, Report},
    tally::Tally,
    trial::Trial,
};
use crate::{failure::Failure, output, workspace::Workspace};

/// How many trials there are, unless something else is said.
const TRIALS: u32 = 50;

/// A command that is probed, and what is known of its trials.
struct Probed {
    command: Command,
    tally: Tally,
    kept: Kept,
}

/// Runs the command.
pub fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode, Failure> {
    let mut commands = vec![Command::of(options.command.iter().cloned())?];
    commands.extend(options.compare.as_deref().map(Command::parse).transpose()?);
    let folder = kept::folder(options.keep.as_deref(), workspace)?;
    let mut probed = probed(commands, &folder);
    let (interrupt, began) = (Interrupt::install()?, Instant::now());
    let plan = Plan::of(options, probed.len());
    let mut progress = Progress::start(plan.limited());
    let ran = plan.run(&mut probed, &interrupt, |trial, is_news| progress.trial(trial, is_news));
    progress.end();
    // Unless something was kept in it.
    let _ = fs::remove_dir(&folder);
    let report = plan.report(&probed, began.elapsed(), interrupt.raised());
    // What is known is worth something, even if the sandbox has failed.
    print(&report, options.format)?;
    ran?;
    Ok(exit_code(&report))
}

fn probed(commands: Vec<Command>, folder: &Path) -> Vec<Probed> {
    let several = commands.len() > 1;
    let place = |at: usize| if several { folder.join(["a", "b"][at % 2]) } else { folder.into() };
    let commands = commands.into_iter().enumerate();
    commands
        .map(|(at, command)| Probed { command, tally: Tally::default(), kept: Kept::at(place(at)) })
        .collect()
}

/// What is going to run.
struct Plan {
    /// How many commands take turns.
    commands: usize,
    /// How many trials each gets; of `None`, nobody knows.
    trials: Option<u32>,
    jobs: usize,
    timeout: Duration,
    until_failure: bool,
    seed: u64,
}

impl Plan {
    fn of(options: &Options, commands: usize) -> Self {
        let trials = options.trials.or_else(|| (!options.until_failure).then_some(TRIALS));
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let jobs = options.jobs.map_or_else(cores, |jobs| jobs as usize);
        // There is no use in more.
        let all = trials.map_or(usize::MAX, |trials| (trials as usize).saturating_mul(commands));
        let jobs = jobs.min(all);
        let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
        let Options { timeout, until_failure, .. } = *options;
        Self { commands, trials, jobs, timeout, until_failure, seed }
    }

    /// How many trials there are in all, if that is known.
    fn limited(&self) -> Option<usize> {
        self.trials.map(|trials| (trials as usize).saturating_mul(self.commands))
    }

    /// Runs the trials, those of two commands in turn, so that what changes on the machine meanwhile
    /// meets both; and tells of each as it ends,
    /// and whether it is the first to fail in its way.
    fn run(
        &self,
        probed: &mut [Probed],
        interrupt: &Interrupt,
        mut on_trial: impl FnMut(&Trial, bool),
    ) -> Result<(), Failure> {
        let directory = env::current_dir()?;
        let sandbox = Sandbox::open()?;
        let commands: Vec<_> = probed.iter().map(|probed| probed.command.clone()).collect();
        // Raised by the failed trial's own thread, before that takes another: the trials that are
        // under way end, and none begins. Nothing else is published by it.
        let enough = AtomicBool::new(false);
        let trial = |place: usize| -> Result<_, SandboxError> {
            if enough.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (at, number) = (place % self.commands, u32::try_from(place / self.commands));
            let (Some(command), Ok(number)) = (commands.get(at), number) else { return Ok(None) };
            // The same for both commands: what a seed decides meets both.
            let seed = seed::of_trial(self.seed, "probe", number);
            let ended =
                sandbox.run(&self.sandboxed(command, &directory, number, seed), interrupt)?;
            if ended.ending == Ending::Interrupted {
                return Ok(None);
            }
            let trial = Trial::of(number, seed, &ended);
            enough.fetch_or(self.until_failure && trial.way.is_failure(), Ordering::Relaxed);
            Ok(Some((at, trial, ended)))
        };
        let on_done = |(at, trial, ended): (usize, Trial, Ended)| {
            if let Some(probed) = probed.get_mut(at) {
                on_trial(&trial, probed.tally.add(&trial));
                probed.kept.consider(&trial, &ended);
            }
            ControlFlow::Continue(())
        };
        let ran = parallel::run(self.jobs, self.limited().unwrap_or(usize::MAX), trial, on_done);
        sandbox.close()?;
        Ok(ran?)
    }

    fn sandboxed<'a>(
        &self,
        command: &'a Command,
        directory: &'a Path,
        number: u32,
        seed: u64,
    ) -> Sandboxed<'a> {
        let number = ("PROBE_TRIAL", number.to_string().into());
        let variables = vec![number, ("PROBE_SEED", seed.to_string().into())];
        Sandboxed {
            program: &command.program,
            arguments: command.arguments.clone(),
            surroundings: Surroundings::Inherited { directory, variables },
            deadline: self.timeout,
        }
    }

    fn report(&self, probed: &[Probed], took: Duration, interrupted: bool) -> Report {
        let arm = |it: &Probed| Arm::of(&it.command, &it.tally, &it.kept);
        let commands: Vec<_> = probed.iter().map(arm).collect();
        let comparison = match &commands[..] {
            [one, other] => Some(Comparison::of(one, other)),
            _ => None,
        };
        Report {
            commands,
            comparison,
            seed: self.seed,
            seconds: took.as_secs_f64(),
            jobs: self.jobs,
            timeout_seconds: self.timeout.as_secs_f64(),
            until_failure: self.until_failure,
            interrupted,
        }
    }
}

fn print(report: &Report, format: Format) -> Result<(), Failure> {
    output::print(&match format {
        Format::Text => text::render(report, output::width(), output::is_terminal()),
        Format::Json => serde_json::to_string(report)? + "\n",
    });
    Ok(())
}

/// 0 when no trial failed, 1 when one did, 130 when the probe was interrupted.
fn exit_code(report: &Report) -> ExitCode {
    if report.interrupted {
        ExitCode::from(interrupt::EXIT_CODE)
    } else if report.has_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
