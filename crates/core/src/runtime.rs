//! A runtime on a thread of its own, and a shutdown that can fail, report and time out.
//!
//! Tokio's ways of shutting a runtime down return nothing: `shutdown_timeout` does not say whether
//! anything is left, `shutdown_background` does not wait, and a drop waits for ever or, in async
//! code, panics (experiments 09, 10). A runtime on a thread that is told to stop and joined, as the
//! write-ups have it, hides a thread that panicked and hangs on one that does not end (experiments
//! 51, 52; claims E1–E3). In a static it is never shut down at all (experiment 50, claim C4).
//!
//! Here the thread that owns the runtime is the one that waits for it: it drops the runtime, which
//! waits for all of its threads for as long as that takes, and whoever shuts it down waits for that
//! thread, for at most so long. A wait that is given up leaves nothing behind.
//!
//! [`RuntimeOwner`] is for a program that passes its runtime around, [`RuntimeCell`] for one that
//! has it in a static.

use std::{borrow::Cow, fmt, future::Future, panic::Location, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::runtime::Handle;

use crate::{
    blocking,
    life::Which,
    observe, oneshot,
    registry::Label,
    shutdown::{GracefulShutdown, ShutdownError, ShutdownFuture, ShutdownReport},
    stop::Stop,
};

mod builder;
mod cell;
mod home;
mod keeper;
mod root;
mod threads;

use home::Home;
use root::Root;

pub use builder::{RuntimeBuilder, StartError};
pub use cell::RuntimeCell;

/// Why a runtime does nothing for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// It has been told to stop, or has ended otherwise. What was passed in was dropped.
    #[error(
        "{component} has been shut down (generation {generation}); restart it, and ask its owner for the new one"
    )]
    ShutDown {
        /// Which runtime.
        component: String,
        /// Which generation of it, counted from 1; 0 where it was shut down before the first.
        generation: u64,
    },
    /// This is a forked child of the process that has its threads, and they are not here.
    #[error(
        "{component} runs in process {owner}, which this one was forked from; start a runtime of this process's own"
    )]
    Forked {
        /// Which runtime.
        component: String,
        /// The process that has the threads.
        owner: u32,
    },
    /// This thread is about to end: its thread-locals are gone, and Tokio cannot be entered without.
    #[error(
        "{component} cannot be used by a thread whose thread-locals have been destroyed; use it before the thread ends, or from another one"
    )]
    ThreadEnding {
        /// Which runtime.
        component: String,
    },
    /// This thread is the only one that could poll the runtime's tasks, and would block them.
    #[error(
        "a task of {component} cannot block its own runtime; await the future, or block in spawn_blocking"
    )]
    OwnThread {
        /// Which runtime.
        component: String,
    },
}

/// What a runtime is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It never was started.
    NotStarted,
    /// It runs.
    Running,
    /// It was told to end, and has not yet.
    Stopping,
    /// It has ended, and so has its thread.
    Ended,
    /// It is not in this process, which was forked from the one that has it.
    Forked,
}

/// What a runtime is doing, in numbers. All are of some moment that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// In one word.
    pub state: State,
    /// How often it has been started.
    pub generation: u64,
    /// How many tasks are alive, by Tokio's count.
    pub tasks: usize,
    /// How many tasks and calls of `block_on` are at work that are known by name.
    pub named: usize,
    /// How many threads it has besides its own: its workers, if it has any, and those for what blocks,
    /// idle or not.
    pub threads: usize,
}

impl Stats {
    const fn of_none(state: State) -> Self {
        Self { state, generation: 0, tasks: 0, named: 0, threads: 0 }
    }
}

