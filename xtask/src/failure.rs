//! Why a command ended without doing what it was asked, and the exit code that says so.

use std::{error::Error, process::ExitCode};

use crate::output;

/// What keeps a command from doing what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for something that does not exist or makes no sense: exit code 2.
    Usage(String),
    /// It was told to stop before it had begun: exit code 130.
    Interrupted(&'static str),
    /// Something went wrong on the way: exit code 1.
    Broken(Box<dyn Error>),
}

impl Failure {
    /// Says on standard error what happened, and returns the exit code that goes with it.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                output::complain(&message);
                ExitCode::from(2)
            }
            Self::Interrupted(what_is_known) => {
                output::note(&format!("interrupted: {what_is_known}"));
                ExitCode::from(lab::interrupt::EXIT_CODE)
            }
            Self::Broken(error) => {
                output::complain(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(Box::new(error))
    }
}
