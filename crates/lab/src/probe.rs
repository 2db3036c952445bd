//! Runs any command many times in the [sandbox](crate::sandbox) and counts how it ends.
//!
//! ```no_run
//! use lab::{interrupt::Interrupt, probe::{Command, Plan}};
//!
//! let (program, shell_quoted) = ("./flaky.sh".into(), "./flaky.sh".to_owned());
//! let command = Command { program, arguments: Vec::new(), shell_quoted };
//! let plan = Plan { trials: Some(200), ..Plan::new(7, "kept".into()) };
//! let interrupt = Interrupt::install()?;
//! let (report, result) = plan.run(vec![command], &interrupt, |_, _| {});
//! println!("{} of {} failed", report.commands[0].failed, report.commands[0].trials);
//! result?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod load;
mod report;
mod tally;
mod trial;

use std::{
    env,
    ffi::OsString,
    num::NonZero,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

pub use rustix::process::Signal;

use self::{load::Load, tally::Tally};
pub use self::{
    report::{Arm, Comparison, FailureKind, First, LeftBehind, Report, Slow},
    trial::{EndKind, Panic, Trial},
};
use crate::{
    interrupt::Interrupt,
    parallel,
    sandbox::{Ending, Provoked, Sandbox, SandboxError, Sandboxed, Surroundings},
    seed,
};

/// A command to probe.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program: a path, or a name to look up in PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The command, quoted for a shell, for the report.
    pub shell_quoted: String,
}

/// How to probe one command, or two. Two commands take turns, so that a change in the machine's load
/// affects both.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many trials to run for each command; `None` means no limit.
    pub trials: Option<u32>,
    /// Start no trial after this time, except the first of each command; `None` means no limit.
    pub time: Option<Duration>,
    /// Whether to stop at the first failure.
    pub until_failure: bool,
    /// How many trials to run at a time.
    pub jobs: usize,
    /// How many CPU-busy threads to run during the trials.
    pub load: u32,
    /// How long a trial may run before it is killed and counted as hung.
    pub timeout: Duration,
    /// What is done with each trial.
    pub provoked: Provoked,
    /// The same in words, for the report.
    pub provoked_by: String,
    /// Every trial's seed is derived from this one.
    pub seed: u64,
    /// The seed of every trial, if all have the same.
    pub same_seed: Option<u64>,
    /// The folder for the output of failed trials and of the slowest clean ones.
    pub keep: PathBuf,
}

impl Plan {
    /// Creates a plan with these defaults: as many trials at a time as there are processors, a timeout
    /// of a minute, no limit, no load.
    #[must_use]
    pub fn new(seed: u64, keep: PathBuf) -> Self {
        Self {
            trials: None,
            time: None,
            until_failure: false,
            jobs: thread::available_parallelism().map_or(1, NonZero::get),
            load: 0,
            timeout: Duration::from_mins(1),
            provoked: Provoked { is_looked_at: true, ..Provoked::default() },
            provoked_by: String::new(),
            seed,
            same_seed: None,
            keep,
        }
    }

    /// Runs the trials, and calls `on_trial` when one ends: with the trial, and with whether it is the
    /// first of a new kind of failure.
    ///
    /// The report covers the trials that ended, even if the sandbox failed.
    pub fn run(
        &self,
        commands: Vec<Command>,
        interrupt: &Interrupt,
        on_trial: impl FnMut(&Trial, bool),
    ) -> (Report, Result<(), SandboxError>) {
        let began = Instant::now();
        let provoked = match &*self.provoked_by {
            "" => String::new(),
            options => format!(" # with {options}"),
        };
        let jobs = self.jobs.min(self.max_trials(commands.len())).max(1);
        let mut tallies = self.tallies(commands);
        let result = self.run_trials(&mut tallies, jobs, interrupt, on_trial);
        let commands: Vec<_> = tallies.into_iter().map(|it| it.finish(&provoked)).collect();
        let comparison = match &commands[..] {
            [one, other] => Some(Comparison::of(one, other)),
            _ => None,
        };
        let report = Report {
            commands,
            comparison,
            provoked: self.provoked_by.clone(),
            seed: self.seed,
            seconds: began.elapsed().as_secs_f64(),
            jobs,
            load: self.load,
            timeout_seconds: self.timeout.as_secs_f64(),
            until_failure: self.until_failure,
            interrupted: interrupt.raised(),
        };
        (report, result)
    }

