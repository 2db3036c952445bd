//! Drop a value where its destructor can run, and return when everything it started has ended.
//!
//! Some destructors need a Tokio runtime. The destructor of a pooled SQLite connection posts its
//! closing to the blocking threads of whichever runtime the dropping thread has entered, and panics if
//! there is none (experiment 01). With two idle connections the process aborts (experiment 06). The
//! usual cures enter a context around the drop. That aborts while a thread's locals are being destroyed
//! (experiment 07), and does not say when the connections will be closed.
//!
//! [`teardown`](teardown()) drops the value on a thread that has the context of a small runtime made
//! for it, and returns when that runtime has nothing left to do. The runtime that the value was made on
//! may be alive, shut down, or never have existed. The call works on a plain thread, in async code of any
//! runtime, inside `block_on`, on a blocking thread, and while the calling thread's locals are being
//! destroyed.
//!
//! It covers what the destructor started *through the context*: tasks and what they spawn, blocking
//! closures and what they post, timers and sockets of these. It does not see a plain thread that a
//! destructor starts by itself, a task on another runtime, or a value that is not dropped because
//! somebody else holds a clone. For those there are [`evidence`](crate::evidence) and a
//! [session](crate::session) with a runtime of its own.

mod drive;
mod quiet;
pub(crate) mod reaper;

use std::{
    any::type_name,
    fmt,
    future::Future,
    io,
    pin::pin,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    blocking,
    limit::within,
    observe::{self, Outcome},
};
use reaper::Reaper;

/// A teardown that came to its end: nothing of it runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TeardownReport {
    /// From the call to the end, as the caller saw it.
    pub elapsed: Duration,
    /// How much of that went into starting the threads.
    pub starting: Duration,
    /// How long the destructor ran.
    pub destructor: Duration,
    /// The rest: waiting for what the destructor started, and for threads to take turns.
    pub ending: Duration,
}

/// What has been handed over to be torn down and has not come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many values wait for their destructor to begin.
    pub waiting: usize,
    /// Whether a destructor has not returned.
    pub destructor_running: bool,
    /// How many tasks that destructors started are alive.
    pub tasks: usize,
    /// Whether blocking closures that destructors started are running or queued. Stable Tokio does not
    /// expose how many.
    pub closing: bool,
}

/// `a destructor has not returned, 3 values waiting to be dropped`.
impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, destructor_running, tasks, closing } = *self;
        let mut parts = Vec::new();
        if destructor_running {
            parts.push("a destructor has not returned".to_owned());
        }
        if waiting > 0 {
            parts.push(format!("{waiting} values waiting to be dropped"));
        }
        if tasks > 0 {
            parts.push(format!("{tasks} tasks started by destructors are alive"));
        }
        if closing {
            parts.push("blocking work started by destructors is not done".to_owned());
        }
        if parts.is_empty() {
            parts.push("it was about to end".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

/// A teardown that did not come to its end, or not to a good one.
#[derive(Error)]
#[non_exhaustive]
pub enum TeardownError<T> {
    /// The limit passed first. What is left continues on threads of its own, and ends when it can.
    #[error(
        "the teardown of `{}` has not ended after {elapsed:.1?}: {unfinished}; what is left continues in the background",
        type_name::<T>()
    )]
    TimedOut {
        /// How long this call waited.
        elapsed: Duration,
        /// What has not ended.
        unfinished: Unfinished,
    },
    /// The destructor panicked, and everything that it had started by then has ended. (If a second
    /// panic occurs in one drop, the process aborts. The language does that, and nothing can catch it.)
    #[error("the destructor of `{}` panicked: {message}", type_name::<T>())]
    DestructorPanicked {
        /// The message of the panic.
        message: String,
        /// How the teardown went otherwise.
        report: TeardownReport,
    },
    /// The system gave no thread or no descriptor for it. The value is handed back: drop it where its
    /// destructor can run, forget it, or try again.
    #[error("cannot tear down `{}`: {source}; the value is handed back", type_name::<T>())]
    NoThread {
        /// The value, as it was.
        value: T,
        /// What the system answered.
        source: io::Error,
    },
}

