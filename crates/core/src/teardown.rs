//! Drop a value where its destructor can run, and return when everything it started has ended.
//!
//! Some destructors need a Tokio runtime. The destructor of a pooled SQLite connection calls
//! `spawn_blocking` to close the connection on the current runtime, and panics if there is none
//! (experiment 01). With two idle connections the process aborts (experiment 06). The usual cures enter
//! a context around the drop. This aborts if a thread's locals are being destroyed (experiment 07), and
//! does not say when the connections have been closed.
//!
//! [`teardown`](teardown()) hands the value to the *closing service*, which drops it on a thread that has
//! entered the context of a small runtime, and returns when the value's work on that runtime has ended.
//! The runtime that the value was made on may be alive or shut down, or there may never have been one.
//! The call works on a plain thread, in async code of any runtime, inside `block_on`, on a blocking
//! thread, and while the calling thread's locals are being destroyed.
//!
//! There is one closing service in a process. It exists only while a session is open or a teardown is
//! under way: when a call returns `Ok` and nobody else needs the service, every thread of it has been
//! joined. Different teardowns and sessions do not wait for each other, even if a destructor never
//! returns.
//!
//! A teardown covers what the destructor started *through the context*: tasks, `spawn_blocking` closures,
//! and whatever those start, with their timers. It confirms that this work has ended, not that it
//! succeeded: [`NotCovered::Success`]. A teardown does not see a plain thread that a destructor
//! starts by itself, a task on another runtime, or a value that is not dropped because somebody else
//! holds a clone. [`TeardownReport::not_covered`] lists this. What a destructor leaves in a *thread-local*
//! is dropped when the thread ends: before the answer, unless another teardown or a session needs the
//! service. What a closure leaves there is always dropped before the answer, and tasks that this spawns have
//! ended by then; a closure that this queues is not waited for. For the rest there are
//! [`evidence`](crate::evidence) and a [session](crate::session) with a runtime of its own.
//!
//! # A goodbye over a socket
//!
//! Some destructors say goodbye over a socket: `QUIT` to a database, a close frame to a web socket. A teardown
//! does not help them once the runtime on which the socket was made has been shut down. The socket is
//! registered with the I/O driver of that runtime and fails without it, on any other runtime. If the socket
//! belongs to a task of that runtime, the task is gone. The destructor's own task runs, ends with an error or a
//! panic that reaches nobody, and the teardown is `Ok` (experiment 57): it cannot know which runtime the value
//! needed. A [session](crate::session) that was given the runtime, or its `Handle`, counts such values
//! ([`OutlivedRuntime`](NotCovered::OutlivedRuntime)). It cannot deliver their goodbye either. So close such a
//! value *while its runtime runs*: await its `close` there, in a session's
//! [hook](crate::Session::before_close_with), or tear it down before you shut the runtime down. A current-thread
//! runtime runs only while somebody is inside its `block_on`. If the destructor is yours, let it say goodbye in a
//! member of a [group](crate::TaskGroup::try_spawn): a drain reports one that failed, panicked or was dropped unpolled.
//!
//! # Values that are not `Send`
//!
//! Neither a teardown nor a session takes them: both drop a value on another thread, and a value that is not
//! `Send` must be dropped on its own. Drop it there, inside its `LocalSet` and in the context of a running
//! runtime, and await the `LocalSet`. A local *task* can have a [`Guarded`](crate::Guarded) handle of a value that
//! is `Send`, and a place in a group ([`TaskGroup::hold`](crate::TaskGroup::hold)). For a thread that owns such
//! values, guard what other threads have of it, and close it in a hook (experiment 58).

mod batch;
mod grace;
mod hold;
mod lane;
pub(crate) mod reaper;
mod schedule;
mod service;
mod site;
mod slot;
mod supervisor;

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
    limit::within,
    observe::{self, Outcome},
    park,
    shutdown::{NotCovered, count, not_covered::not_covered as say_not_covered},
    waker::{self, Helpers},
};
use reaper::Reaper;

