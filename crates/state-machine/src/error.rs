//! How a logout can fail, and what can fail without failing the logout.

use std::{fmt, time::Duration};

use thiserror::Error;

use crate::{
    application::Failure,
    transition::{Effect, Severity},
};

/// Why one step failed.
#[derive(Error)]
#[non_exhaustive]
pub enum StepError {
    /// The application returned an error.
    #[error("{0}")]
    Failed(Failure),
    /// The application did not answer in time.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// The limit that passed.
        limit: Duration,
    },
    /// The application panicked.
    #[error("it panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// The driver stopped waiting, because a cancel was requested.
    #[error("the wait for it ended, because a cancel was requested")]
    Abandoned,
}

/// Something that failed without changing how the logout ended.
#[derive(Error)]
#[error("{effect} failed: {error}")]
pub struct Warning {
    /// What failed.
    pub effect: Effect,
    /// Why it failed.
    pub error: StepError,
}

/// A logout that did not complete.
#[derive(Error)]
#[non_exhaustive]
#[error("{}{kind}{}", match .kind.severity() {
    Severity::Recoverable => "not logged out: ",
    Severity::Unrecoverable => "logged out, but ",
}, listed(.warnings))]
pub struct LogoutError {
    /// Why.
    pub kind: LogoutErrorKind,
    /// What else failed.
    pub warnings: Vec<Warning>,
}

/// Why a logout did not complete. [`severity`](Self::severity) says on which side of the point of no
/// return.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogoutErrorKind {
    /// Another run has not ended. This one has done nothing.
    #[error("another logout is running; wait for its end")]
    AlreadyRunning,
    /// A cancel was accepted, or the server says that it came in time.
    #[error("it was cancelled")]
    Cancelled,
    /// There is nothing to log out.
    #[error("there is no session to log out: {0}")]
    NotReady(StepError),
    /// The sync service did not stop.
    #[error("the sync service could not be stopped: {0}; try again")]
    SyncNotStopped(StepError),
    /// The intent to log out could not be recorded, so nothing was requested.
    #[error("the intent to log out could not be recorded, and nothing was requested: {0}")]
    IntentNotRecorded(StepError),
    /// The request has not left.
    #[error("the server was not reached: {0}; try again")]
    NotSent(Failure),
    /// The request failed, and the server says that the session is alive.
    #[error("the server did not log the session out: {0}; try again")]
    NotDone(StepError),
    /// The request failed, and the server does not say whether the session is alive. The intent stays
    /// recorded: another run or the next start asks again.
    #[error(
        "it is not known whether the server has: the logout request failed ({request}), and so did the question whether it was done ({question}); try again, or the next start will ask"
    )]
    InDoubt {
        /// What happened to the request.
        request: StepError,
        /// What happened to the question.
        question: StepError,
    },
    /// Logged out, but there is no runtime for the next login, so the application cannot go on.
    #[error("no runtime could be started for the next login: {0}; try again, or restart the app")]
    RuntimeNotRestarted(StepError),
}

sundown_core::debug_as_text!(StepError, Warning, LogoutError { kind, warnings });

impl LogoutErrorKind {
    /// On which side of the point of no return the logout failed. Before it, the session goes on as far
    /// as is known, and its sync service runs again, unless a warning says otherwise.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::RuntimeNotRestarted(_) => Severity::Unrecoverable,
            Self::AlreadyRunning
            | Self::Cancelled
            | Self::NotReady(_)
            | Self::SyncNotStopped(_)
            | Self::IntentNotRecorded(_)
            | Self::NotSent(_)
            | Self::NotDone(_)
            | Self::InDoubt { .. } => Severity::Recoverable,
        }
    }
}

/// Lists warnings as `; warning: closing the tabs failed: no answer within 5s`.
pub(crate) fn listed(warnings: &[Warning]) -> impl fmt::Display {
    struct Listed<'a>(&'a [Warning]);
    impl fmt::Display for Listed<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|warning| write!(f, "; warning: {warning}"))
        }
    }
    Listed(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        application::{AccessToken, RequestError},
        recovery::RecoveryError,
    };

    fn late() -> StepError {
        StepError::TimedOut { limit: Duration::from_secs(5) }
    }

    fn reads_well(error: impl std::error::Error) {
        assert_eq!(format!("{error:?}"), error.to_string());
    }

    /// `fn main() -> Result<(), Box<dyn Error>>` prints an error by `{:?}`.
    #[test]
    fn the_debug_of_each_error_is_its_text() {
        reads_well(StepError::Failed("refused".into()));
        reads_well(late());
        let warning = || Warning { effect: Effect::CloseTabs, error: late() };
        reads_well(warning());
        let kind = LogoutErrorKind::InDoubt { request: late(), question: StepError::Abandoned };
        reads_well(LogoutError { kind, warnings: vec![warning(), warning()] });
        reads_well(RequestError::NotSent("refused".into()));
        reads_well(RequestError::InDoubt("status 500".into()));
        reads_well(RecoveryError::IntentNotCleared { settled: AccessToken::Valid, error: late() });
    }
}
