//! The logout of Robrix as its repository publishes it (project-robius/robrix,
//! `src/logout/logout_state_machine.rs` and `src/sliding_sync.rs` at commit 899668c), written again over
//! the mock: the same states, the same two flags, the same early returns. The write-up shows its `execute`
//! in full, and not what that calls.
//!
//! In that application the machine is a local variable of the task that logs out, so that nothing reaches
//! [`Flags::request_cancellation`]: the button *Abort* closes the dialog, and the logout goes on.

use std::{
    error::Error,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lab::TrialResult;
use mock_sdk::{
    app::{App, global::Global, requests::Request},
    client::ClientError,
};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle, time::timeout};

use crate::runtime;

/// A state of the logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the published ones")]
pub enum State {
    PreChecking,
    StoppingSyncService,
    LoggingOutFromServer,
    PointOfNoReturn,
    ClosingTabs,
    CleaningAppState,
    ShuttingDownTasks,
    RestartingRuntime,
    Completed,
    Failed,
}

/// Why a logout has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the published ones")]
pub enum LogoutError {
    ComponentsCleared,
    NoAccessToken,
    ServerLogoutFailed(String),
    Timeout,
    Cancelled,
    PostPointOfNoReturnFailure(String),
    RuntimeRestartFailed,
}

impl fmt::Display for LogoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error for LogoutError {}

/// What the user is shown at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing: the dialog still shows the last progress.
    #[default]
    Nothing,
    /// That the logout has succeeded.
    Success,
    /// That it has failed, and if that was after the point of no return, to restart the application.
    Failure,
    /// To restart the application.
    Restart,
}

/// The two flags of a machine, with their orderings.
#[derive(Debug, Default)]
pub struct Flags {
    cancellation_requested: AtomicBool,
    point_of_no_return: AtomicBool,
}

impl Flags {
    /// Requests a cancellation. Says nothing about whether that came in time; whether the request was
    /// noted is returned for the experiment.
    pub fn request_cancellation(&self) -> bool {
        let noted = !self.point_of_no_return.load(Ordering::Acquire);
        if noted {
            self.cancellation_requested.store(true, Ordering::Release);
        }
        noted
    }

    /// Whether a cancellation was requested. Each transition asks, but for those to the point of no
    /// return and to a failure.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation_requested.load(Ordering::Acquire)
    }

    /// The server has logged the user out.
    pub fn pass_point_of_no_return(&self) {
        self.point_of_no_return.store(true, Ordering::Release);
    }
}

/// A logout.
pub struct Logout<'a> {
    /// The application.
    pub app: &'a App,
    /// Its runtime.
    pub tokio_runtime: &'a Global<Option<Runtime>>,
    /// Whether there are tabs to close.
    pub is_desktop: bool,
    /// The limit of each step that has one. The published ones are 60 s for the server and 5 s for the
    /// user interface.
    pub limit: Duration,
    /// Whether no runtime can be started.
    pub no_runtime: bool,
    /// Called in each state that is entered.
    pub on_entry: &'a (dyn Fn(State, &Flags) + Sync),
    /// Its flags.
    pub flags: Flags,
    /// `LOGOUT_IN_PROGRESS`, a static in the application.
    pub in_progress: AtomicBool,
    /// What the user is told.
    pub told: Global<Told>,
}

impl<'a> Logout<'a> {
    /// A logout on the phone, with the limit that the user interface has.
    pub fn new(app: &'a App, tokio_runtime: &'a Global<Option<Runtime>>) -> Self {
        Self {
            app,
            tokio_runtime,
            is_desktop: false,
            limit: Duration::from_secs(5),
            no_runtime: false,
            on_entry: &|_, _| {},
            flags: Flags::default(),
            in_progress: AtomicBool::new(false),
            told: Global::default(),
        }
    }

    /// Whether `LOGOUT_IN_PROGRESS` is set.
    pub fn is_in_progress(&self) -> bool {
        self.in_progress.load(Ordering::Relaxed)
    }

