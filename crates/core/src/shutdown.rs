//! What every shutdown returns, and the trait of everything that can be shut down.

use std::{
    error::Error,
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

pub use crate::crew::Panicked;
use crate::{
    crew::{Crew, Told},
    limit::within,
    registry::Label,
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

/// How much is alive, by count: of a runtime also what was not spawned through the kit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// How many tasks, named or not; at least. Of a runtime that is being dropped, those that are not
    /// known by name count as long as Tokio has not told them: one that does not yield then is seen by
    /// its thread.
    pub tasks: usize,
    /// The threads that an end waits for, by name; of a task or a group there are none.
    pub threads: Vec<String>,
}

/// `2 tasks, thread matrix-blocking-0`.
impl fmt::Display for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, threads } = self;
        write!(f, "{tasks} {}", if *tasks == 1 { "task" } else { "tasks" })?;
        match &threads[..] {
            [] => Ok(()),
            [thread] => write!(f, ", thread {thread}"),
            threads => write!(f, ", threads {}", list(threads)),
        }
    }
}

/// Why the signal to shut down could not be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalLoss {
    /// This is a forked child, and has none of the threads.
    #[error(
        "its threads are those of process {owner}, which this one was forked from; that process is to shut it down, and this one needs a runtime of its own"
    )]
    Forked {
        /// The process that has the threads.
        owner: u32,
    },
    /// The thread that should have heard it was ended by somebody else.
    #[error(
        "its thread was ended from outside, and what ran on it was neither finished nor dropped; do not rely on it, and start a new one"
    )]
    ThreadEnded,
}

/// A shutdown that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says whether anything had to be aborted"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// What was shut down.
    pub component: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many members had to be dropped before they completed: because the limit passed, or
    /// because their runtime had gone. What was spawned on the Tokio handle of a runtime is no member:
    /// it is not asked, not counted here, and dropped with the runtime.
    pub aborted: usize,
}

impl ShutdownReport {
    /// A report of a component that ended by itself. For your own [`GracefulShutdown`].
    pub fn new(component: impl Into<String>, elapsed: Duration) -> Self {
        Self { component: component.into(), elapsed, aborted: 0 }
    }
}

/// A shutdown that did not end in time, or that found something wrong. [`kind`](Self::kind) says
/// which; the other fields say what it was about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShutdownError {
    /// What was to be shut down.
    pub component: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// What had not ended, by name: when the call gave up, or when the runtime's thread panicked.
    pub still_running: Box<[StillRunning]>,
    /// How much had not ended, in all.
    pub alive: Alive,
    /// What went wrong.
    pub kind: ShutdownErrorKind,
}

/// What went wrong with a shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ShutdownErrorKind {
    /// The limit passed, and an abort did not help in time: as a rule something does not yield to
    /// its runtime. Call again to keep waiting.
    TimedOut,
    /// Everything has ended, and these panicked.
    Panicked(Box<[Panicked]>),
    /// The caller runs on what it wants to shut down, and would wait for its own end. The component
    /// has been told to stop.
    FromInside,
    /// The thread of a runtime panicked, with this message. The runtime was dropped after that, and
    /// everything on it.
    ThreadPanicked(Box<str>),
    /// Nothing was there to be told to stop.
    SignalLost(SignalLoss),
    /// The component failed with an error of its own.
    Failed(Arc<dyn Error + Send + Sync>),
}

impl ShutdownError {
    pub(crate) fn new(
        component: impl Into<String>,
        elapsed: Duration,
        kind: ShutdownErrorKind,
    ) -> Self {
        let (still_running, alive) = (Box::default(), Alive::default());
        Self { component: component.into(), elapsed, still_running, alive, kind }
    }

    /// An error of a component's own. For your own [`GracefulShutdown`].
    pub fn failed(
        component: impl Into<String>,
        elapsed: Duration,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(component, elapsed, ShutdownErrorKind::Failed(Arc::from(error.into())))
    }

    /// With what has not ended.
    pub(crate) fn with_running(self, running: Vec<Label>, alive: Alive) -> Self {
        let still_running = running.into_iter().map(StillRunning::from).collect();
        Self { still_running, alive, ..self }
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, elapsed, still_running, alive, kind } = self;
        let named = named(still_running);
        match kind {
            ShutdownErrorKind::TimedOut => write!(
                f,
                "{component} has not ended after {elapsed:.1?}: {alive} still running{named}; \
                 something there does not yield, its runtime is blocked, or the limit was too \
                 short for an abort"
            ),
            ShutdownErrorKind::Panicked(panicked) => {
                write!(f, "{component} has ended, and {}", list(panicked))
            }
            ShutdownErrorKind::FromInside => write!(
                f,
                "{component} cannot wait for its own end; return from it, or shut it down from \
                 outside"
            ),
            ShutdownErrorKind::ThreadPanicked(message) => write!(
                f,
                "the thread of {component} panicked: {message}; dropped with it: {alive}{named}"
            ),
            ShutdownErrorKind::SignalLost(cause) => {
                write!(f, "{component} cannot be told to stop: {cause}")
            }
            ShutdownErrorKind::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for ShutdownError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            // Its text is this error's text.
            ShutdownErrorKind::Failed(error) => error.source(),
            _ => None,
        }
    }
}

/// Those who are known by name, after what is known by count.
fn named(still_running: &[StillRunning]) -> String {
    if still_running.is_empty() { String::new() } else { format!(": {}", list(still_running)) }
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
pub(crate) fn for_abort(limit: Duration) -> Duration {
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
