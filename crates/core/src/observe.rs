//! What a shutdown tells the outside: `tracing` events and `metrics` counters, each behind a feature
//! of that name.

#[cfg(feature = "metrics")]
use std::sync::Arc;
use std::{panic::Location, time::Duration};

/// How a shutdown came out, as the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything came to its end by itself.
    Graceful,
    /// Something had to be dropped.
    Aborted,
    /// Something panicked.
    Panicked,
    /// Something still runs.
    TimedOut,
    /// Nobody was there to be told.
    Lost,
    /// By all it says itself it has ended, and the evidence does not confirm it.
    Unconfirmed,
}

impl Outcome {
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    const fn word(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Aborted => "aborted",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// A shutdown ended.
#[cfg_attr(
    not(any(feature = "tracing", feature = "metrics")),
    allow(unused_variables, reason = "nobody is told")
)]
pub(crate) fn shutdown(component: &str, outcome: Outcome, elapsed: Duration) {
    #[cfg(feature = "tracing")]
    if outcome == Outcome::Graceful {
        tracing::debug!(component, ?elapsed, outcome = outcome.word(), "shut down");
    } else {
        tracing::warn!(component, ?elapsed, outcome = outcome.word(), "shut down");
    }
    #[cfg(feature = "metrics")]
    {
        use metrics::Label;
        // One text for both: a group of one ends in less time than it takes to make a few more.
        let component = Label::new("component", Arc::<str>::from(component));
        let outcome = Label::from_static_parts("outcome", outcome.word());
        let labels = vec![component.clone(), outcome];
        metrics::counter!("sundown_shutdown_total", labels).increment(1);
        metrics::histogram!("sundown_shutdown_seconds", vec![component])
            .record(elapsed.as_secs_f64());
    }
}

/// The last owner went away without a shutdown, and what it owned is dropped.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nobody is told"))]
pub(crate) fn dropped_without_shutdown(component: &str, spawned_at: &Location<'_>, at_work: usize) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        component,
        %spawned_at,
        at_work,
        "dropped without a shutdown: aborting; call shutdown() or drain() before"
    );
}

/// The last owner of a session went away, and nobody knows of it that it has closed.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nobody is told"))]
pub(crate) fn dropped_unclosed(component: &str, made_at: &Location<'_>, values: usize) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        component,
        %made_at,
        values,
        "dropped without being closed: its values are torn down, and nobody waits for that; call close() before"
    );
}
