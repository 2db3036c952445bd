//! An application that can log out, as often as it likes: everything that holds the client is a
//! handle of a session of the kit, the client runs on a runtime of the kit, and the logout is driven
//! by the state machine, whose traits it implements in `logout.rs`.
//!
//! It is the plain [`App`] with three things beside it: a session and a runtime for whoever is logged
//! in, and the intent to log out, on disk.

use std::{
    fmt, io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use state_machine::{
    application::Failure,
    config::{LogoutConfig, RuntimePolicy},
    driver::Driver,
    error::LogoutError,
    intent::IntentFile,
    progress::{LogoutReport, Progress},
    start::{Resolution, StartError, resolve_at_start},
};
use sundown::{
    evidence::no_open_files,
    flag::Flag,
    runtime::{RuntimeError, RuntimeOwner},
    session::{NotStarted, Session},
};

use super::{App, AppConfig, AppError, action::Action, held::InSession, ui::EventLoop};

/// How many workers each runtime has.
const WORKERS: usize = 2;

/// How long what is left of a login that came to nothing may take to end.
const ABANDON: Duration = Duration::from_secs(5);

/// Why such an application could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagedError {
    /// The application could not.
    #[error(transparent)]
    App(#[from] AppError),
    /// There is no runtime: it is down, or cannot be started.
    #[error(transparent)]
    NoRuntime(#[from] sundown::runtime::StartError),
    /// The runtime went down meanwhile.
    #[error(transparent)]
    Ended(#[from] RuntimeError),
    /// The login was on a runtime that was shut down before it was over.
    #[error("the runtime was shut down during the login; log in again when there is one")]
    Interrupted,
    /// There is nothing to start a session with.
    #[error(transparent)]
    NoSession(#[from] NotStarted),
    /// The last logout has passed the point of no return and is not at its end.
    #[error("the last logout has not been finished; run it again, and log in after that")]
    LoggingOut,
    /// The record of an intent to log out could not be cleared: the next start would take this
    /// session for one that is to be logged out.
    #[error(transparent)]
    Intent(#[from] io::Error),
    /// What became of an earlier logout could not be settled.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// An application with a session, a runtime, and a logout.
///
/// With [`RuntimePolicy::Restart`] it has one runtime, which the client runs on, and which a logout
/// shuts down and starts again. With [`RuntimePolicy::Keep`] that runtime is for everything else and
/// stays, and each login has one of its own.
///
/// ```
/// use std::sync::Arc;
/// use mock_sdk::{
///     app::{AppConfig, action::Action, managed::ManagedApp}, homeserver::Homeserver,
/// };
/// use state_machine::{config::{LogoutConfig, RuntimePolicy}, driver::Driver};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let server = Homeserver::start()?;
/// server.add_user("me", "secret");
/// let config = AppConfig::new(&server.url(), directory.path());
/// let (managed, event_loop) = ManagedApp::start(config, RuntimePolicy::Restart)?;
/// let (managed, ui) = (Arc::new(managed), event_loop.spawn()?);
/// let driver = Driver::new(Arc::clone(&managed), managed.logout_config());
///
/// // On any executor but the runtime that goes down.
/// futures::executor::block_on(async {
///     managed.log_in("me", "secret").await?;
///     let report = ManagedApp::log_out(&driver).await?;
///     assert!(report.warnings.is_empty());
///     managed.log_in("me", "secret").await?;
///     ManagedApp::log_out(&driver).await?;
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })?;
/// managed.runtime().shutdown_blocking(None)?;
/// managed.app().ui().post(Action::Quit)?;
/// ui.join()?;
/// # Ok(()) }
/// ```
pub struct ManagedApp {
    pub(super) app: App,
    pub(super) intent: IntentFile,
    pub(super) policy: RuntimePolicy,
    pub(super) runtime: RuntimeOwner,
    /// By the session of whoever is logged in.
    guarding: InSession,
    stay: Mutex<Option<Stay>>,
}

/// The time from a login to its logout.
#[derive(Clone)]
pub(super) struct Stay {
    /// What everything that holds the client is a handle of.
    pub(super) session: Session,
    /// What the client runs on.
    pub(super) runtime: RuntimeOwner,
    /// The logout takes it apart.
    pub(super) leaving: Arc<Flag>,
}

impl ManagedApp {
    /// Starts the application's runtime, and makes an application on it in which nobody is logged in.
    /// How it holds handles is not for the configuration to say.
    ///
    /// # Errors
    ///
    /// [`ManagedError::NoRuntime`].
    pub fn start(
        mut config: AppConfig,
        policy: RuntimePolicy,
    ) -> Result<(Self, EventLoop), ManagedError> {
        let runtime = RuntimeOwner::builder("app").workers(WORKERS).start()?;
        let guarding = InSession::default();
        config.holding = Arc::new(guarding.clone());
        let intent = IntentFile::new(config.directory.join("logout_intent"));
        let (app, event_loop) = App::new(config);
        Ok((Self { app, intent, policy, runtime, guarding, stay: Mutex::default() }, event_loop))
    }

    /// The application.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// The application's own runtime. A restart keeps its owner: this is always the one there is.
    #[must_use]
    pub const fn runtime(&self) -> &RuntimeOwner {
        &self.runtime
    }

    /// The default limits, for the mode that the screen is in and the policy of this application.
    #[must_use]
    pub fn logout_config(&self) -> LogoutConfig {
        let screen = match self.app.ui().screen().borrow().mode {
            super::action::Mode::Desktop => state_machine::config::Screen::Desktop,
            super::action::Mode::Mobile => state_machine::config::Screen::Mobile,
        };
        LogoutConfig { screen, runtime: self.policy, ..LogoutConfig::default() }
    }

    /// Logs in as [`App::log_in`] does, with a session and a worker for it. May be awaited under any
    /// executor. Dropped half-way, the login is given up, and what is left of it ends at the next.
    ///
    /// # Errors
    ///
    /// [`ManagedError`]. What had been begun is undone.
    pub async fn log_in(&self, user: &str, password: &str) -> Result<String, ManagedError> {
        let stay = self.begin().await?;
        let (app, intent) = (self.app.clone(), self.intent.clone());
        let (user, password) = (user.to_owned(), password.to_owned());
        let login = async move {
            // It was about the session before this one.
            intent.clear()?;
            Ok(app.log_in(&user, &password).await?)
        };
        self.or_undone(stay, login).await
    }

    /// Settles what became of an earlier logout, and then goes on with the session of whoever was
    /// logged in last: what an application does when it starts. `None` where that is nobody, or where
    /// it has been logged out.
    ///
    /// Where the server does not say, the session is taken for alive: a logout will find out.
    ///
    /// # Errors
    ///
    /// [`ManagedError`]. What had been begun is undone.
    pub async fn log_in_latest(
        &self,
        limits: &LogoutConfig,
    ) -> Result<Option<String>, ManagedError> {
        match resolve_at_start(self, limits).await? {
            Resolution::LoggedOut => return Ok(None),
            Resolution::InDoubt(trouble) => {
                tracing::warn!(%trouble, "whether the last logout took place is not known");
            }
            Resolution::NothingRecorded | Resolution::StillLoggedIn => {}
        }
        let stay = self.begin().await?;
        let app = self.app.clone();
        let user = self.or_undone(stay, async move { Ok(app.log_in_latest().await?) }).await?;
        if user.is_none() {
            self.abandon().await;
        }
        Ok(user)
    }

    /// Logs out, and shows the user how that goes and what it came to. It must not be awaited on the
    /// runtime that goes down: neither the application's nor the session's.
    ///
    /// # Errors
    ///
    /// As [`Driver::run`].
    pub async fn log_out(driver: &Driver<Self>) -> Result<LogoutReport, LogoutError> {
        let mut progress = driver.progress();
        let ui = driver.application().app.ui();
        let mut run = pin!(driver.run());
        // Where the user interface is gone, nobody has to be shown.
        let ended = loop {
            tokio::select! {
                // What is shown first is what was there first.
                biased;
                Ok(()) = progress.changed() => {
                    let Progress { percent, message, .. } = progress.borrow_and_update().clone();
                    let _ = ui.post(Action::LogoutProgress { percent, message });
                }
                ended = &mut run => break ended,
            }
        };
        let _ = ui.post(match &ended {
            Ok(_) => Action::LogoutSuccess,
            Err(error) => Action::LogoutFailure { reason: error.to_string() },
        });
        ended
    }

    /// How many handles of the session there are values for: the client, its rooms and timelines.
    #[must_use]
    pub fn guarded_values(&self) -> usize {
        self.stay().as_ref().map_or(0, |stay| stay.session.values())
    }

    /// The time between a login and its logout, if this is one.
    pub(super) fn current(&self) -> Option<Stay> {
        self.stay().clone()
    }

    /// It is over.
    pub(super) fn leave(&self) {
        drop(self.guarding.replace(None));
        let stay = self.stay().take();
        drop(stay);
    }

    fn stay(&self) -> MutexGuard<'_, Option<Stay>> {
        self.stay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what a login needs.
    async fn begin(&self) -> Result<Stay, ManagedError> {
        self.app.not_logged_in()?;
        if let Some(stay) = self.current() {
            if stay.leaving.is_raised() {
                return Err(ManagedError::LoggingOut);
            }
            // A login that was dropped half-way.
            self.abandon().await;
        }
        let runtime = match self.policy {
            RuntimePolicy::Restart => self.runtime.clone(),
            RuntimePolicy::Keep => RuntimeOwner::builder("session").workers(WORKERS).start()?,
        };
        let handle = runtime.handle()?;
        let evidence = no_open_files(self.app.files().stores());
        let session = Session::builder("matrix").evidence(evidence).start()?;
        let stay = Stay { session: session.clone(), runtime, leaving: Arc::default() };
        self.stay().replace(stay.clone());
        drop(self.guarding.replace(Some(session)));
        self.app.start_worker(&handle);
        Ok(stay)
    }

    async fn or_undone<T: Send + 'static>(
        &self,
        stay: Stay,
        login: impl Future<Output = Result<T, ManagedError>> + Send + 'static,
    ) -> Result<T, ManagedError> {
        let ended = match on(&stay.runtime, "login", login).await {
            Ok(ended) => ended.unwrap_or(Err(ManagedError::Interrupted)),
            Err(down) => Err(down.into()),
        };
        if ended.is_err() {
            self.abandon().await;
        }
        ended
    }

    /// Ends what a login that came to nothing has left. What does not end is warned of by the kit.
    async fn abandon(&self) {
        let Some(stay) = self.current() else { return };
        self.app.expect_worker_end();
        drop(self.app.globals().request_sender.take());
        if self.policy == RuntimePolicy::Keep {
            let _ = stay.runtime.shutdown(ABANDON).await;
        }
        let _ = stay.session.close(ABANDON).await;
        self.leave();
    }
}

/// Runs something on a runtime, and returns what came of it; `None` where the runtime went down
/// before. Dropped, it drops what runs there, too.
pub(super) async fn on<T: Send + 'static>(
    runtime: &RuntimeOwner,
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<Option<T>, RuntimeError> {
    let (_wanted, mut dropped) = tokio::sync::oneshot::channel::<()>();
    let done = runtime.spawn(name, |_stop| async move {
        tokio::select! {
            biased;
            _ = &mut dropped => None,
            done = work => Some(done),
        }
    })?;
    Ok(done.await.ok().flatten())
}

/// The same, with everything that can go wrong in one.
pub(super) async fn done_on<T: Send + 'static>(
    runtime: &RuntimeOwner,
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let done = on(runtime, name, work).await?;
    done.ok_or_else(|| "the runtime was shut down meanwhile".into())
}

impl fmt::Debug for ManagedApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedApp")
            .field("app", &self.app)
            .field("policy", &self.policy)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}
