//! The external requirements of an experiment, such as an interpreter or a server.
//!
//! The parent process prepares them once per run, before the first trial. If one is missing, the experiment
//! is skipped. A skip is reported, and is neither success nor failure.

use std::{any::Any, collections::BTreeMap, error::Error, ffi::OsString, fmt, sync::Arc};

use thiserror::Error;

use crate::{
    interrupt::Interrupt,
    sandbox::{Ended, Ending, Sandbox, SandboxError, Sandboxed},
};

/// Why a requirement is not available.
#[derive(Debug, Error)]
pub enum Lack {
    /// The machine does not have it. The experiment is skipped.
    #[error("{what}: {remedy}")]
    Missing {
        /// What is missing, as a sentence without a full stop: `there is no python3 on PATH`.
        what: String,
        /// The remedy: `install it (Debian: apt-get install python3)`.
        remedy: String,
    },
    /// It exists but does not work. The run fails.
    #[error("cannot prepare what is needed: {0}")]
    Broken(Box<dyn Error + Send + Sync>),
    /// The run was interrupted before it was ready.
    #[error("interrupted")]
    Interrupted,
}

impl Lack {
    /// Makes a [`Lack::Missing`].
    pub fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), remedy: remedy.into() }
    }

    /// Makes a [`Lack::Broken`].
    pub fn broken(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken(why.into())
    }
}

impl From<SandboxError> for Lack {
    fn from(error: SandboxError) -> Self {
        Self::broken(error)
    }
}

/// The prepared requirements, for all trials of a run.
#[derive(Default)]
pub struct Equipment {
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) variables: Vec<(String, OsString)>,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Equipment {
    /// Creates empty equipment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the name and version of something that the trials use to the results.
    #[must_use]
    pub fn version(mut self, of: &str, version: impl Into<String>) -> Self {
        self.versions.insert(of.to_owned(), version.into());
        self
    }

    /// Adds a variable to the environment of every trial, which is otherwise almost empty.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Keeps a value, such as a server, until the last trial has ended, then drops it.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    /// Merges two equipments.
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

/// What a requirement may use to find and prepare itself.
pub struct Preparation<'a> {
    pub(crate) sandbox: &'a Arc<Sandbox>,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) say: &'a dyn Fn(&str),
}

impl Preparation<'_> {
    /// Reports a step. Call this before a step that may take more than a moment.
    pub fn say(&self, doing: &str) {
        (self.say)(doing);
    }

    /// The sandbox of the run, in which the trials run too.
    #[must_use]
    pub const fn sandbox(&self) -> &Arc<Sandbox> {
        self.sandbox
    }

    /// The interrupt flag of the run.
    #[must_use]
    pub const fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }

    /// Runs a command until it ends.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or the run is interrupted. The command's own failure is not an error.
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
