//! How a service has ended.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::{
    runtime::StartError,
    shutdown::{ShutdownError, ShutdownReport, list, not_covered::not_covered},
    signals::SignalError,
};

/// Why a service was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskedBy {
    /// A signal with this number.
    Signal(i32),
    /// A call of [`Service::stop`](super::Service::stop).
    Stop,
    /// Its work has returned.
    Work,
    /// Its group of tasks was stopped: by [stop on failure](super::Builder::stop_on_failure), or by a call
    /// of [`TaskGroup::stop`](crate::TaskGroup::stop).
    Tasks,
}

impl fmt::Display for AskedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal_hook::consts::SIGINT) => f.write_str("SIGINT"),
            Self::Signal(signal_hook::consts::SIGTERM) => f.write_str("SIGTERM"),
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Stop => f.write_str("`stop`"),
            Self::Tasks => f.write_str("a task that failed, or a stop of its tasks"),
            Self::Work => f.write_str("the end of its work"),
        }
    }
}

/// The report of a service that has ended: all of its tasks, and all threads of its runtime.
#[derive(Clone, Debug)]
#[must_use = "it says what had to be cut off"]
#[non_exhaustive]
pub struct ServiceReport {
    /// The service.
    pub name: String,
    /// Why it was asked to stop.
    pub asked_by: AskedBy,
    /// The first signal that came, whatever the service was asked by. A program that goes on after the service
    /// should end if there is one.
    pub signal: Option<i32>,
    /// How long it took from then on.
    pub elapsed: Duration,
    /// How the service's tasks ended, then its groups, in that order, and last its runtime.
    pub ended: Vec<ShutdownReport>,
}

impl ServiceReport {
    /// Whether everything ended by itself, and no panic was seen.
    #[must_use]
    pub fn is_graceful(&self) -> bool {
        self.ended.iter().all(ShutdownReport::is_graceful)
    }
}

/// ``service `web`, asked by SIGTERM, has ended after 12.0ms: `web`: 1 task aborted: `listener` …``.
impl fmt::Display for ServiceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, asked_by, elapsed, ended, .. } = self;
        write!(f, "service `{name}`, asked by {asked_by}, has ended after {elapsed:.1?}")?;
        let cut_short: Vec<_> = ended.iter().filter_map(cut_short).collect();
        if !cut_short.is_empty() {
            write!(f, ": {}", cut_short.join("; "))?;
        }
        // Its tasks are on the runtime, which leaves less unsaid than they do.
        ended.last().map_or(Ok(()), |runtime| f.write_str(&not_covered(&runtime.not_covered)))
    }
}

/// Why a service has failed.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServiceError {
    /// The service.
    pub name: String,
    /// What went wrong.
    pub kind: ServiceErrorKind,
}

/// What went wrong with a service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceErrorKind {
    /// Its runtime was not started.
    NotStarted(Arc<StartError>),
    /// Signals could not be watched. Nothing is left running, and the work was not begun.
    NoSignals(Arc<SignalError>),
    /// It ran, and its work failed, something panicked, or something has not ended within the limit.
    Ended {
        /// Why it was asked to stop.
        asked_by: AskedBy,
        /// The first signal that came, whatever the service was asked by.
        signal: Option<i32>,
        /// How long it took from then on.
        elapsed: Duration,
        /// The error that the work returned.
        failure: Option<Arc<dyn Error + Send + Sync>>,
        /// How everything ended, as in a [`ServiceReport`].
        ended: Vec<Result<ShutdownReport, ShutdownError>>,
    },
}

crate::debug_as_text!(ServiceError { name, kind });

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind } = self;
        match kind {
            ServiceErrorKind::NotStarted(error) => write!(f, "service `{name}`: {error}"),
            ServiceErrorKind::NoSignals(error) => write!(f, "service `{name}`: {error}"),
            ServiceErrorKind::Ended { asked_by, elapsed, failure, ended, .. } => {
                write!(f, "service `{name}`, asked by {asked_by}, ")?;
                let said = ended.iter().enumerate().filter_map(|(at, it)| match it {
                    Ok(report) => cut_short(report),
                    Err(error) if at + 1 == ended.len() => Some(format!("its runtime: {error}")),
                    Err(error) => Some(error.to_string()),
                });
                let said: Vec<_> = said.collect();
                match failure {
                    Some(error) if said.is_empty() => write!(f, "has failed: {error}"),
                    Some(error) => {
                        write!(f, "has failed: {error}; after {elapsed:.1?}: {}", said.join("; "))
                    }
                    None => write!(f, "after {elapsed:.1?}: {}", said.join("; ")),
                }
            }
        }
    }
}

impl Error for ServiceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ServiceErrorKind::Ended { failure: Some(failure), .. } => failure.source(),
            _ => None,
        }
    }
}

/// What did not end by itself, if anything.
fn cut_short(report: &ShutdownReport) -> Option<String> {
    let said = report.cut_short();
    (!said.is_empty()).then(|| format!("`{}`: {}", report.component, list(&said)))
}

/// The result of a service that ran.
pub(super) fn conclude(
    name: String,
    asked_by: AskedBy,
    signal: Option<i32>,
    elapsed: Duration,
    failure: Option<Arc<dyn Error + Send + Sync>>,
    ended: Vec<Result<ShutdownReport, ShutdownError>>,
) -> Result<ServiceReport, ServiceError> {
    if failure.is_some() || ended.iter().any(Result::is_err) {
        let kind = ServiceErrorKind::Ended { asked_by, signal, elapsed, failure, ended };
        return Err(ServiceError { name, kind });
    }
    let ended = ended.into_iter().filter_map(Result::ok).collect();
    Ok(ServiceReport { name, asked_by, signal, elapsed, ended })
}
