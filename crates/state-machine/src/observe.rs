//! Reports the end of each logout: a `tracing` event and `metrics`, each behind a feature of that
//! name, in the same form as every shutdown of the kit.

use std::time::Duration;

/// The name of the component there.
#[cfg(any(feature = "tracing", feature = "metrics"))]
const COMPONENT: &str = "logout";

/// How a run of the driver ended, as the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It completed without a warning.
    Graceful,
    /// It completed with warnings.
    Partial,
    /// It failed before the point of no return.
    Recoverable,
    /// It failed after the point of no return.
    Unrecoverable,
    /// Its future was dropped.
    Dropped,
}

impl Outcome {
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    const fn word(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Partial => "partial",
            Self::Recoverable => "recoverable",
            Self::Unrecoverable => "unrecoverable",
            Self::Dropped => "dropped",
        }
    }
}

/// Reports that a run of the driver ended. The message is for a person.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "only an event has words"))]
pub(crate) fn logout(outcome: Outcome, elapsed: Duration, message: &str) {
    #[cfg(feature = "tracing")]
    {
        let (component, word) = (COMPONENT, outcome.word());
        if outcome == Outcome::Graceful {
            tracing::debug!(component, ?elapsed, outcome = word, "{message}");
        } else {
            tracing::warn!(component, ?elapsed, outcome = word, "{message}");
        }
    }
    #[cfg(feature = "metrics")]
    {
        use metrics::Label;
        let component = Label::from_static_parts("component", COMPONENT);
        let outcome = Label::from_static_parts("outcome", outcome.word());
        metrics::counter!("sundown_shutdown_total", vec![component.clone(), outcome]).increment(1);
        metrics::histogram!("sundown_shutdown_seconds", vec![component])
            .record(elapsed.as_secs_f64());
    }
}
