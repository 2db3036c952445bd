//! Drop a value where its destructor can run, and return when everything it started has ended.
//!
//! Some destructors need a Tokio runtime. That of a pooled SQLite connection posts its closing to
//! the blocking threads of whichever runtime the dropping thread has entered, and panics where
//! there is none (experiment 01); two idle connections and the process aborts (experiment 06). The
//! usual cures enter a context around the drop. That aborts where a thread's locals are being
//! destroyed (experiment 07), and says nothing of when the connections will be closed.
//!
//! [`teardown`] drops the value on a thread that has the context of a small runtime made for the
//! purpose, and returns when that runtime has nothing left to do. The runtime that the value was
//! made on may be alive, shut down, or never have existed. It works from a plain thread, in async
//! code of any runtime, inside `block_on`, on a blocking thread, and while the calling thread's
//! locals are being destroyed.
//!
//! What it covers is what the destructor started *through the context*: tasks and what they spawn,
//! blocking closures and what they post, timers and sockets of these. A plain thread that a
//! destructor starts by itself is not seen, and neither is a task on another runtime, nor a value
//! that is not dropped because somebody else holds a clone. For those there are
//! [`evidence`](crate::evidence) and a session with a runtime of its own.

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
    reaper::{Left, Reaper},
};

/// A teardown that came to its end: nothing of it runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TeardownReport {
    /// From the call to the end, as the caller saw it.
    pub elapsed: Duration,
    /// How much of it went into starting the threads.
    pub starting: Duration,
    /// How long the destructor ran.
    pub destructor: Duration,
    /// The rest: waiting for what the destructor started, and for threads to take turns.
    pub ending: Duration,
}

/// A teardown that did not come to its end, or not to a good one.
#[derive(Error)]
#[non_exhaustive]
pub enum TeardownError<T> {
    /// The limit passed first. What is left goes on, on threads of its own, and ends when it can.
    #[error(
        "the teardown of {} has not ended after {elapsed:.1?}: {}; what is left goes on in the background",
        type_name::<T>(),
        unfinished(*destructor_running, *tasks, *closing)
    )]
    TimedOut {
        /// How long it was waited for.
        elapsed: Duration,
        /// Whether the destructor itself has not returned (or not begun).
        destructor_running: bool,
        /// How many tasks that it started are alive.
        tasks: usize,
        /// Whether blocking closures that it started are running or queued. Their number is not
        /// for stable Tokio to tell.
        closing: bool,
    },
    /// The destructor panicked, once, and everything that it had started by then has ended. (Two
    /// panics in one drop end the process: that is the language's doing, and nobody can catch it.)
    #[error("the destructor of {} panicked: {message}", type_name::<T>())]
    DestructorPanicked {
        /// What the panic said.
        message: String,
        /// How it went otherwise.
        report: TeardownReport,
    },
    /// The system gave no thread or no descriptor to drop the value with. Here it is back: drop it
    /// where its destructor can run, forget it, or try again.
    #[error("cannot tear {} down: {source}; the value is handed back", type_name::<T>())]
    NoThread {
        /// The value, as it was.
        value: T,
        /// What the system answered.
        source: io::Error,
    },
}

fn unfinished(destructor_running: bool, tasks: usize, closing: bool) -> String {
    let mut parts = Vec::new();
    if destructor_running {
        parts.push("its destructor has not returned".to_owned());
    }
    if tasks > 0 {
        parts.push(format!("{tasks} tasks that it started are alive"));
    }
    if closing {
        parts.push("blocking work that it started is not done".to_owned());
    }
    if parts.is_empty() {
        parts.push("it was just about to end".to_owned());
    }
    parts.join(", ")
}

/// Without the value: it need not be `Debug` for the error to be an error.
impl<T> fmt::Debug for TeardownError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { elapsed, destructor_running, tasks, closing } => f
                .debug_struct("TimedOut")
                .field("elapsed", elapsed)
                .field("destructor_running", destructor_running)
                .field("tasks", tasks)
                .field("closing", closing)
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
/// The value is handed over by the call, not by the first poll: a future that is dropped loses the
/// answer, and nothing else. The destructor may wait for what it starts. Blocking closures run one
/// after another. A limit of zero hands the value over and looks once; [`Duration::MAX`] means no
/// limit.
///
/// # Errors
///
/// [`TeardownError`]; in each case but `NoThread` the value is gone or going.
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

/// The same on a plain thread. In async code it blocks the worker that it is called on: await
/// [`teardown`] there.
///
/// ```
/// use std::time::Duration;
/// use sundown::teardown::teardown_blocking;
///
/// /// As the wrapper of a pooled connection does it.
/// struct Connection;
///
/// impl Drop for Connection {
///     fn drop(&mut self) {
///         tokio::task::spawn_blocking(|| println!("closed"));
///     }
/// }
///
/// // No runtime anywhere: `drop(Connection)` would panic here.
/// teardown_blocking(Connection, Duration::from_secs(5))?;
/// # Ok::<(), sundown::teardown::TeardownError<Connection>>(())
/// ```
///
/// # Errors
///
/// As [`teardown`].
pub fn teardown_blocking<T: Send + 'static>(
    value: T,
    limit: Duration,
) -> Result<TeardownReport, TeardownError<T>> {
    let teardown = Teardown::begin(value)?;
    let ended = blocking::wait(pin!(teardown.reaper.settled()), limit).is_some();
    teardown.result(ended)
}

/// A teardown under way.
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
            let Left { waiting, dropping, tasks, closing } = self.reaper.left();
            let destructor_running = waiting > 0 || dropping;
            return Err(TeardownError::TimedOut { elapsed, destructor_running, tasks, closing });
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
