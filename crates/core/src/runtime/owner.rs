//! A runtime that a program passes around.

use std::{borrow::Cow, fmt, future::Future, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    RuntimeBuilder, RuntimeError, RuntimeHandle, StartError, Stats, restartable::Restartable,
};
use crate::{
    lifecycle::Begin,
    oneshot,
    shutdown::{GracefulShutdown, ShutdownError, ShutdownFuture, ShutdownReport},
    task_set::Stop,
};

/// The owner of a runtime. Clones share it. Dropping the last clone before a shutdown aborts everything
/// on the runtime, with a warning, and does not wait. So a drop never blocks. A drop of a
/// `tokio::runtime::Runtime` waits, and panics in async code.
///
/// ```
/// use std::time::Duration;
/// use sundown::runtime::RuntimeOwner;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let owner = RuntimeOwner::builder("matrix").workers(2).start()?;
/// let synced = owner.spawn("sync", |stop| async move {
///     stop.await; // asked to stop
///     "everything is written"
/// })?;
/// assert_eq!(owner.block_on(async { 6 * 7 })?, 42);
///
/// let report = owner.shutdown_blocking(Duration::from_secs(5))?;
/// assert_eq!(report.aborted, 0);
/// assert!(owner.block_on(synced).is_err(), "it has ended");
///
/// owner.restart()?;
/// assert_eq!(owner.stats().generation, 2);
/// let report = owner.shutdown_blocking(None)?; // within the limit that the builder was given
/// # assert_eq!(report.aborted, 0);
/// # Ok(()) }
/// ```
///
/// # In a forked child
///
/// A forked child has a copy of the owner and none of its threads. There every call returns at once,
/// with [`RuntimeError::Forked`] or [`SignalLoss::Forked`](crate::shutdown::SignalLoss::Forked). Nothing
/// waits, no lock is taken, and a drop does nothing (experiment 55). If a task of the runtime forks, the
/// child continues as that thread, on a copy of a runtime whose descriptors are the parent's. Such a
/// child must `exec` or exit, and not return.
#[derive(Clone)]
#[must_use = "the runtime is aborted when its last owner is dropped"]
pub struct RuntimeOwner {
    /// The runtime's thread does not share this: it is dropped with the last clone.
    shared: Arc<Restartable>,
}

impl RuntimeOwner {
    /// Configures a runtime; [`start`](RuntimeBuilder::start) starts it. Its threads have this name,
    /// and reports and errors use it.
    #[track_caller]
    pub fn builder(name: impl Into<String>) -> RuntimeBuilder {
        RuntimeBuilder::new(name.into())
    }

    pub(super) fn of(runtime: Restartable) -> Self {
        Self { shared: Arc::new(runtime) }
    }

    /// Returns a handle to the current generation. The handle does not follow a restart, so work that was
    /// meant for one generation does not run on the next.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime has been shut down, and in a forked child.
    pub fn current(&self) -> Result<RuntimeHandle, RuntimeError> {
        let latest = self.latest()?;
        latest.generation.check_running()?;
        Ok(latest)
    }

    /// The latest generation, ended or not.
    fn latest(&self) -> Result<RuntimeHandle, RuntimeError> {
        match self.shared.latest()? {
            Some(generation) => Ok(RuntimeHandle { generation }),
            // Not reached: an owner's runtime has been started.
            None => {
                let component = self.shared.component();
                Err(RuntimeError::ShutDown { component, generation: 0 })
            }
        }
    }

    /// Same as [`RuntimeHandle::handle`], for the latest generation.
    pub fn handle(&self) -> Result<Handle, RuntimeError> {
        self.latest()?.handle()
    }