/// The owner of a runtime. Clones share it; when the last one is dropped before it was shut down, the
/// runtime is told to drop everything, with a warning, and nobody waits for it.
///
/// ```
/// use std::time::Duration;
/// use sundown::runtime::RuntimeOwner;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let owner = RuntimeOwner::builder("matrix").workers(2).start()?;
/// let synced = owner.spawn("sync", |stop| async move {
///     stop.await; // told to stop
///     "everything is written"
/// })?;
/// assert_eq!(owner.block_on(async { 6 * 7 })?, 42);
///
/// let report = owner.shutdown_blocking(Duration::from_secs(5))?;
/// assert_eq!(report.aborted, 0);
/// assert_eq!(owner.block_on(synced).is_err(), true, "it has ended");
///
/// owner.restart()?;
/// assert_eq!(owner.stats().generation, 2);
/// owner.shutdown_blocking(None)?; // within the limit that the builder was given
/// # Ok(()) }
/// ```
///
/// # In a forked child
///
/// A child that was forked has a copy of the owner and none of its threads. There everything answers
/// at once, by [`RuntimeError::Forked`] or [`SignalLoss::Forked`](crate::shutdown::SignalLoss::Forked);
/// nothing waits, no lock is taken, and a drop does nothing (experiment 55). Who forks *on a thread
/// of the runtime*, inside a task, goes on as that thread in the child, on a copy of a runtime whose
/// descriptors are the parent's: such a child is to `exec` or to exit, and not to return.
#[derive(Clone)]
pub struct RuntimeOwner {
    inner: Arc<Inner>,
}

/// What all clones share, and the runtime's thread does not: it goes when the last clone goes.
struct Inner {
    builder: RuntimeBuilder,
    root: Root,
}

impl RuntimeOwner {
    /// How a runtime is to be; [`start`](RuntimeBuilder::start) starts it. The name is that of its
    /// threads, and what reports and errors call it.
    #[track_caller]
    pub fn builder(name: impl Into<String>) -> RuntimeBuilder {
        RuntimeBuilder::new(name.into())
    }

    fn of(root: Root, builder: RuntimeBuilder) -> Self {
        Self { inner: Arc::new(Inner { builder, root }) }
    }

    /// The runtime as it is now. It does not follow a restart: what was made for one generation does
    /// not end up on the next.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] where it has been shut down, and in a forked child.
    pub fn current(&self) -> Result<RuntimeHandle, RuntimeError> {
        let home = self.latest()?;
        home.is_running()?;
        Ok(RuntimeHandle { home })
    }

    fn latest(&self) -> Result<Arc<Home>, RuntimeError> {
        let component = || self.inner.builder.component();
        let latest = self.inner.root.latest(component)?;
        // Not reached: an owner's runtime has been started.
        latest.ok_or_else(|| RuntimeError::ShutDown { component: component(), generation: 0 })
    }

