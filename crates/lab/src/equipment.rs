//! What an experiment needs and the workspace does not hold, such as an interpreter or a server.
//!
//! It is looked for once per run, in the parent, before any trial. If it is missing the experiment is
//! skipped, which is counted, and is neither success nor failure.

use std::{any::Any, collections::BTreeMap, error::Error, ffi::OsString, fmt, sync::Arc};

use thiserror::Error;

use crate::{
    interrupt::Interrupt,
    sandbox::{Ended, Ending, Sandbox, SandboxError, Sandboxed},
};

/// Why an experiment does not have what it needs.
#[derive(Debug, Error)]
pub enum Lack {
    /// The machine does not have it: the experiment is skipped.
    #[error("{what}: {remedy}")]
    Missing {
        /// What is missing, as a sentence without a full stop: `there is no python3 on PATH`.
        what: String,
        /// What to do about it: `install it (Debian: apt-get install python3)`.
        remedy: String,
    },
    /// It exists and does not work: the run fails.
    #[error("cannot prepare what is needed: {0}")]
    Broken(Box<dyn Error + Send + Sync>),
    /// The run was interrupted before it was ready.
    #[error("interrupted")]
    Interrupted,
}

impl Lack {
    /// Something that the machine does not have, with its remedy.
    pub fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), remedy: remedy.into() }
    }

    /// Something that exists and does not work.
    pub fn broken(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken(why.into())
    }
}

impl From<SandboxError> for Lack {
    fn from(error: SandboxError) -> Self {
        Self::broken(error)
    }
}

/// What was found or made ready, for all trials of a run.
#[derive(Default)]
pub struct Equipment {
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) variables: Vec<(String, OsString)>,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Equipment {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names something that the trials use, and its version, for the results.
    #[must_use]
    pub fn version(mut self, of: &str, version: impl Into<String>) -> Self {
        self.versions.insert(of.to_owned(), version.into());
        self
    }

    /// Puts a variable into the environment of every trial, which is otherwise almost empty.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Keeps something until the last trial has ended, such as a server, and drops it then.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    /// This equipment and the other.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.versions.extend(other.versions);
        self.variables.extend(other.variables);
        self.kept.extend(other.kept);
        self
    }
}

impl fmt::Debug for Equipment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Equipment")
            .field("versions", &self.versions)
            .field("variables", &self.variables)
            .field("kept", &self.kept.len())
            .finish()
    }
}

/// The means to look for something, and to make it ready.
pub struct Preparation<'a> {
    pub(crate) sandbox: &'a Arc<Sandbox>,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) say: &'a dyn Fn(&str),
}

impl Preparation<'_> {
    /// Says what is being done. Call it before anything that may take more than a moment.
    pub fn say(&self, doing: &str) {
        (self.say)(doing);
    }

    /// The sandbox of the run, which is that of the trials.
    #[must_use]
    pub const fn sandbox(&self) -> &Arc<Sandbox> {
        self.sandbox
    }

    /// Says whether the run was interrupted.
    #[must_use]
    pub const fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or the run is interrupted. However the command itself ends is no error.
    pub fn run(&self, command: &Sandboxed<'_>) -> Result<Ended, Lack> {
        let ended = self.sandbox.run(command, self.interrupt)?;
        if ended.ending == Ending::Interrupted { Err(Lack::Interrupted) } else { Ok(ended) }
    }
}

impl fmt::Debug for Preparation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation").finish_non_exhaustive()
    }
}