    /// Same as [`RuntimeHandle::spawn`], on the latest generation.
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
        self.latest()?.spawn(name, work)
    }

    /// Same as [`RuntimeHandle::block_on`], panics included, on the latest generation.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RuntimeError> {
        self.latest()?.block_on(future)
    }

    /// Shuts the runtime down, and waits until it has ended: until its tasks have been dropped, its
    /// blocking work has returned, and all of its threads have ended, the owner thread last.
    ///
    /// Tasks of [`spawn`](Self::spawn) are asked to stop, and calls of [`block_on`](Self::block_on) may
    /// complete. When all of these have ended, *foreign* tasks, which were not spawned through the kit, get
    /// a short time to end by themselves ([`foreign_time`](RuntimeBuilder::foreign_time)). Then, or after nine
    /// tenths of the limit, everything else is cut off, and the report says how much that was. (If the limit is below a second: 100 ms before its end, or after half of it if that is
    /// later.) A limit of zero drops everything at once; [`Duration::MAX`] means no limit; `None` means the
    /// builder's limit. The limit counts from the first poll.
    ///
    /// Repeated and concurrent calls are allowed: once the runtime has ended, all return the same result.
    /// After [`TimedOut`] the shutdown continues; call again to keep waiting. Works under any executor.
    /// Nothing happens before the first poll. After that, dropping the future loses nothing: the shutdown
    /// continues.
    ///
    /// # Errors
    ///
    /// A [`ShutdownError`] of kind
    ///
    /// - [`TimedOut`], with what has not ended: the number of tasks, the threads, and the names of tasks
    ///   that were spawned through the kit;
    /// - [`Panicked`], if everything has ended, and a task had panicked;
    /// - [`ThreadPanicked`], if the runtime's thread had panicked;
    /// - [`SignalLost`], if that thread was ended from outside, and in a forked child;
    /// - [`FromInside`], if the caller is a task of the runtime, runs in its `spawn_blocking`, or is inside
    ///   `block_on`: each would wait for its own end. The runtime has been asked to stop. (If such a
    ///   caller waits for another task that calls this, that is not detected, and each waits for the
    ///   other. Use a limit there.)
    ///
    /// [`TimedOut`]: crate::ShutdownErrorKind::TimedOut
    /// [`Panicked`]: crate::ShutdownErrorKind::Panicked
    /// [`ThreadPanicked`]: crate::ShutdownErrorKind::ThreadPanicked
    /// [`SignalLost`]: crate::ShutdownErrorKind::SignalLost
    /// [`FromInside`]: crate::ShutdownErrorKind::FromInside
    pub fn shutdown(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> impl Future<Output = Result<ShutdownReport, ShutdownError>> + Send {
        self.shared.shutdown(limit.into(), None)
    }

    /// Same as [`shutdown`](Self::shutdown), on a plain thread. In async code of another runtime this
    /// blocks a worker.
    pub fn shutdown_blocking(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> Result<ShutdownReport, ShutdownError> {
        self.shared.shutdown_blocking(limit.into(), None)
    }

    /// Same, and foreign tasks get this time to end by themselves.
    #[cfg(all(feature = "service", unix, not(loom)))]
    pub(crate) fn shutdown_of_service(
        &self,
        limit: Duration,
        foreign_time: Duration,
    ) -> Result<ShutdownReport, ShutdownError> {
        self.shared.shutdown_blocking(Some(limit), Some(foreign_time))
    }

    /// Starts the runtime again. Clones of this owner use the new generation. Handles to the one
    /// before return [`RuntimeError`].
    ///
    /// # Errors
    ///
    /// [`StartError::NotEnded`] unless the runtime was shut down and has ended, and
    /// [`StartError::Runtime`] in a forked child. After the other errors you can try again.
    pub fn restart(&self) -> Result<(), StartError> {
        self.shared.begin(Begin::Next).map(drop)
    }

    /// The state of the runtime in numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl GracefulShutdown for RuntimeOwner {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(self.shutdown(limit))
    }
}

impl fmt::Debug for RuntimeOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeOwner")
            .field("name", &self.shared.component())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
