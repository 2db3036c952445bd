//! An application that can log out, as often as it likes. Everything that holds the client is a handle
//! of a session of the kit, the client runs on a runtime of the kit, and the state machine drives the
//! logout (`logout.rs` implements its traits).
//!
//! It is the plain [`App`] with three things beside it: a session and a runtime for each login, and the
//! intent to log out, on disk.

use std::{
    fmt, io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use state_machine::{
    config::{LogoutConfig, RuntimePolicy, Screen},
    driver::Driver,
    error::LogoutError,
    intent::IntentFile,
    progress::{LogoutReport, Progress},
    recovery::{RecoveryError, Resolution, resolve_at_start},
};
use sundown::{
    evidence::no_open_files,
    flag::Flag,
    runtime::{RuntimeError, RuntimeOwner},
    session::{NotStarted, Session},
};

use super::{
    App, AppConfig, AppError,
    action::{Action, Mode},
    global::Global,
    held::Holding,
    ui::EventLoop,
};

/// How many worker threads poll the tasks of each runtime.
pub const WORKERS: usize = 2;

/// How long the rest of a failed login may take to end.
const ABANDON: Duration = Duration::from_secs(5);

/// Why the application could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagedError {
    /// The application failed.
    #[error(transparent)]
    App(#[from] AppError),
    /// There is no runtime: it is down, or cannot be started.
    #[error(transparent)]
    NoRuntime(#[from] sundown::runtime::StartError),
    /// The runtime went down meanwhile.
    #[error(transparent)]
    Ended(#[from] RuntimeError),
    /// The runtime of the login was shut down before the login was complete.
    #[error("the runtime was shut down during the login; log in again when there is one")]
    Interrupted,
    /// The session could not be started.
    #[error(transparent)]
    NoSession(#[from] NotStarted),
    /// The last logout has passed the point of no return and is not complete.
    #[error("the last logout is not complete; run it again, then log in")]
    LoggingOut,
    /// The recorded intent to log out could not be cleared: the next start would apply it to this
    /// session.
    #[error(transparent)]
    Intent(#[from] io::Error),
    /// An earlier logout could not be settled.
    #[error(transparent)]
    Start(#[from] RecoveryError),
}

/// An application with a session, a runtime, and a logout.
///
/// With [`RuntimePolicy::Restart`] it has one runtime, which the client runs on, and which a logout shuts
/// down and starts again. With [`RuntimePolicy::Keep`] that runtime is for everything else and stays, and
/// each login has one of its own.
///
/// ```
/// use std::sync::Arc;
/// use mock_sdk::{
///     app::{AppConfig, action::Action, managed::ManagedApp}, homeserver::Homeserver,
/// };
/// use state_machine::{config::RuntimePolicy, driver::Driver};
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
    /// The session that guards new handles.
    guard: Arc<Global<Option<Session>>>,
    login: Mutex<Option<Login>>,
}

/// What exists from a login to its logout.
#[derive(Clone)]
pub(super) struct Login {
    /// Guards everything that holds the client.
    pub(super) session: Session,
    /// Runs the client.
    pub(super) runtime: RuntimeOwner,
    /// Raised when a logout takes the login apart.
    pub(super) leaving: Arc<Flag>,
}

impl ManagedApp {
    /// Starts the application's runtime, and makes an application in which nobody is logged in. Replaces
    /// [`AppConfig::holding`] with a session for each login.
    ///
    /// # Errors
    ///
    /// [`ManagedError::NoRuntime`].
    pub fn start(
        mut config: AppConfig,
        policy: RuntimePolicy,
    ) -> Result<(Self, EventLoop), ManagedError> {
        let runtime = RuntimeOwner::builder("app").workers(WORKERS).start()?;
        let guard = Arc::default();
        config.holding = Holding::Guarded(Arc::clone(&guard));
        let intent = IntentFile::new(config.directory.join("logout_intent"));
        let (app, event_loop) = App::new(config);
        Ok((Self { app, intent, policy, runtime, guard, login: Mutex::default() }, event_loop))
    }

    /// The application.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// The application's own runtime. A restart keeps this owner.
    pub const fn runtime(&self) -> &RuntimeOwner {
        &self.runtime
    }

    /// The default limits of a logout, for the screen and the policy of this application.
    #[must_use]
    pub fn logout_config(&self) -> LogoutConfig {
        let screen = match self.app.ui().screen().borrow().mode {
            Mode::Desktop => Screen::Desktop,
            Mode::Mobile => Screen::Mobile,
        };
        LogoutConfig { screen, runtime: self.policy, ..LogoutConfig::default() }
    }

    /// Logs in as [`App::log_in`] does, with a new session and a new worker. May be awaited under any
    /// executor. If the future is dropped half-way, the next login undoes this one.
    ///
    /// # Errors
    ///
    /// [`ManagedError`]. What had begun is undone.
    pub async fn log_in(&self, user: &str, password: &str) -> Result<String, ManagedError> {
        let login = self.begin().await?;
        let (app, intent) = (self.app.clone(), self.intent.clone());
        let (user, password) = (user.to_owned(), password.to_owned());
        let work = async move {
            // The recorded intent is about an earlier session.
            intent.clear()?;
            Ok(app.log_in(&user, &password).await?)
        };
        self.finish(login, work).await
    }

    /// What an application does when it starts: settles an earlier logout, then continues the session of
    /// the latest user. `None` if there is none, or it has been logged out.
    ///
    /// If the server does not say whether it logged the session out, the session counts as alive: a
    /// later logout will find out.
    ///
    /// # Errors
    ///
    /// [`ManagedError`]. What had begun is undone.
    pub async fn log_in_latest(
        &self,
        limits: &LogoutConfig,
    ) -> Result<Option<String>, ManagedError> {
        match resolve_at_start(self, limits).await? {
            Resolution::LoggedOut => return Ok(None),
            Resolution::InDoubt(trouble) => {
                tracing::warn!(%trouble, "it is unknown whether the last logout took place");
            }
            Resolution::NothingRecorded | Resolution::StillLoggedIn => {}
        }
        let login = self.begin().await?;
        let app = self.app.clone();
        let user = self.finish(login, async move { Ok(app.log_in_latest().await?) }).await?;
        if user.is_none() {
            self.abandon().await;
        }
        Ok(user)
    }

    /// Logs out, and shows the user the progress and the result. Must not be awaited on the runtime that
    /// goes down: neither the application's nor the login's.
    ///
    /// # Errors
    ///
    /// As [`Driver::run`].
    pub async fn log_out(driver: &Driver<Self>) -> Result<LogoutReport, LogoutError> {
        let mut progress = driver.progress();
        let ui = driver.application().app.ui();
        let mut run = pin!(driver.run());
        // The user interface may have ended.
        let ended = loop {
            tokio::select! {
                // In this order, so that progress is shown before the end.
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

    /// The current login, if there is one.
    pub(super) fn login(&self) -> Option<Login> {
        self.lock().clone()
    }

    /// The login is over.
    pub(super) fn forget_login(&self) {
        drop(self.guard.replace(None));
        let login = self.lock().take();
        drop(login);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares a login: its runtime, its session, its worker.
    async fn begin(&self) -> Result<Login, ManagedError> {
        self.app.check_logged_out()?;
        if let Some(login) = self.login() {
            if login.leaving.is_raised() {
                return Err(ManagedError::LoggingOut);
            }
            // A login whose future was dropped half-way.
            self.abandon().await;
        }
        let runtime = match self.policy {
            RuntimePolicy::Restart => self.runtime.clone(),
            RuntimePolicy::Keep => RuntimeOwner::builder("session").workers(WORKERS).start()?,
        };
        let handle = runtime.handle()?;
        let evidence = no_open_files(self.app.files().stores());
        let session = Session::builder("matrix").evidence(evidence).start()?;
        let login = Login { session: session.clone(), runtime, leaving: Arc::default() };
        self.lock().replace(login.clone());
        drop(self.guard.replace(Some(session)));
        self.app.start_worker(&handle);
        Ok(login)
    }

    /// Carries a login out on its runtime, and undoes it if it fails.
    async fn finish<T: Send + 'static>(
        &self,
        login: Login,
        work: impl Future<Output = Result<T, ManagedError>> + Send + 'static,
    ) -> Result<T, ManagedError> {
        let ended = match run_on(&login.runtime, "login", work).await {
            Ok(ended) => ended.unwrap_or(Err(ManagedError::Interrupted)),
            Err(down) => Err(down.into()),
        };
        if ended.is_err() {
            self.abandon().await;
        }
        ended
    }

    /// Ends what a failed login has left. The kit warns of what does not end.
    async fn abandon(&self) {
        let Some(login) = self.login() else { return };
        self.app.expect_worker_end();
        drop(self.app.globals().request_sender.take());
        if self.policy == RuntimePolicy::Keep {
            let _ = login.runtime.shutdown(ABANDON).await;
        }
        let _ = login.session.close(ABANDON).await;
        self.forget_login();
    }
}

/// Runs work on a runtime, and returns its result; `None` if the runtime went down first. Dropping the
/// future drops the work there, too.
pub(super) async fn run_on<T: Send + 'static>(
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

impl fmt::Debug for ManagedApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedApp")
            .field("app", &self.app)
            .field("policy", &self.policy)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}
