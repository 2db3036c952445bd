//! What every shutdown returns, and the trait of everything that can be shut down.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    time::{Duration, Instant},
};

use thiserror::Error;

pub use crate::crew::Panicked;
use crate::{
    crew::{Crew, Told},
    registry::Label,
    session::CloseError,
    timer::within,
};

/// Somebody that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillRunning {
    /// Its name.
    pub name: String,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
}

/// `worker (spawned at src/main.rs:3:5)`.
impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (spawned at {})", self.name, self.spawned_at)
    }
}

impl From<Label> for StillRunning {
    fn from(Label { name, spawned_at }: Label) -> Self {
        Self { name: name.into_owned(), spawned_at }
    }
}

/// A shutdown that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// What was shut down.
    pub component: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many members had to be dropped before they completed: because the limit passed, or
    /// because their runtime had gone.
    pub aborted: usize,
}

/// A shutdown that did not come to its end, or that found something gone wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The limit passed, and an abort did not help in time: something does not yield to its
    /// runtime, as a rule. Shutting it down again waits on.
    #[error(
        "{component} has not ended after {elapsed:.1?}: {} still running; something there does not yield, its runtime is blocked, or the limit was too short for an abort",
        list(still_running)
    )]
    TimedOut {
        /// What was to be shut down.
        component: String,
        /// How long it was waited for.
        elapsed: Duration,
        /// Who still runs.
        still_running: Vec<StillRunning>,
    },
    /// Everything has ended, some of it by a panic.
    #[error("{component} has ended, and {}", list(panicked))]
    Panicked {
        /// What was shut down.
        component: String,
        /// Who panicked, and what the panic said.
        panicked: Vec<Panicked>,
    },
    /// The task that is to be shut down asked for it itself, and would wait for its own end.
    #[error(
        "{component} cannot wait for its own end; return from it, or shut it down from outside"
    )]
    FromInside {
        /// What was to be shut down. It has been told to stop.
        component: String,
    },
    /// A session has not closed, or not well.
    #[error(transparent)]
    Session(#[from] Box<CloseError>),
}

pub(crate) fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A future in a box, as a trait that is used by reference returns one.
pub type ShutdownFuture<'a> =
    Pin<Box<dyn Future<Output = Result<ShutdownReport, ShutdownError>> + Send + 'a>>;

/// Something that can be shut down: it is told to stop, given time, and dropped after that.
pub trait GracefulShutdown: Sync {
    /// Tells it to stop, and waits until it has ended, for at most so long. The last tenth of the
    /// limit, and of a short one up to a half, is left for an abort to take effect. May be called
    /// again, and at the same time: every caller waits for the real end. A future that is dropped
    /// half-way loses nothing.
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_>;
}

/// Shuts a list of things down, one after another, within a limit for all together. One that fails
/// does not keep the others from being shut down. Where the limit has passed, what is left is
/// dropped without being waited for.
///
/// Returns what each came to, in order.
pub async fn shutdown_in_order<'a>(
    components: impl IntoIterator<Item = &'a dyn GracefulShutdown>,
    limit: Duration,
) -> Vec<Result<ShutdownReport, ShutdownError>> {
    let began = Instant::now();
    let mut results = Vec::new();
    for component in components {
        let left = limit.saturating_sub(began.elapsed());
        results.push(component.shutdown_within(left).await);
    }
    results
}

/// The least that is left of a limit for an abort to take effect, unless that were more than half
/// of it: a busy machine may take that long to look at a task again.
const LEAST_FOR_ABORT: Duration = Duration::from_millis(100);

/// How much of a limit is left for an abort to take effect: the last tenth, and of a short limit up
/// to a half.
fn for_abort(limit: Duration) -> Duration {
    if limit == Duration::MAX {
        return Duration::ZERO;
    }
    (limit / 10).max(LEAST_FOR_ABORT.min(limit / 2))
}

/// Tells a crew to stop, and to abort when it has not ended by the [last part](for_abort) of the
/// limit. Whatever happens, this returns at the limit.
pub(crate) async fn stop_then_abort(crew: &Crew, limit: Duration) {
    crew.tell(Told::Stop);
    let for_abort = for_abort(limit);
    if within(limit - for_abort, crew.closed().wait()).await.is_none() {
        crew.tell(Told::Abort);
        within(for_abort, crew.closed().wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_has_a_tenth_of_a_long_limit_and_half_of_a_short_one() {
        for (limit, expected) in [(0, 0), (20, 10), (100, 50), (500, 100), (5000, 500)] {
            let share = for_abort(Duration::from_millis(limit));
            assert_eq!(share, Duration::from_millis(expected), "of {limit} ms");
        }
        assert_eq!(for_abort(Duration::MAX), Duration::ZERO);
    }
}
