//! What a logout tells the outside when it has ended: a `tracing` event and `metrics`, each behind a
//! feature of that name, in the words in which the kit tells of every shutdown.

use std::time::Duration;

/// What a logout is called there.
#[cfg(any(feature = "tracing", feature = "metrics"))]
const COMPONENT: &str = "logout";

/// How a run of the driver came out, as the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It completed, and nothing failed on the way.
    Graceful,
    /// It completed, and something is left.
    Partial,
    /// It failed before the point of no return.
    Recoverable,
    /// It failed after it.
    Unrecoverable,
    /// It was dropped half-way.
    GivenUp,
}

impl Outcome {
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    const fn word(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Partial => "partial",
            Self::Recoverable => "recoverable",
            Self::Unrecoverable => "unrecoverable",
            Self::GivenUp => "given_up",
        }
    }
}

/// A run of the driver ended, as this message tells a person.
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
