//! Reports the end of each logout: a `tracing` event and `metrics`, each behind a feature of that
//! name, in the same form as every shutdown of the kit.

use std::time::Duration;

/// The outcome of a logout that completed without a warning.
pub(crate) const GRACEFUL: &str = "graceful";

/// Reports that a run of the driver ended. The outcome is the label of a counter, and the message is
/// for a person.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "used by an event only"))]
pub(crate) fn logout(outcome: &'static str, elapsed: Duration, message: &str) {
    #[cfg(feature = "tracing")]
    if outcome == GRACEFUL {
        tracing::debug!(target: "sundown", component = "logout", ?elapsed, outcome, "{message}");
    } else {
        tracing::warn!(target: "sundown", component = "logout", ?elapsed, outcome, "{message}");
    }
    #[cfg(feature = "metrics")]
    {
        use metrics::Label;
        let component = Label::from_static_parts("component", "logout");
        let outcome = Label::from_static_parts("outcome", outcome);
        metrics::counter!("sundown_shutdown_total", vec![component.clone(), outcome]).increment(1);
        metrics::histogram!("sundown_shutdown_seconds", vec![component])
            .record(elapsed.as_secs_f64());
    }
}