    /// As [`RuntimeHandle::handle`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn handle(&self) -> Result<Handle, RuntimeError> {
        self.latest()?.handle()
    }

    /// As [`RuntimeHandle::spawn`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn spawn<T, F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        self.latest()?.spawn(label, work)
    }

    /// As [`RuntimeHandle::block_on`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RuntimeError> {
        self.latest()?.block_on(future, Location::caller())
    }

    /// Shuts the runtime down, and waits until it has ended: until its tasks have been dropped, what
    /// blocks has returned, and all of its threads, its own as the last, have ended.
    ///
    /// What was spawned by [`spawn`](Self::spawn) is told to stop, and what was called by
    /// [`block_on`](Self::block_on) is waited for. When all that has ended, or nine tenths of the
    /// limit have passed (of a limit below a second, when all but 100 ms of it have, or half), the
    /// rest is dropped. A limit of zero drops everything at once; [`Duration::MAX`] is none; `None`
    /// is the builder's.
    ///
    /// It may be called again, at the same time and by any number of callers: all are told the same.
    /// After a `TimedOut` the runtime goes on ending, and another call waits on.
    ///
    /// If this future is dropped half-way nothing is lost: the runtime has been told, and goes on
    /// ending. Until it is first polled it does nothing. It works under any executor.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`], whose kind is
    ///
    /// - `TimedOut` with what has not ended: how many tasks, which threads, and by
    ///   name and place what was spawned through the kit.
    /// - `Panicked` where everything has ended, and a task had panicked.
    /// - `ThreadPanicked` where the runtime's thread had.
    /// - `SignalLost` where that thread was ended from outside, and in a forked
    ///   child.
    /// - `FromInside` to a task of the runtime, to what it runs in `spawn_blocking`,
    ///   and to who is inside its `block_on`: each would wait for its own end. It has been told to
    ///   stop. (Where another task asks that this one waits for, that is not seen, and each waits for
    ///   the other: use a limit there.)
    pub fn shutdown(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> impl Future<Output = Result<ShutdownReport, ShutdownError>> + Send {
        self.inner.root.shutdown(|| self.inner.builder.component(), limit.into())
    }

    /// The same on a plain thread. In async code of another runtime it blocks a worker: there, await
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// As [`RuntimeOwner::shutdown`].
    pub fn shutdown_blocking(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> Result<ShutdownReport, ShutdownError> {
        blocking::wait_for(Box::pin(self.shutdown(limit)))
    }

    /// Whether this thread is one whose end, or whose return, a shutdown would wait for.
    pub(crate) fn is_here(&self) -> bool {
        let latest = self.inner.root.latest(String::new);
        latest.is_ok_and(|home| home.is_some_and(|home| home.includes_this_thread()))
    }

    /// Starts the runtime anew, in place: clones of this owner have the new one, and what belongs to
    /// the one before answers [`RuntimeError`].
    ///
    /// # Errors
    ///
    /// [`StartError::NotEnded`] unless it was shut down and has ended; [`StartError::Runtime`] in a
    /// forked child; the others where it cannot be started, in which case it may be tried again.
    pub fn restart(&self) -> Result<(), StartError> {
        self.inner.root.begin(Which::Next, &self.inner.builder).map(drop)
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.root.stats()
    }
}

impl GracefulShutdown for RuntimeOwner {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(self.shutdown(limit))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Ok(Some(home)) = self.root.latest(String::new) else { return };
        if let Some(at_work) = home.was_left_running() {
            let name = self.builder.component();
            observe::dropped_without_shutdown(&name, self.builder.made_at, at_work);
        }
        home.abort();
    }
}

impl fmt::Debug for RuntimeOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeOwner")
            .field("name", &self.inner.builder.component())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A runtime that somebody else owns: one generation of it. It keeps nothing alive, and answers
/// [`RuntimeError`] from the shutdown on, also after a restart.
#[derive(Clone)]
pub struct RuntimeHandle {
    home: Arc<Home>,
}

impl RuntimeHandle {
    /// Tokio's handle of it. What is spawned on that is not known by name, not told to stop, and
    /// dropped with the runtime.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] where it has been told to stop, and in a forked child.
    pub fn handle(&self) -> Result<Handle, RuntimeError> {
        self.home.handle()
    }

    /// Spawns a task, from any thread. `work` is given the signal by which it is told to stop. What it
    /// returns can be received; where it is dropped before it returns, or panics, the receiver is
    /// told that it was abandoned. Who does not want to know drops the receiver.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] where the runtime has been told to stop, and in a forked child. `work` is dropped.
    #[track_caller]
    pub fn spawn<T, F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        self.home.spawn(label, work)
    }

    /// Polls a future on this thread, in the context of the runtime, until it is ready. The future
    /// may borrow, and need not be `Send`.
    ///
    /// Unlike Tokio's it works wherever it is called: in async code of another runtime, whose worker
    /// it blocks, and in a task of its own, whose worker is replaced for that long. A shutdown waits
    /// for it, and drops the future at its limit.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::ShutDown`] where the runtime has been told to stop before it began, or went down
    /// before the future was ready; [`RuntimeError::OwnThread`] inside a task of a current-thread runtime
    /// itself, or one that Tokio does not let block in place, as in a `LocalSet`;
    /// [`RuntimeError::ThreadEnding`] in the destructor of a thread-local, where Tokio cannot be entered any
    /// more; and [`RuntimeError::Forked`] in a forked child. The future is dropped.
    ///
    /// # Panics
    ///
    /// Only where the future does, which is the caller's own: its panic goes on to the caller.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RuntimeError> {
        self.home.block_on(future, Location::caller())
    }

    /// Which generation this is, counted from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.home.generation()
    }
}

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeHandle")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
