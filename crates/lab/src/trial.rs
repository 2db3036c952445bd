//! The interface of a trial for the experiment's own code.

use std::{
    env, error::Error, io, os::unix::process::CommandExt as _, path::Path, process::Command,
};

use crate::{
    observation::Value,
    program::{self, Program},
    report_pipe::{Line, Reporter},
};

/// The argument that turns an experiment into the child process of one trial. The variant's name, and
/// the trial's seed and number follow.
pub(crate) const TRIAL: &str = "__trial";

/// The argument that turns an experiment into one of its parts. The part's name and its arguments
/// follow.
pub(crate) const PART: &str = "__part";

/// The result of a variant's body, and with a `T` that of a function that helps it. An error makes the
/// trial `failed`, with its message.
pub type TrialResult<T = ()> = Result<T, Box<dyn Error>>;

/// One trial, seen from inside the child process that runs it.
///
/// A body runs on the child's main thread. What happens after it has returned still belongs to the
/// trial: the destructors of the main thread's thread-locals run, and a panic in one is reported
/// like any other.
#[derive(Debug)]
pub struct Trial<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) variant: &'a str,
    pub(crate) version: Option<&'a str>,
    pub(crate) is_cured: bool,
    pub(crate) seed: u64,
    pub(crate) number: u32,
    pub(crate) reporter: &'a Reporter,
}

impl Trial<'_> {
    /// The trial's own directory, empty at first and removed afterwards. It is also the current
    /// directory and `TMPDIR`.
    #[must_use]
    pub const fn directory(&self) -> &Path {
        self.directory
    }

    /// The name of the variant that this is a trial of.
    #[must_use]
    pub const fn variant(&self) -> &str {
        self.variant
    }

    /// Which of the variant's [versions](crate::Variant::versions) this is a trial of, if it has any.
    #[must_use]
    pub const fn version(&self) -> Option<&str> {
        self.version
    }

    /// Whether this is a trial of the cure that a hazard [derived](crate::Variant::cured).
    #[must_use]
    pub const fn is_cured(&self) -> bool {
        self.is_cured
    }

    /// Which of the variant's trials this is, from 0: for a variant whose trials share out what they try.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// A generator of random numbers, made from the trial's seed. Each call starts it anew.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// Records an observation: an integer, a duration, a flag or a short text (cut after 200 bytes).
    /// A second one under the same name replaces the first.
    pub fn record(&self, name: &str, value: impl Into<Value>) {
        self.reporter.observation(name, value.into());
    }

    /// Checks a condition of a clean trial. If it does not hold, the trial continues, and is `failed`
    /// unless something worse happens. Returns `holds`.
    pub fn check(&self, what: &str, holds: bool) -> bool {
        if !holds {
            self.reporter.problem(what);
        }
        holds
    }

    /// A command that runs a [part](crate::Experiment::part) of the experiment in another process, in
    /// this directory. It ends with the trial at the latest. Its panics do not count as the trial's:
    /// the trial judges how it ends.
    ///
    /// # Errors
    ///
    /// If the OS does not report the path of this program.
    pub fn part(&self, name: &str) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.args([PART, name]).current_dir(self.directory);
        Ok(command)
    }

    /// Replaces the trial's process by another program (`exec`). No destructor of this program runs. The
    /// directory, the deadline and the process group stay the same. The new program's standard input is
    /// empty. [`Program`] says how its end is judged.
    ///
    /// # Errors
    ///
    /// Returns only if the program cannot be started.
    pub fn becomes(&self, program: Program) -> TrialResult {
        let shown = program.to_string();
        let Program { mut command, rule } = program;
        let pipe = self.reporter.pass_on()?;
        self.reporter.line(&Line::Program(rule));
        let error = command.env(program::REPORT, pipe.to_string()).exec();
        Err(format!("cannot become {shown}: {error}").into())
    }

    /// Declares the trial done, for a body that does not return because it exits the process itself.
    /// A trial that exits with code 0 and was not done is `failed`.
    pub fn done(&self) {
        self.reporter.done();
    }
}