    /// The number of trials of all commands together, at most.
    fn max_trials(&self, commands: usize) -> usize {
        self.trials.map_or(usize::MAX, |trials| trials as usize).saturating_mul(commands)
    }

    /// Creates an empty tally for each command. Two commands keep their output in two folders.
    fn tallies(&self, commands: Vec<Command>) -> Vec<Tally> {
        let folder = |at: usize| match commands.len() {
            1 => self.keep.clone(),
            _ => self.keep.join(if at == 0 { "a" } else { "b" }),
        };
        let folders: Vec<_> = (0..commands.len()).map(folder).collect();
        commands.into_iter().zip(folders).map(|(it, folder)| Tally::new(it, folder)).collect()
    }

    fn run_trials(
        &self,
        tallies: &mut [Tally],
        jobs: usize,
        interrupt: &Interrupt,
        mut on_trial: impl FnMut(&Trial, bool),
    ) -> Result<(), SandboxError> {
        let directory = env::current_dir()
            .map_err(|source| SandboxError::Start { program: PathBuf::from("."), source })?;
        let sandbox = Sandbox::open()?;
        let _load = Load::start(self.load)
            .map_err(|source| SandboxError::Start { program: PathBuf::from("load"), source })?;
        let commands: Vec<_> = tallies.iter().map(|tally| tally.command().clone()).collect();
        let (began, max_trials) = (Instant::now(), self.max_trials(commands.len()));
        // The thread of a failed trial sets this before it takes another trial, so it starts none after
        // a failure. Relaxed: the flag publishes nothing else.
        let stop = AtomicBool::new(false);
        let trial = |place: usize| {
            let time_is_up = self.time.is_some_and(|time| began.elapsed() >= time);
            if stop.load(Ordering::Relaxed) || (time_is_up && place >= commands.len()) {
                return Ok(None);
            }
            let (at, number) = (place % commands.len(), u32::try_from(place / commands.len()));
            let (Some(command), Ok(number)) = (commands.get(at), number) else { return Ok(None) };
            // Trials with the same number have the same seed, so the seed explains no difference.
            let seed = self.same_seed.unwrap_or_else(|| seed::of_trial(self.seed, "probe", number));
            let command = self.sandboxed(command, &directory, number, seed);
            let ended = sandbox.provoke(&command, &self.provoked, interrupt)?;
            if ended.ending == Ending::Interrupted {
                return Ok(None);
            }
            let trial = Trial::of((at, number), seed, &ended, &self.provoked);
            stop.fetch_or(self.until_failure && trial.end.is_failure(), Ordering::Relaxed);
            Ok(Some((trial, ended)))
        };
        let result = parallel::run(jobs, max_trials, trial, |(trial, ended)| {
            if let Some(tally) = tallies.get_mut(trial.command) {
                on_trial(&trial, tally.add(&trial, &ended));
            }
            ControlFlow::Continue(())
        });
        sandbox.close().and(result)
    }

    fn sandboxed<'a>(
        &self,
        command: &'a Command,
        directory: &'a Path,
        number: u32,
        seed: u64,
    ) -> Sandboxed<'a> {
        let variables = vec![
            ("PROBE_TRIAL", number.to_string().into()),
            ("PROBE_SEED", seed.to_string().into()),
        ];
        Sandboxed {
            program: &command.program,
            arguments: command.arguments.clone(),
            surroundings: Surroundings::Inherited { directory, variables },
            deadline: self.timeout,
        }
    }
}
