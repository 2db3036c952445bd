//! What every shutdown returns, and the trait of everything that can be shut down.

mod awaits;
pub(crate) mod not_covered;
pub(crate) mod report;

use std::{
    error::Error,
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(not(loom))]
use crate::callers::Patience;

pub use awaits::Awaits;
pub use not_covered::NotCovered;
pub use report::{CutOff, ForeignPanic, ShutdownReport};

/// A task or a child group that had not ended when its time was up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillRunning {
    /// Its name.
    pub name: String,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Where it waited, if it was aborted because it did not end in time, and `stuck::note_awaits` is on.
    pub awaits: Option<Awaits>,
}

/// `` `worker` (spawned at src/main.rs:3:5) ``.
impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, spawned_at, awaits } = self;
        write!(f, "`{name}` (spawned at {spawned_at})")?;
        awaits.iter().try_for_each(|awaits| write!(f, ", which {awaits}"))
    }
}

/// A task that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// Its name.
    pub name: String,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The message of the panic.
    pub message: String,
    /// What it came to before it panicked, if that was when its time was up, and `stuck::note_awaits` is on.
    pub awaits: Option<Awaits>,
}

/// `` `worker` (spawned at src/main.rs:3:5) panicked: index out of bounds ``.
impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, spawned_at, message, awaits } = self;
        write!(f, "`{name}` (spawned at {spawned_at}) panicked: {message}")?;
        match awaits.as_ref().map(Awaits::places) {
            Some(places @ [_, ..]) => {
                write!(f, " (its last poll came to {})", places.join(" and to "))
            }
            _ => Ok(()),
        }
    }
}

/// A task of a group that returned an error.
#[derive(Clone, Debug)]
pub struct MemberFailed {
    /// Its name.
    pub name: String,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The error that it returned.
    pub error: Arc<dyn Error + Send + Sync>,
}

/// `` `listener` (spawned at src/main.rs:3:5) failed: address already in use ``.
impl fmt::Display for MemberFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, spawned_at, error } = self;
        write!(f, "`{name}` (spawned at {spawned_at}) failed: {error}")
    }
}

impl Error for MemberFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// The same failure, and not one that says the same.
impl PartialEq for MemberFailed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.error, &other.error)
    }
}

impl Eq for MemberFailed {}

/// How many tasks and which threads have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// How many tasks, at least. For a runtime this includes tasks that were not spawned through the
    /// kit, until Tokio tells them to end; after that, one that does not yield is visible only by its
    /// thread.
    pub tasks: usize,
    /// The threads that have not ended, by name: those of a runtime, and those on which the kit calls
    /// the wakers of other executors.
    pub threads: Vec<String>,
    /// Whether no task of a runtime can be seen any more, and what is left blocks its thread: a closure of
    /// `spawn_blocking`, a read of standard input, a DNS look-up; or a task inside `block_in_place` or in its
    /// destructor, which Tokio does not count any more. Nothing can interrupt that.
    pub blocking_work: bool,
    /// Whether the call left the abort of the tasks to another caller, which has given them more time.
    pub left_to_another: bool,
}

/// ``2 tasks, thread `matrix-0` ``.
impl fmt::Display for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, threads, .. } = self;
        let threads: Vec<_> = threads.iter().map(|name| format!("`{name}`")).collect();
        let word = if threads.len() == 1 { "thread" } else { "threads" };
        match (*tasks, &*threads) {
            (tasks, []) => f.write_str(&count(tasks, "task")),
            (0, threads) => write!(f, "{word} {}", few(threads)),
            (tasks, threads) => write!(f, "{}, {word} {}", count(tasks, "task"), few(threads)),
        }
    }
}

/// Why a runtime could not be signalled to stop.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalLoss {
    /// This is a forked child, which has none of the runtime's threads.
    #[error(
        "its threads are those of process {owner}, which this one was forked from; shut it down there, and start a runtime of this process's own"
    )]
    Forked {
        /// The process that has the threads.
        owner: u32,
    },
    /// Something outside the kit ended the runtime's thread.
    #[error(
        "its thread was ended from outside, and its tasks were neither finished nor dropped; start a new runtime"
    )]
    ThreadEnded,
}

/// Why a shutdown failed: it did not end in time, or something went wrong. [`kind`](Self::kind) says
/// which; the other fields give the context.
#[derive(Clone)]
#[non_exhaustive]
pub struct ShutdownError {
    /// What should have been shut down.
    pub component: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// What had not ended, by name, when the call gave up or the runtime's thread panicked.
    pub still_running: Box<[StillRunning]>,
    /// How many tasks and which threads had not ended.
    pub alive: Box<Alive>,
    /// What went wrong.
    pub kind: ShutdownErrorKind,
    /// What the report would have said, if everything has ended all the same: after
    /// [`Panicked`](ShutdownErrorKind::Panicked) and [`ThreadPanicked`](ShutdownErrorKind::ThreadPanicked)
    /// of a runtime.
    pub report: Option<Box<ShutdownReport>>,
}

crate::debug_as_text!(
    SignalLoss,
    ShutdownError { component, elapsed, still_running, alive, kind, report }
);

