//! Why a command ends early, and with which exit code.

use std::{error::Error, fmt::Display, process::ExitCode};

use crate::output;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Failure {
    /// The user asked for something that does not exist or makes no sense: exit code 2.
    Usage(String),
    /// Ctrl-C came before there was anything to report: exit code 130.
    Interrupted,
    /// Something failed: exit code 1.
    Failed(String),
}

impl Failure {
    /// Prints what happened to standard error, and returns the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                output::complain(&message);
                ExitCode::from(2)
            }
            Self::Interrupted => {
                output::note("interrupted before anything had run");
                ExitCode::from(lab::interrupt::EXIT_CODE)
            }
            Self::Failed(message) => {
                output::complain(&message);
                ExitCode::FAILURE
            }
        }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Puts before an error what was being done.
pub trait Context<T> {
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Failure::Failed(format!("{}: {error}", doing())))
    }
}
