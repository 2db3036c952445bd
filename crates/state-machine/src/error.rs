//! How a logout can fail, and what of it can fail without failing it.

use std::{fmt, time::Duration};

use thiserror::Error;

use crate::{application::Failure, transition::Effect};

/// Why one step did not do what it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The application says so.
    #[error("{0}")]
    Failed(Failure),
    /// It did not say anything in time.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// The limit that passed.
        limit: Duration,
    },
    /// It panicked.
    #[error("it panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The answer was not waited for any longer, because somebody wanted the logout cancelled.
    #[error("it was given up, because the logout was to be cancelled")]
    GivenUp,
}

/// Something that failed without changing how the logout ended.
#[derive(Debug, Error)]
#[error("{effect} failed: {trouble}")]
pub struct Warning {
    /// What failed.
    pub effect: Effect,
    /// Why.
    pub trouble: Trouble,
}

/// A logout that did not complete.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogoutError {
    /// Not logged out, as far as is known: the session goes on and its sync service runs again,
    /// unless a warning says that it could not be restarted.
    #[error("not logged out: {cause}{}", listed(.warnings))]
    Recoverable {
        /// Why.
        cause: RecoverableError,
        /// What failed besides.
        warnings: Vec<Warning>,
    },
    /// Logged out, but the application cannot go on as it is.
    #[error("logged out, but {cause}{}", listed(.warnings))]
    Unrecoverable {
        /// Why.
        cause: UnrecoverableError,
        /// What failed besides.
        warnings: Vec<Warning>,
    },
}

/// Why a logout was given up before the point of no return.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverableError {
    /// Another run is under way, and this one has done nothing.
    #[error("another logout is under way; wait for its end")]
    UnderWay,
    /// A cancel was accepted, or the server says that it came in time.
    #[error("it was cancelled")]
    Cancelled,
    /// There is nothing to log out.
    #[error("there is no session to log out: {0}")]
    NotReady(Trouble),
    /// The sync service did not stop.
    #[error("the sync service could not be stopped: {0}; try again")]
    SyncNotStopped(Trouble),
    /// That a logout is about to be requested could not be written down.
    #[error("the intent to log out could not be recorded, and nothing was requested: {0}")]
    IntentNotRecorded(Trouble),
    /// The request has not left.
    #[error("the server was not reached: {0}; try again")]
    NotSent(Failure),
    /// The request came to nothing, and the server says that the session is alive.
    #[error("the server did not log the session out: {0}; try again")]
    NotDone(Trouble),
    /// The request came to nothing that is known, and the server does not say whether it was done.
    /// The intent stays recorded: another run, or the next start, finds out.
    #[error(
        "nobody can tell whether the server has: the logout request failed ({request}), and so did asking for its end ({question}); try again, or the next start will ask"
    )]
    InDoubt {
        /// What became of the request.
        request: Trouble,
        /// What became of the question.
        question: Trouble,
    },
}

/// Why an application cannot go on after the point of no return.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnrecoverableError {
    /// There is no runtime for the next login.
    #[error("no runtime could be started for the next login: {0}; try again, or restart the app")]
    RuntimeNotRestarted(Trouble),
}

impl LogoutError {
    /// What failed besides.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Self::Recoverable { warnings, .. } | Self::Unrecoverable { warnings, .. } => warnings,
        }
    }
}

impl LogoutError {
    /// The same, with what failed besides.
    pub(crate) fn with(mut self, besides: Vec<Warning>) -> Self {
        match &mut self {
            Self::Recoverable { warnings, .. } | Self::Unrecoverable { warnings, .. } => {
                *warnings = besides;
            }
        }
        self
    }
}

impl From<RecoverableError> for LogoutError {
    fn from(cause: RecoverableError) -> Self {
        Self::Recoverable { cause, warnings: Vec::new() }
    }
}

impl From<UnrecoverableError> for LogoutError {
    fn from(cause: UnrecoverableError) -> Self {
        Self::Unrecoverable { cause, warnings: Vec::new() }
    }
}

/// `; besides, closing the tabs failed: no answer within 5s`.
fn listed(warnings: &[Warning]) -> impl fmt::Display {
    fmt::from_fn(move |f| warnings.iter().try_for_each(|warning| write!(f, "; besides, {warning}")))
}
