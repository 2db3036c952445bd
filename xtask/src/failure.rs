//! The errors of commands, and their exit codes.

use std::{error::Error, fmt::Display, process::ExitCode};

use crate::output;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Failure {
    /// Usage error: exit code 2.
    Usage(String),
    /// Ctrl-C came before anything had a result: exit code 130.
    Interrupted,
    /// Something failed: exit code 1.
    Failed(String),
}

impl Failure {
    /// Prints the error to standard error, and returns the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Interrupted => output::note(self.message()),
            Self::Usage(_) | Self::Failed(_) => output::complain(self.message()),
        }
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Interrupted => ExitCode::from(lab::interrupt::EXIT_CODE),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl Failure {
    /// What to tell the user.
    pub fn message(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::Interrupted => "interrupted before anything ran",
        }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Adds to an error what the program was doing.
pub trait Context<T> {
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Failure::Failed(format!("{}: {error}", doing())))
    }
}
