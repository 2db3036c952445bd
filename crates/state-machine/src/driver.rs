//! The driver: performs the effects of the [transitions](crate::transition) through the traits of the
//! [application](crate::application).
//!
//! A run is a future. Poll it with any executor except the runtime that the logout shuts down. It needs
//! no runtime: a thread of the kit keeps its limits.

mod run;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sundown_core::limit::one_after_another;
use tokio::sync::watch;

use crate::{
    application::Application,
    cancel::{CancelToken, Cancellation},
    config::LogoutConfig,
    driver::run::Run,
    error::LogoutError,
    progress::{LogoutReport, Progress},
};

/// Drives the logouts of an application, one at a time. Share it by reference or in an [`Arc`].
///
/// ```
/// use std::sync::Arc;
/// use sundown::logout::{cancel::Cancellation, config::LogoutConfig, driver::Driver};
/// # mod by_effect { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/by_effect/mod.rs")); }
/// # use {by_effect::{ByEffect, Perform}, std::time::Duration};
/// # use sundown::logout::{application::Failure, transition::Effect};
/// # struct BusyTab;
/// # impl Perform for BusyTab {
/// #     async fn perform(&self, effect: Effect, _: Option<Duration>) -> Result<(), Failure> {
/// #         if effect == Effect::CloseTabs { Err("a tab is busy".into()) } else { Ok(()) }
/// #     }
/// # }
///
/// # futures::executor::block_on(async {
/// # let app = ByEffect(BusyTab);
/// // `app` implements the traits of `sundown::logout::application`. Its tabs do not close.
/// let driver = Driver::new(Arc::new(app), LogoutConfig::default());
/// let report = driver.run().await?;
/// assert_eq!(report.warnings[0].to_string(), "closing the tabs failed: a tab is busy");
/// assert_eq!(driver.progress().borrow().percent, 100);
/// assert_eq!(driver.cancel(), Cancellation::TooLate);
/// # Ok::<(), sundown::logout::error::LogoutError>(())
/// # }).unwrap();
/// ```
pub struct Driver<A> {
    app: Arc<A>,
    config: LogoutConfig,
    progress: watch::Sender<Progress>,
    runs: Mutex<Runs>,
}

/// What a driver knows about its runs. Never locked across an await, nor while foreign code runs.
#[derive(Default)]
struct Runs {
    /// The number of runs that have begun.
    count: u64,
    /// Whether the last run has not ended.
    running: bool,
    /// Whether the last run passed the point of no return and did not complete.
    unfinished: bool,
    /// Cancels the last run.
    cancel: Option<Arc<CancelToken>>,
}

impl<A: Application> Driver<A> {
    /// A driver for an application.
    #[must_use]
    pub fn new(app: Arc<A>, config: LogoutConfig) -> Self {
        let (progress, _) = watch::channel(Progress::idle(0));
        Self { app, config, progress, runs: Mutex::default() }
    }

    /// Logs out.
    ///
    /// Nothing happens before the first poll. If an earlier run passed the point of no return and did
    /// not complete, this one finishes the cleanup.
    ///
    /// The future may be dropped at any point:
    ///
    /// - Before the point of no return, dropping it restarts the sync service on the dropping thread.
    ///   If a request may have left, the intent stays recorded, and another run or
    ///   [`resolve_at_start`](crate::recovery::resolve_at_start) asks the server.
    /// - After the point of no return, another run finishes the cleanup.
    ///
    /// # Errors
    ///
    /// [`LogoutError`]. If another run has not ended, this one is refused and does nothing.
    pub async fn run(&self) -> Result<LogoutReport, LogoutError> {
        let (mut run, mut event) = Run::begin(self)?;
        one_after_another(async {
            while let Some(next) = run.step(event).await {
                event = next;
            }
            run.end()
        })
        .await
    }
}

impl<A> Driver<A> {
    /// The application.
    #[must_use]
    pub fn application(&self) -> &A {
        &self.app
    }

    /// Asks the running logout to end. The answer says whether it will. Never blocks, on any thread.
    ///
    /// After a run has ended, the answer is the same as at its end.
    pub fn cancel(&self) -> Cancellation {
        let (running, cancel) = {
            let runs = self.runs();
            (runs.running, runs.cancel.clone())
        };
        match cancel {
            Some(cancel) if running => cancel.cancel(),
            Some(cancel) if cancel.is_committed() => Cancellation::TooLate,
            Some(cancel) if cancel.is_cancelled() => Cancellation::AlreadyCancelled,
            _ => Cancellation::NotRunning,
        }
    }

    /// The progress of the logout. The receiver sees the current value first.
    ///
    /// As with any watch channel, a borrowed value blocks the logout. Clone it, or hold it briefly.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether a run has begun and not ended. However a run ends, this becomes `false`.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.runs().running
    }

    /// Whether the last run passed the point of no return and did not complete. Then another run must
    /// finish the cleanup before anybody logs in.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.runs().unfinished
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        // Nothing panics under the lock.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> fmt::Debug for Driver<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("config", &self.config)
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}