/// A completed teardown: its timings, and what it does not cover.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TeardownReport {
    /// From the call to the end of all work that the destructor started.
    pub elapsed: Duration,
    /// The part of `elapsed` spent starting threads. It is close to zero while the closing service runs.
    pub starting: Duration,
    /// How long the destructor ran.
    pub destructor: Duration,
    /// The rest of `elapsed`: waiting for what the destructor started, and for threads to be scheduled
    /// and joined.
    pub ending: Duration,
    /// How many tasks that the destructor started were alive when it returned. They have ended.
    pub tasks: usize,
    /// What may still be alive, or may have failed.
    pub not_covered: Vec<NotCovered>,
}

/// `torn down in 1.2ms, 1 task ended; not visible to the kit: whether the work succeeded, …`.
impl fmt::Display for TeardownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed, tasks, not_covered, .. } = self;
        write!(f, "torn down in {elapsed:.1?}")?;
        if *tasks > 0 {
            write!(f, ", {} ended", count(*tasks, "task"))?;
        }
        f.write_str(&say_not_covered(not_covered))
    }
}

/// Almost the same for every teardown: stable Tokio exposes neither what a destructor queued nor whether that
/// succeeded.
fn not_covered() -> Vec<NotCovered> {
    let mut not_covered = vec![
        NotCovered::Success,
        NotCovered::PlainThreads,
        NotCovered::OtherRuntimes,
        NotCovered::ChildProcesses,
        NotCovered::Clones,
    ];
    not_covered.extend(NotCovered::kit_threads());
    not_covered
}

/// What a teardown is still waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many values are waiting to be dropped.
    pub waiting: usize,
    /// Whether a destructor has not returned.
    pub destructor_running: bool,
    /// How many tasks that destructors started are alive.
    pub tasks: usize,
    /// Whether blocking closures that destructors started are running or queued. Stable Tokio does not
    /// expose how many.
    pub blocking_work: bool,
    /// Whether the OS refuses the thread that destructors need for blocking work, and that shows when none of
    /// it is left. The kit asks for it again and again.
    pub thread_refused: bool,
    /// If nothing else is left, the thread of the kit that has not ended. What destructors or checks have
    /// left in thread-locals of that thread, or of one that it waits for, may block.
    pub thread: Option<KitThread>,
}

/// A thread of the kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KitThread {
    /// `sundown-closing`, the supervisor of the closing service.
    Closing,
    /// `sundown-drop`, on which destructors ran. It waits for `sundown-close`, on which their closures ran.
    Dropping,
    /// `sundown-drive`, on which destructors or their tasks ran while others took long.
    Driving,
    /// `sundown-evidence`, which ran the checks of a session.
    Evidence,
    /// `sundown-wakers`, which calls the waker of a caller. It may block, and then it delays only the answers
    /// of the same session or teardown.
    Wakers,
}

impl KitThread {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closing => "sundown-closing",
            Self::Dropping => "sundown-drop",
            Self::Driving => "sundown-drive",
            Self::Evidence => "sundown-evidence",
            Self::Wakers => waker::THREAD,
        }
    }
}

/// `a destructor has not returned, 3 values waiting to be dropped`.
impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, destructor_running, tasks, blocking_work, thread_refused, thread } =
            *self;
        let mut parts = Vec::new();
        if destructor_running {
            parts.push("a destructor has not returned".to_owned());
        }
        if waiting > 0 {
            parts.push(format!("{} waiting to be dropped", count(waiting, "value")));
        }
        if tasks > 0 {
            parts.push(format!("{} of destructors still alive", count(tasks, "task")));
        }
        if blocking_work {
            parts.push("blocking work of destructors has not ended".to_owned());
        }
        if thread_refused {
            parts.push(
                "the OS refuses the thread for blocking work; free some, or raise the limit"
                    .to_owned(),
            );
        }
        if let Some(thread) = thread {
            let name = thread.name();
            let blocker = match thread {
                KitThread::Wakers => "the waker of a caller",
                _ => "the destructor of a thread-local",
            };
            parts.push(format!("the thread `{name}` has not ended; {blocker} may block it"));
        }
        if parts.is_empty() {
            parts.push("nothing visible is left; retry with a longer limit".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

/// Why a teardown failed.
#[derive(Error)]
#[non_exhaustive]
pub enum TeardownError<T> {
    /// The limit passed first. The teardown continues in the background, on its own threads.
    #[error(
        "teardown of `{}` timed out after {elapsed:.1?}: {unfinished}; it continues in the background",
        type_name::<T>()
    )]
    TimedOut {
        /// How long this call waited.
        elapsed: Duration,
        /// What has not ended.
        unfinished: Unfinished,
    },
    /// The destructor panicked, and everything that it had started by then has ended. (A second panic
    /// during the same drop aborts the process. No code can catch that.) What the report does not cover
    /// holds here, too.
    #[error("the destructor of `{}` panicked: {message}", type_name::<T>())]
    DestructorPanicked {
        /// The message of the panic.
        message: String,
        /// The report of the teardown, which has completed.
        report: TeardownReport,
    },
    /// The OS refused a thread or a file descriptor. This returns the value: drop it where its
    /// destructor can run, forget it, or try again.
    #[error("cannot start the teardown of `{}`: {source}; the error holds the value", type_name::<T>())]
    CannotStart {
        /// The value. Its destructor has not begun.
        value: T,
        /// The error from the OS.
        source: io::Error,
    },
}

