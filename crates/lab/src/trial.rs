//! What an experiment's own code sees while it runs inside a trial.

use std::{
    env, error::Error, io, os::unix::process::CommandExt as _, path::Path, process::Command,
};

use crate::{
    child,
    observation::Value,
    program::{self, Program},
    report::{Line, Reporter},
    variant::Variant,
};

/// What the body of a variant returns, and with a `T` what a function returns that helps it. An error
/// makes the trial `failed`, with its message.
pub type TrialResult<T = ()> = Result<T, Box<dyn Error>>;

/// One trial, seen from inside the child process that runs it.
///
/// A body runs on the child's main thread. What happens after it has returned still belongs to the
/// trial: the destructors of the main thread's thread-locals run, and a panic in one is reported
/// like any other.
#[derive(Debug)]
pub struct Trial<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) variant: &'a Variant,
    pub(crate) seed: u64,
    pub(crate) reporter: &'a Reporter,
}

impl Trial<'_> {
    /// An empty directory of the trial's own, which is removed afterwards. It is also the current
    /// directory and `TMPDIR`.
    #[must_use]
    pub const fn directory(&self) -> &Path {
        self.directory
    }

    /// The name of the variant that this is a trial of.
    #[must_use]
    pub fn variant(&self) -> &str {
        &self.variant.name
    }

    /// Which of the [versions](Variant::versions) of the variant this is a trial of, if it has any.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.variant.version.as_deref()
    }

    /// Whether this is a trial of the cure that a hazard [derived](Variant::cured).
    #[must_use]
    pub const fn is_cured(&self) -> bool {
        self.variant.derived
    }

    /// The seed for anything random in the trial.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// A generator of random numbers made from the seed. Every call starts it anew.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// Records an observation: an integer, a duration, a flag or a short text (cut after 200
    /// bytes). Of two under one name the later counts.
    pub fn record(&self, name: &str, value: impl Into<Value>) {
        self.reporter.observation(name, value.into());
    }

    /// Checks something that must hold for the trial to be clean. Where it does not, the trial goes
    /// on, and is `failed` unless something worse happens. Returns what it was given.
    pub fn check(&self, what: &str, holds: bool) -> bool {
        if !holds {
            self.reporter.problem(what);
        }
        holds
    }

    /// A command that runs a [part](crate::Experiment::part) of the experiment in another process:
    /// in this directory, and ended with the trial if not before. Its panics are not the trial's;
    /// how it ends is for the trial to look at.
    ///
    /// # Errors
    ///
    /// Where the system does not tell which program this is.
    pub fn part(&self, name: &str) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.args([child::PART, name]).current_dir(self.directory);
        Ok(command)
    }

    /// Turns the trial into another program: what is left of this one ends here, without running a
    /// destructor. The directory, the deadline and the process group stay, and the program finds
    /// nothing on its standard input. How it ends is judged as [`Program`] says.
    ///
    /// # Errors
    ///
    /// Returns only where the program cannot be started.
    pub fn becomes(&self, program: Program) -> TrialResult {
        let shown = program.to_string();
        let Program { mut command, rule } = program;
        let pipe = self.reporter.pass_on()?;
        self.reporter.line(&Line::Program(rule));
        let error = command.env(program::REPORT, pipe.to_string()).exec();
        Err(format!("cannot become {shown}: {error}").into())
    }

    /// Declares the trial done, for a body that does not return because it leaves the process
    /// itself. A trial that ends with exit code 0 and was never done is `failed`.
    pub fn done(&self) {
        self.reporter.done();
    }
}
