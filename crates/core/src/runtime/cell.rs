//! A runtime in a static.

use std::{fmt, future::Future, time::Duration};

use super::{
    RuntimeBuilder, RuntimeHandle, StartError, Stats,
    restartable::{Recipe, Restartable},
};
use crate::{
    lifecycle::Begin,
    shutdown::{GracefulShutdown, ShutdownError, ShutdownFuture, ShutdownReport},
};

/// A runtime in a static. It starts when it is first used, and can be shut down and started again.
///
/// A static is never dropped, so a `LazyLock<Runtime>` never shuts anything down (experiment 50, finding
/// C4a). The end of `main`, an exit handler of the host or a logout must *call*
/// [`shutdown`](Self::shutdown) or [`shutdown_blocking`](Self::shutdown_blocking). After that the
/// runtime does not start by itself any more, because late work at the end of a process must not start
/// a runtime again. Call [`restart`](Self::restart) to do that.
///
/// A cell that is no static, and is dropped, leaves its runtime running: only an owner ends it by a drop.
///
/// ```
/// use std::time::Duration;
/// use sundown::runtime::{RuntimeCell, RuntimeOwner};
///
/// static RUNTIME: RuntimeCell =
///     RuntimeCell::new(|| RuntimeOwner::builder("matrix").workers(2));
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let answer = RUNTIME.get()?.block_on(async { 6 * 7 })?;
///     assert_eq!(answer, 42);
///     let report = RUNTIME.shutdown_blocking(Duration::from_secs(5))?;
///     assert_eq!(report.aborted, 0);
///     assert!(RUNTIME.get().is_err(), "it does not come back by itself");
///     Ok(())
/// }
/// ```
pub struct RuntimeCell {
    runtime: Restartable,
}

impl RuntimeCell {
    /// Makes a cell. `builder` configures each runtime that the cell starts. In a forked child of a process
    /// that has used the cell it is only called by [`restart`](Self::restart).
    #[must_use]
    pub const fn new(builder: fn() -> RuntimeBuilder) -> Self {
        Self { runtime: Restartable::new(Recipe::Made(builder)) }
    }

    /// Makes a cell that is configured when the program runs, and so is no static: one behind a handle that a
    /// foreign language has, for example.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sundown::runtime::{RuntimeCell, RuntimeOwner};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let name = std::env::args().next().unwrap_or_default();
    /// let cell = RuntimeCell::with_builder(RuntimeOwner::builder(name).workers(1));
    /// assert_eq!(cell.get()?.block_on(async { 6 * 7 })?, 42);
    /// let report = cell.shutdown_blocking(Duration::from_secs(5))?;
    /// # assert_eq!(report.aborted, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn with_builder(builder: RuntimeBuilder) -> Self {
        Self { runtime: Restartable::new(Recipe::Kept(builder)) }
    }

    /// Returns the runtime, and starts it if it never was. Of concurrent callers, one starts it and the
    /// others wait for that.
    ///
    /// # Errors
    ///
    /// [`StartError::Runtime`] after a shutdown, even one before the first use, and in a
    /// forked child of a process that used the cell, until the child calls [`restart`](Self::restart). After the other errors the next call tries
    /// again.
    pub fn get(&self) -> Result<RuntimeHandle, StartError> {
        let generation = self.runtime.begin(Begin::First)?;
        generation.check_running()?;
        Ok(RuntimeHandle { generation })
    }

    /// Same as [`RuntimeOwner::shutdown`](super::RuntimeOwner::shutdown). If the runtime never started,
    /// there is nothing to wait for, and it does not start by itself any more. If another caller is
    /// starting it, the limit includes that start, and the new runtime stops at once.
    pub fn shutdown(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> impl Future<Output = Result<ShutdownReport, ShutdownError>> + Send {
        self.runtime.shutdown(limit.into(), None)
    }

    /// Same as [`shutdown`](Self::shutdown), on a plain thread.
    pub fn shutdown_blocking(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> Result<ShutdownReport, ShutdownError> {
        self.runtime.shutdown_blocking(limit.into(), None)
    }

    /// Starts the runtime again after a shutdown, or for the first time.
    ///
    /// In a forked child this starts a runtime of the child's own: from then on the cell is the child's, and
    /// its generations are counted from 1 again. The parent's runtime is not touched, and handles to it
    /// stay [`Forked`](crate::RuntimeError::Forked). This works in seven children that were each forked from
    /// the one before. What Tokio itself shares between parent and child, such as its handling of signals,
    /// this does not separate.
    ///
    /// # Errors
    ///
    /// [`StartError::NotEnded`] unless the runtime was shut down and has ended. After the other errors you
    /// can try again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sundown::runtime::{RuntimeCell, RuntimeOwner};
    ///
    /// static RUNTIME: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("workers"));
    ///
    /// /// Called in a forked child, before anything uses the runtime there.
    /// fn after_fork_in_child() -> Result<(), Box<dyn std::error::Error>> {
    ///     RUNTIME.restart()?;
    ///     assert_eq!(RUNTIME.get()?.block_on(async { 6 * 7 })?, 42);
    ///     Ok(())
    /// }
    /// # after_fork_in_child().unwrap();
    /// # let _ = RUNTIME.shutdown_blocking(Duration::from_secs(5)).unwrap();
    /// ```
    pub fn restart(&self) -> Result<(), StartError> {
        self.runtime.begin(Begin::Next).map(drop)
    }

    /// The state of the runtime in numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.runtime.stats()
    }
}

impl GracefulShutdown for RuntimeCell {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(self.shutdown(limit))
    }
}

impl fmt::Debug for RuntimeCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeCell").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