// Without the value, which need not be `Debug`.
crate::debug_as_text!(TeardownError<T>);

/// Tears a value down: drops it where its destructor can run. The future completes when everything
/// that the destructor started has ended, or when `limit` expires. Works under any executor.
///
/// The call hands over the value, before any poll. Dropping the future loses only the result.
///
/// The destructor may wait for what it starts. Blocking closures run one at a time, on one thread, so a
/// closure that waits for another closure deadlocks.
///
/// A limit of zero hands over the value and checks once; [`Duration::MAX`] means no limit.
///
/// # Errors
///
/// [`TeardownError`]. Unless it is [`CannotStart`](TeardownError::CannotStart), the value has been
/// dropped or will be.
pub fn teardown<T: Send + 'static>(
    value: T,
    limit: Duration,
) -> impl Future<Output = Result<TeardownReport, TeardownError<T>>> + Send {
    let teardown = Teardown::start(value);
    async move {
        let teardown = teardown?;
        let ended = within(limit, teardown.ended()).await.is_some();
        teardown.result(ended)
    }
}

/// Same as [`teardown`](teardown()), on a plain thread. In async code this blocks the calling worker.
///
/// ```
/// use std::time::Duration;
/// use sundown::teardown::teardown_blocking;
///
/// /// Like the wrapper of a pooled connection.
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
    let teardown = Teardown::start(value)?;
    let ended = park::wait(pin!(teardown.ended()), limit).is_some();
    teardown.result(ended)
}

/// A teardown in progress.
struct Teardown {
    reaper: Reaper,
    called_at: Instant,
    starting: Duration,
}

impl Teardown {
    fn start<T: Send + 'static>(value: T) -> Result<Self, TeardownError<T>> {
        let called_at = Instant::now();
        let reaper = match Reaper::start(&Helpers::none()) {
            Ok(reaper) => reaper,
            Err(source) => return Err(TeardownError::CannotStart { value, source }),
        };
        let starting = called_at.elapsed();
        reaper.take(Box::new(value));
        reaper.give_back();
        Ok(Self { reaper, called_at, starting })
    }

    /// Waits until everything has ended, the threads included.
    async fn ended(&self) {
        self.reaper.wait_quiescent().await;
        self.reaper.ended().await;
    }

    fn result<T>(&self, ended: bool) -> Result<TeardownReport, TeardownError<T>> {
        let (elapsed, starting) = (self.called_at.elapsed(), self.starting);
        let observe = |outcome| observe::shutdown(type_name::<T>(), outcome, elapsed);
        if !ended {
            observe(Outcome::TimedOut);
            let unfinished = self.reaper.unfinished();
            return Err(TeardownError::TimedOut { elapsed, unfinished });
        }
        let destructor = self.reaper.destructors();
        let ending = elapsed.saturating_sub(starting).saturating_sub(destructor);
        let (tasks, not_covered) = (self.reaper.tasks(), not_covered());
        let report = TeardownReport { elapsed, starting, destructor, ending, tasks, not_covered };
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
