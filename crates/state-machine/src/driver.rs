//! The driver: does what the [transitions](crate::transition) say, through what the
//! [application](crate::application) implements.
//!
//! It needs no runtime of its own, nor any other: it is a future, which any executor may poll, and
//! its limits are kept by a thread of the kit's. It must not be polled by the runtime that it shuts
//! down.

mod run;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    application::Application,
    config::LogoutConfig,
    driver::run::Run,
    error::LogoutError,
    passage::{Cancellation, Passage},
    progress::{LogoutReport, Progress},
};

/// Drives logouts of an application, one at a time. Shared by reference, as a rule in an [`Arc`].
///
/// ```
/// # use std::{sync::atomic::{AtomicBool, Ordering::SeqCst}, time::Duration};
/// # use state_machine::{application::*};
/// # #[derive(Default)]
/// # struct App { intent: AtomicBool }
/// # impl Session for App {
/// #     async fn check_logged_in(&self) -> Result<(), Failure> { Ok(()) }
/// #     async fn close_session(&self, _: Duration) -> Result<(), Failure> { Ok(()) }
/// # }
/// # impl SyncService for App {
/// #     async fn stop_sync(&self, _: Duration) -> Result<(), Failure> { Ok(()) }
/// #     fn restart_sync(&self) -> Result<(), Failure> { Ok(()) }
/// # }
/// # impl Server for App {
/// #     async fn log_out(&self) -> Result<(), RequestError> { Ok(()) }
/// #     async fn who_am_i(&self) -> Result<Token, Failure> { Ok(Token::Unknown) }
/// # }
/// # impl UserInterface for App {
/// #     async fn close_tabs(&self) -> Result<(), Failure> { Err("a tab is busy".into()) }
/// #     async fn clean_app_state(&self) -> Result<(), Failure> { Ok(()) }
/// # }
/// # impl Storage for App {
/// #     async fn record_intent(&self) -> Result<(), Failure> { Ok(self.intent.store(true, SeqCst)) }
/// #     async fn has_intent(&self) -> Result<bool, Failure> { Ok(self.intent.load(SeqCst)) }
/// #     async fn clear_intent(&self) -> Result<(), Failure> { Ok(self.intent.store(false, SeqCst)) }
/// #     async fn delete_latest_user_id(&self) -> Result<(), Failure> { Ok(()) }
/// # }
/// # impl Runtime for App {
/// #     async fn shut_down_tasks(&self, _: Duration) -> Result<(), Failure> { Ok(()) }
/// #     async fn restart_runtime(&self) -> Result<(), Failure> { Ok(()) }
/// # }
/// use std::sync::Arc;
/// use state_machine::{config::LogoutConfig, driver::Driver, passage::Cancellation};
///
/// # futures::executor::block_on(async {
/// // An application whose only fault is that its tabs do not close.
/// let driver = Driver::new(Arc::new(App::default()), LogoutConfig::default());
/// let report = driver.run().await?;
/// assert_eq!(report.warnings[0].to_string(), "closing the tabs failed: a tab is busy");
/// assert_eq!(driver.progress().borrow().percent, 100);
/// assert_eq!(driver.cancel(), Cancellation::TooLate);
/// # Ok::<(), state_machine::error::LogoutError>(())
/// # }).unwrap();
/// ```
pub struct Driver<A> {
    app: Arc<A>,
    config: LogoutConfig,
    progress: watch::Sender<Progress>,
    runs: Mutex<Runs>,
}

/// What is known of the runs of a driver. Never locked across an await, nor while anything else runs.
#[derive(Default)]
struct Runs {
    /// How many there were, with the one that is under way.
    count: u64,
    /// Whether one is.
    under_way: bool,
    /// Whether the last one passed the point of no return and did not complete.
    unfinished: bool,
    /// The passage of the last one.
    passage: Option<Arc<Passage>>,
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
    /// Nothing happens before the first poll. Where an earlier run passed the point of no return
    /// and did not complete, this one finishes its cleanup, from the point of no return on.
    ///
    /// It may be dropped at any point. Before the point of no return the sync service is restarted
    /// then, on the dropping thread, and where a request may have left, the intent is still recorded:
    /// another run or [`resolve_at_start`](crate::start::resolve_at_start) finds out. After the point
    /// of no return another run finishes the cleanup.
    ///
    /// # Errors
    ///
    /// [`LogoutError`]. A run that is refused because another one is under way has done nothing.
    pub async fn run(&self) -> Result<LogoutReport, LogoutError> {
        let (mut run, mut event) = Run::begin(self)?;
        while let Some(next) = run.step(event).await {
            event = next;
        }
        run.end()
    }
}

impl<A> Driver<A> {
    /// The application whose logouts it drives.
    #[must_use]
    pub fn application(&self) -> &A {
        &self.app
    }

    /// Asks for the end of the logout that is under way. From any thread, never blocks.
    ///
    /// After the end of a run, it says what would have been said at that end.
    pub fn cancel(&self) -> Cancellation {
        let (passage, under_way) = {
            let runs = self.runs();
            (runs.passage.clone(), runs.under_way)
        };
        match passage {
            Some(passage) if under_way => passage.cancel(),
            Some(passage) if passage.is_committed() => Cancellation::TooLate,
            Some(passage) if passage.is_cancelled() => Cancellation::AlreadyCancelled,
            _ => Cancellation::NotUnderWay,
        }
    }

    /// How far the logout is. What is seen first is what is now. As with any watch channel, what is
    /// borrowed from it keeps the logout from going on: clone it, or be brief.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The in-progress mark: whether a run is under way. It cannot be left set: it goes with the
    /// run, however that ends.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.runs().under_way
    }

    /// Whether the last run passed the point of no return and did not complete, so that another one
    /// is needed to finish the cleanup. As long as that is so nobody should log in.
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