/// What went wrong with a shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ShutdownErrorKind {
    /// The limit passed, and the abort took no effect in time. The usual cause is a task that does not
    /// yield to its runtime. Call again to keep waiting.
    TimedOut,
    /// Everything has ended, and these tasks panicked.
    Panicked(Box<[Panicked]>),
    /// The caller runs on the component that it shuts down, and would wait for its own end. The component
    /// has been asked to stop.
    FromInside,
    /// The owner thread of a runtime panicked, with this message. After that the runtime was dropped, with
    /// everything on it.
    ThreadPanicked(Box<str>),
    /// The runtime could not be signalled to stop.
    SignalLost(SignalLoss),
    /// The component failed with an error of its own.
    Failed(Arc<dyn Error + Send + Sync>),
}

impl ShutdownError {
    /// An error for your own [`GracefulShutdown`], with nothing still running.
    pub fn new(component: impl Into<String>, elapsed: Duration, kind: ShutdownErrorKind) -> Self {
        let (still_running, alive) = (Box::default(), Box::default());
        let component = component.into();
        Self { component, elapsed, still_running, alive, kind, report: None }
    }

    /// Adds what has not ended.
    #[must_use]
    pub fn with_running(self, still_running: Vec<StillRunning>, alive: Alive) -> Self {
        Self { still_running: still_running.into(), alive: Box::new(alive), ..self }
    }

    /// Adds the report of what has ended all the same.
    #[must_use]
    pub fn with_report(self, report: ShutdownReport) -> Self {
        Self { report: Some(Box::new(report)), ..self }
    }

    /// Says whether the abort was left to another caller.
    #[cfg(not(loom))]
    pub(crate) fn with_patience(mut self, patience: Patience) -> Self {
        self.alive.left_to_another = patience == Patience::Another;
        self
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, elapsed, still_running, alive, kind, .. } = self;
        let named = match &**still_running {
            [] => String::new(),
            still_running => format!(": {}", few(still_running)),
        };
        match kind {
            ShutdownErrorKind::TimedOut if alive.blocking_work => write!(
                f,
                "`{component}` has not ended after {elapsed:.1?}: {alive} still running; what is left \
                 blocks its thread, and nothing can interrupt it: a closure of `spawn_blocking`, a read \
                 of standard input, a DNS look-up, or a task in `block_in_place` or in its destructor \
                 (`cargo xtask probe` of sundown shows which)"
            ),
            ShutdownErrorKind::TimedOut if alive.left_to_another => write!(
                f,
                "`{component}` has not ended after {elapsed:.1?}: {alive} still running{named}; \
                 another caller has given more time, so this call aborted nothing that the other \
                 waits for"
            ),
            ShutdownErrorKind::TimedOut => write!(
                f,
                "`{component}` has not ended after {elapsed:.1?}: {alive} still running{named}; \
                 something there does not yield, its runtime is blocked, or the limit was too \
                 short for an abort"
            ),
            ShutdownErrorKind::Panicked(panicked) => {
                write!(f, "`{component}` has ended, and {}", few(panicked))
            }
            ShutdownErrorKind::FromInside => write!(
                f,
                "`{component}` cannot wait for its own end; return from it, or shut it down from \
                 outside"
            ),
            ShutdownErrorKind::ThreadPanicked(message) => write!(
                f,
                "the thread of `{component}` panicked: {message}; dropped with it: {alive}{named}"
            ),
            ShutdownErrorKind::SignalLost(cause) => {
                write!(f, "`{component}` cannot be told to stop: {cause}")
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

pub(crate) fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The first few: `a, b, c, d, e and 7 more`. A message is to be read.
pub(crate) fn few(items: &[impl fmt::Display]) -> String {
    const HANDFUL: usize = 5;
    match items.split_at_checked(HANDFUL) {
        Some((first, more @ [_, ..])) => format!("{} and {} more", list(first), more.len()),
        _ => list(items),
    }
}

/// How many, with an `s` unless it is one.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The future of [`GracefulShutdown::shutdown_within`].
pub type ShutdownFuture<'a> =
    Pin<Box<dyn Future<Output = Result<ShutdownReport, ShutdownError>> + Send + 'a>>;

/// A component that can be shut down: it is asked to stop, given time, and then aborted.
pub trait GracefulShutdown: Sync {
    /// Asks the component to stop, and waits until it has ended or the limit has passed.
    ///
    /// The last tenth of the limit, and up to half of a short one, is left for an abort to take effect.
    /// Repeated and concurrent calls are allowed: every caller waits for the real end. Dropping the future
    /// loses nothing: you can call this again.
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_>;
}

/// Shuts a list of components down, one after another, within one limit for all of them.
///
/// If one fails, the others are still shut down. Once the limit has passed, each remaining component is
/// aborted without waiting for it. Returns the result of each, in order.
///
/// ```
/// use std::time::Duration;
/// use sundown::{GracefulShutdown, TaskGroup, shutdown_in_order};
///
/// # futures::executor::block_on(async {
/// let (requests, workers) = (TaskGroup::new("requests"), TaskGroup::new("workers"));
/// let in_order: [&dyn GracefulShutdown; 2] = [&requests, &workers];
/// let results = shutdown_in_order(in_order, Duration::from_secs(5)).await;
/// assert!(results.iter().all(Result::is_ok));
/// # });
/// ```
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