    /// Logs out. Must be polled in the context of the runtime.
    ///
    /// # Errors
    ///
    /// [`LogoutError`].
    pub async fn execute(&self) -> Result<(), LogoutError> {
        let globals = self.app.globals();
        self.in_progress.store(true, Ordering::Relaxed);
        self.transition_to(State::PreChecking)?;
        self.perform_prechecks().or_else(|error| self.give_up(error))?;
        self.transition_to(State::StoppingSyncService)?;
        let service = globals.sync_service.get();
        match service {
            Some(service) => service.stop().await,
            None => return self.give_up(LogoutError::ComponentsCleared),
        }
        self.transition_to(State::LoggingOutFromServer)?;
        if let Err(error) = self.perform_server_logout().await {
            let service = globals.sync_service.get();
            if let Some(service) = service {
                // An error of a client that was closed, which the SDK's does not return.
                let _ = service.start();
            }
            return self.give_up(error);
        }
        self.flags.pass_point_of_no_return();
        self.transition_to(State::PointOfNoReturn)?;
        // Logged, and no more.
        let _ = self.app.files().delete_latest_user_id();
        if self.is_desktop {
            self.transition_to(State::ClosingTabs)?;
            self.confirmed(self.app.ui().close_all_tabs()).await?;
        }
        self.transition_to(State::CleaningAppState)?;
        drop(globals.client.take());
        drop(globals.sync_service.take());
        self.app.expect_worker_end();
        drop(globals.request_sender.take());
        globals.tombstoned_rooms.take();
        globals.ignored_users.take();
        drop(globals.all_joined_rooms.take());
        self.confirmed(self.app.ui().clean_app_state()).await?;
        self.transition_to(State::ShuttingDownTasks)?;
        if let Some(existing) = self.tokio_runtime.take() {
            existing.shutdown_background();
        }
        self.transition_to(State::RestartingRuntime)?;
        self.start_matrix_tokio().or_else(|_| self.give_up(LogoutError::RuntimeRestartFailed))?;
        self.transition_to(State::Completed)?;
        self.in_progress.store(false, Ordering::Relaxed);
        self.told.replace(Told::Success);
        Ok(())
    }

    fn transition_to(&self, state: State) -> Result<(), LogoutError> {
        if self.flags.is_cancelled() && !matches!(state, State::PointOfNoReturn | State::Failed) {
            // The caller returns this error by `?`, past `give_up`.
            return Err(LogoutError::Cancelled);
        }
        (self.on_entry)(state, &self.flags);
        Ok(())
    }

    /// The transition to a failure, and `handle_error`.
    fn give_up<T>(&self, error: LogoutError) -> Result<T, LogoutError> {
        self.transition_to(State::Failed)?;
        if !self.flags.point_of_no_return.load(Ordering::Relaxed) {
            self.in_progress.store(false, Ordering::Relaxed);
        }
        self.told.replace(match error {
            LogoutError::ComponentsCleared => Told::Restart,
            _ => Told::Failure,
        });
        Err(error)
    }

    fn perform_prechecks(&self) -> Result<(), LogoutError> {
        let client = self.app.globals().client.get();
        let service = self.app.globals().sync_service.get();
        match (client, service) {
            (Some(client), Some(_)) if client.access_token().is_none() => {
                Err(LogoutError::NoAccessToken)
            }
            (Some(_), Some(_)) => Ok(()),
            _ => Err(LogoutError::ComponentsCleared),
        }
    }

    /// A token that the server does not know counts as logged out.
    async fn perform_server_logout(&self) -> Result<(), LogoutError> {
        let client = self.app.globals().client.get().ok_or(LogoutError::ComponentsCleared)?;
        match timeout(self.limit, client.matrix_auth().logout()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if ClientError::is_unknown_token(&error) => Ok(()),
            Ok(Err(error)) => Err(LogoutError::ServerLogoutFailed(error.to_string())),
            Err(_) => Err(LogoutError::Timeout),
        }
    }

    async fn confirmed<E: fmt::Display>(
        &self,
        confirmation: impl Future<Output = Result<(), E>>,
    ) -> Result<(), LogoutError> {
        let error = match timeout(self.limit, confirmation).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "timed out".to_owned(),
        };
        self.give_up(LogoutError::PostPointOfNoReturnFailure(error))
    }

    fn start_matrix_tokio(&self) -> TrialResult {
        if self.no_runtime {
            return Err("there is no thread for a runtime".into());
        }
        let started = runtime()?;
        self.app.start_worker(started.handle());
        self.tokio_runtime.replace(Some(started));
        Ok(())
    }
}

/// The request worker: it ends when its channel is closed, and always with an error.
///
/// # Errors
///
/// That it has ended.
pub async fn async_worker(mut requests: mpsc::UnboundedReceiver<Request>) -> Result<(), String> {
    while let Some(request) = requests.recv().await {
        if let Request::Run(work) = request {
            work().await;
        }
    }
    Err("async_worker task ended unexpectedly".to_owned())
}

/// What the monitor does when the worker has ended: the error that it reports to the user, if it does. The
/// monitor of the write-up has no mark to look at; a later one looks at `LOGOUT_IN_PROGRESS`.
pub async fn monitor(
    worker: JoinHandle<Result<(), String>>,
    logout_in_progress: Option<&AtomicBool>,
) -> Option<String> {
    let ended = match worker.await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(error) => return Some(format!("failed to join the worker: {error}")),
    };
    let expected = logout_in_progress.is_some_and(|mark| mark.load(Ordering::Acquire));
    (!expected).then(|| format!("the worker has ended: {ended}"))
}
