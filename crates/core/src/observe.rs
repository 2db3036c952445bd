//! What a shutdown reports to the outside: `tracing` events and `metrics` counters, each behind a
//! feature of that name. The target of an event is `sundown`, the crate that users know.
//!
//! Subscribers and recorders are foreign code. Call these functions without a lock, and after the act
//! that they report: a subscriber may block or call back. Its panic is caught, after the panic hook has
//! reported it.

#[cfg(feature = "metrics")]
mod metered;

use std::{panic::Location, time::Duration};

#[cfg(any(feature = "tracing", feature = "metrics"))]
use crate::panics;

/// How a shutdown ended, as the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything ended by itself.
    Graceful,
    /// Something was aborted.
    Aborted,
    /// Something panicked.
    Panicked,
    /// A task returned an error.
    Failed,
    /// Something still runs.
    TimedOut,
    /// The runtime's thread was gone and could not be told.
    Lost,
    /// Everything seems to have ended, but the evidence does not confirm it.
    Unconfirmed,
}

impl Outcome {
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    const fn word(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Aborted => "aborted",
            Self::Panicked => "panicked",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// Reports the end of a shutdown.
#[cfg_attr(
    not(any(feature = "tracing", feature = "metrics")),
    allow(unused_variables, reason = "nothing is reported")
)]
pub(crate) fn shutdown(component: &str, outcome: Outcome, elapsed: Duration) {
    #[cfg(feature = "tracing")]
    contain(|| {
        if outcome == Outcome::Graceful {
            tracing::debug!(target: "sundown", component, ?elapsed, outcome = outcome.word(), "shut down");
        } else {
            tracing::warn!(target: "sundown", component, ?elapsed, outcome = outcome.word(), "shut down");
        }
    });
    #[cfg(feature = "metrics")]
    contain(|| metered::shutdown(component, outcome, elapsed));
}

/// Warns that a task of a group returned an error, when it does: the report may be months away.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nothing is reported"))]
pub(crate) fn task_failed(task: &str, spawned_at: &Location<'_>, error: &dyn std::error::Error) {
    #[cfg(feature = "tracing")]
    contain(|| tracing::warn!(target: "sundown", task, %spawned_at, %error, "a task has failed"));
}

/// Runs foreign code, and drops its panic.
#[cfg(any(feature = "tracing", feature = "metrics"))]
fn contain(report: impl FnOnce()) {
    drop(panics::catch(report));
}

/// Warns that the last owner was dropped without a shutdown.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nothing is reported"))]
pub(crate) fn dropped_without_shutdown(component: &str, spawned_at: &Location<'_>, at_work: usize) {
    #[cfg(feature = "tracing")]
    contain(|| {
        tracing::warn!(
            target: "sundown",
            component,
            %spawned_at,
            at_work,
            "dropped without a shutdown, aborting; call shutdown() or drain() first"
        );
    });
}

/// Warns that the last owner of a session was dropped before a close confirmed its end.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nothing is reported"))]
pub(crate) fn dropped_unclosed(component: &str, made_at: &Location<'_>, values: usize) {
    #[cfg(feature = "tracing")]
    contain(|| {
        tracing::warn!(
            target: "sundown",
            component,
            %made_at,
            values,
            "dropped before a close() has confirmed its end; its values are torn down, and nobody waits for that"
        );
    });
}
