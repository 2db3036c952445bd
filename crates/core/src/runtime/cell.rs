//! A runtime in a static.

use std::{fmt, future::Future, time::Duration};

use super::{RuntimeBuilder, RuntimeHandle, StartError, Stats, root::Root};
use crate::{
    blocking,
    life::Which,
    shutdown::{GracefulShutdown, ShutdownError, ShutdownFuture, ShutdownReport},
};

/// A runtime in a static: it starts when it is first used, can be shut down, and started again.
///
/// A static is never dropped, and so an owner in one never shuts anything down (experiment 50, claim
/// C4). Somebody has to *call* [`shutdown`](Self::shutdown) or [`shutdown_blocking`](Self::shutdown_blocking): the end of `main`, an exit handler of
/// the host, a logout. After that the runtime does not start by itself any more, because late work at
/// the end of a process must not bring a runtime back to life; [`restart`](Self::restart) does.
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
///     RUNTIME.shutdown_blocking(Duration::from_secs(5))?;
///     assert!(RUNTIME.get().is_err(), "it does not come back by itself");
///     Ok(())
/// }
/// ```
pub struct RuntimeCell {
    builder: fn() -> RuntimeBuilder,
    root: Root,
}

impl RuntimeCell {
    /// A cell whose runtime is made as `builder` says, each time that one starts.
    #[must_use]
    pub const fn new(builder: fn() -> RuntimeBuilder) -> Self {
        Self { builder, root: Root::new() }
    }

    /// The runtime, started if it never was. Of many who come at once one starts it, and the others
    /// wait for that.
    ///
    /// # Errors
    ///
    /// [`StartError::Runtime`] after a shutdown, also one that came before the first use, and in a
    /// forked child of the process that used the cell first; the others where it cannot be started,
    /// in which case the next call tries again.
    pub fn get(&self) -> Result<RuntimeHandle, StartError> {
        let home = self.root.begin(Which::First, &(self.builder)())?;
        home.is_running()?;
        Ok(RuntimeHandle { home })
    }

    /// As [`RuntimeOwner::shutdown`](super::RuntimeOwner::shutdown). Where the runtime never started
    /// there is nothing to wait for, and it does not start by itself any more.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn shutdown(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> impl Future<Output = Result<ShutdownReport, ShutdownError>> + Send {
        self.root.shutdown(|| (self.builder)().component(), limit.into())
    }

    /// As [`RuntimeOwner::shutdown_blocking`](super::RuntimeOwner::shutdown_blocking).
    ///
    /// # Errors
    ///
    /// As [`RuntimeCell::shutdown`].
    pub fn shutdown_blocking(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> Result<ShutdownReport, ShutdownError> {
        blocking::wait_for(Box::pin(self.shutdown(limit)))
    }

    /// Starts it anew after a shutdown, or for the first time.
    ///
    /// # Errors
    ///
    /// As [`RuntimeOwner::restart`](super::RuntimeOwner::restart).
    pub fn restart(&self) -> Result<(), StartError> {
        self.root.begin(Which::Next, &(self.builder)()).map(drop)
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.root.stats()
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