/// Without the value, which need not be `Debug`.
impl<T> fmt::Debug for TeardownError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { elapsed, unfinished } => f
                .debug_struct("TimedOut")
                .field("elapsed", elapsed)
                .field("unfinished", unfinished)
                .finish(),
            Self::DestructorPanicked { message, report } => f
                .debug_struct("DestructorPanicked")
                .field("message", message)
                .field("report", report)
                .finish(),
            Self::NoThread { source, .. } => {
                f.debug_struct("NoThread").field("source", source).finish_non_exhaustive()
            }
        }
    }
}

/// Tears a value down: drops it where its destructor can run, and is ready when everything that the
/// destructor started has ended, or at the limit. Works in async code of any executor.
///
/// The call itself hands the value over, not the first poll: if the future is dropped, only the answer
/// is lost. The destructor may wait for what it starts. Blocking closures run one after another. A limit
/// of zero hands the value over and looks once; [`Duration::MAX`] means no limit.
///
/// # Errors
///
/// [`TeardownError`]. Unless it is [`NoThread`](TeardownError::NoThread), the value is gone or going.
pub fn teardown<T: Send + 'static>(
    value: T,
    limit: Duration,
) -> impl Future<Output = Result<TeardownReport, TeardownError<T>>> + Send {
    let teardown = Teardown::begin(value);
    async move {
        let teardown = teardown?;
        let ended = within(limit, teardown.reaper.settled()).await.is_some();
        teardown.result(ended)
    }
}

/// Same as [`teardown`](teardown()), on a plain thread. In async code this blocks the worker that it is
/// called on.
///
/// ```
/// use std::time::Duration;
/// use sundown::teardown::teardown_blocking;
///
/// /// Does what the wrapper of a pooled connection does.
/// struct Connection;
///
/// impl Drop for Connection {
///     fn drop(&mut self) {
///         tokio::task::spawn_blocking(|| println!("closed"));
///     }
/// }
///
/// // There is no runtime here: `drop(Connection)` would panic.
/// teardown_blocking(Connection, Duration::from_secs(5))?;
/// # Ok::<(), sundown::teardown::TeardownError<Connection>>(())
/// ```
pub fn teardown_blocking<T: Send + 'static>(
    value: T,
    limit: Duration,
) -> Result<TeardownReport, TeardownError<T>> {
    let teardown = Teardown::begin(value)?;
    let ended = blocking::wait(pin!(teardown.reaper.settled()), limit).is_some();
    teardown.result(ended)
}

/// A teardown that has begun.
struct Teardown {
    reaper: Reaper,
    began: Instant,
    starting: Duration,
}

impl Teardown {
    fn begin<T: Send + 'static>(value: T) -> Result<Self, TeardownError<T>> {
        let began = Instant::now();
        let reaper = match Reaper::start() {
            Ok(reaper) => reaper,
            Err(source) => return Err(TeardownError::NoThread { value, source }),
        };
        let starting = began.elapsed();
        reaper.take(Box::new(value));
        Ok(Self { reaper, began, starting })
    }

    fn result<T>(&self, ended: bool) -> Result<TeardownReport, TeardownError<T>> {
        let (elapsed, starting) = (self.began.elapsed(), self.starting);
        let observe = |outcome| observe::shutdown(type_name::<T>(), outcome, elapsed);
        if !ended {
            observe(Outcome::TimedOut);
            let unfinished = self.reaper.unfinished();
            return Err(TeardownError::TimedOut { elapsed, unfinished });
        }
        let destructor = self.reaper.destructors();
        let ending = elapsed.saturating_sub(starting).saturating_sub(destructor);
        let report = TeardownReport { elapsed, starting, destructor, ending };
        match self.reaper.panics().pop() {
            None => {
                observe(Outcome::Graceful);
                Ok(report)
            }
            Some(message) => {
                observe(Outcome::Panicked);
                Err(TeardownError::DestructorPanicked { message, report })
            }
        }
    }
}
