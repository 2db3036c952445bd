//! What an application implements, so that a logout can be driven: one small trait for each party.
//!
//! Usually one type implements all of them, the one that owns everything; it is an [`Application`]
//! then. For all the traits:
//!
//! - Futures must be `Send`. An implementation may write `async fn`.
//! - A future may be dropped at any await: at its limit, at a cancel, or with the driver. That must
//!   not leave anything half-done, and the call may be repeated.
//! - Every call may come twice. What is already done is no error: closing what is closed succeeds.
//! - No call may block its thread for long, because a limit is kept between polls, not within one.
//! - A panic counts as a failure of the step.
//! - No call may run on the runtime that [`Runtime::shut_down_tasks`] takes down, or it would wait for
//!   its own end. It can spawn work there and await it.

use std::{error::Error, future::Future, time::Duration};

use thiserror::Error;

/// Any error of an application. `"the disk is full".into()` makes one, as does `?`.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The client, and everything that holds a handle of it: what is logged out and then torn down.
///
/// ```
/// use std::{sync::Mutex, time::Duration};
/// use state_machine::application::{self, Failure};
/// use sundown::{Guarded, Session};
///
/// struct Client;
///
/// struct App {
///     session: Session,
///     client: Mutex<Option<Guarded<Client>>>,
/// }
///
/// impl application::Session for App {
///     async fn check_logged_in(&self) -> Result<(), Failure> {
///         match &*self.client.lock().map_err(|_| "the client is lost")? {
///             Some(_) => Ok(()),
///             None => Err("nobody is logged in".into()),
///         }
///     }
///
///     async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
///         drop(self.client.lock().map_err(|_| "the client is lost")?.take());
///         // The error names whoever still holds a handle, and so does the logout's warning.
///         self.session.close(limit).await?;
///         Ok(())
///     }
/// }
/// ```
pub trait Session: Send + Sync {
    /// Checks that there is a session to log out, and changes nothing. An error says what is missing.
    fn check_logged_in(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Tears the session down, and returns when every handle is gone and every connection closed. It
    /// is called after the user interface was asked to let go of the session.
    ///
    /// The implementation has until `limit` to report what went wrong; the driver gives up a little
    /// later. An error means that something is still held: the logout goes on, with a warning.
    fn close_session(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The service that keeps the session in step with the server.
pub trait SyncService: Send + Sync {
    /// Stops the service, and returns when it has stopped. `limit` is as in
    /// [`Session::close_session`].
    ///
    /// An error means that it could not be stopped. The logout ends, and restarts the service.
    fn stop_sync(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts the service again, even if a stop was interrupted. If the service is running or there is
    /// no session, this changes nothing. It is enough to start a task.
    ///
    /// This is not asynchronous because a dropped driver calls it too, on any thread. It must not
    /// block, nor rely on runtime context.
    ///
    /// An error means that the service cannot run. It becomes a warning of the logout.
    fn restart_sync(&self) -> Result<(), Failure>;
}

/// Why a logout request failed, as far as the client can tell.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The server does not know the token: it was invalidated before. That counts as logged out.
    #[error("the server knows no such token")]
    TokenUnknown,
    /// No byte of the request has reached the server, because there was no connection. If in doubt,
    /// return [`InDoubt`](RequestError::InDoubt).
    #[error("the request was not sent: {0}")]
    NotSent(Failure),
    /// Anything else: an error status, a reset, an answer that makes no sense. The driver asks the
    /// server.
    #[error(transparent)]
    InDoubt(#[from] Failure),
}

/// What a server says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessToken {
    /// It belongs to a user: the session is alive.
    Valid,
    /// It belongs to nobody: the session has been logged out.
    Unknown,
}

/// The server, as seen with the token of this session.
///
/// ```
/// use state_machine::application::{Failure, RequestError, Server, AccessToken};
///
/// # struct App;
/// # impl App { async fn post(&self, _: &str) -> Result<u16, std::io::Error> { Ok(200) } }
/// impl Server for App {
///     async fn log_out(&self) -> Result<(), RequestError> {
///         match self.post("logout").await {
///             Ok(200) => Ok(()),
///             Ok(401) => Err(RequestError::TokenUnknown),
///             Ok(status) => Err(RequestError::InDoubt(format!("status {status}").into())),
///             Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
///                 Err(RequestError::NotSent(error.into()))
///             }
///             Err(error) => Err(RequestError::InDoubt(error.into())),
///         }
///     }
///
///     async fn who_am_i(&self) -> Result<AccessToken, Failure> {
///         match self.post("whoami").await? {
///             200 => Ok(AccessToken::Valid),
///             401 => Ok(AccessToken::Unknown),
///             status => Err(format!("status {status}").into()),
///         }
///     }
/// }
/// ```
pub trait Server: Send + Sync {
    /// Requests the logout. If the future is dropped before the answer, it should close its
    /// connection, so that the request does not arrive later than it must.
    fn log_out(&self) -> impl Future<Output = Result<(), RequestError>> + Send;

    /// Asks whom the token belongs to. If there is no token left, it is unknown. An error means that
    /// there is no answer, or none that says either.
    fn who_am_i(&self) -> impl Future<Output = Result<AccessToken, Failure>> + Send;
}

/// The user interface. [`Driver::progress`](crate::driver::Driver::progress) tells it about progress.
///
/// ```
/// use std::sync::mpsc::Sender;
/// use state_machine::application::{Failure, UserInterface};
/// use sundown::oneshot;
///
/// /// An action for the user interface's thread, with the means to confirm it.
/// enum Action {
///     CloseAllTabs(oneshot::Sender<()>),
///     CleanAppState(oneshot::Sender<()>),
/// }
///
/// struct App {
///     actions: Sender<Action>,
/// }
///
/// impl App {
///     async fn confirmed(&self, action: fn(oneshot::Sender<()>) -> Action) -> Result<(), Failure> {
///         let (confirm, confirmed) = oneshot::channel();
///         self.actions.send(action(confirm))?;
///         Ok(confirmed.await?)
///     }
/// }
///
/// impl UserInterface for App {
///     async fn close_tabs(&self) -> Result<(), Failure> {
///         self.confirmed(Action::CloseAllTabs).await
///     }
///
///     async fn clean_app_state(&self) -> Result<(), Failure> {
///         self.confirmed(Action::CleanAppState).await
///     }
/// }
/// ```
pub trait UserInterface: Send + Sync {
    /// Closes all tabs, and returns when they are closed. Called on a desktop only. After an error,
    /// the logout goes on with a warning.
    fn close_tabs(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes the user interface, caches and globals drop all that they hold of the session, and
    /// returns when they have. After an error, the logout goes on with a warning.
    fn clean_app_state(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What is on disk.
///
/// The intent says that a logout of *this session* may have been requested. A login must clear it
/// before it writes a token, because the token belongs to another session.
///
/// ```
/// use std::{fs, io, path::PathBuf};
/// use state_machine::{application::{Failure, Storage}, intent::IntentFile};
///
/// struct App {
///     intent: IntentFile,
///     latest_user_id: PathBuf,
/// }
///
/// impl Storage for App {
///     async fn record_intent(&self) -> Result<(), Failure> {
///         Ok(self.intent.record()?)
///     }
///
///     async fn has_intent(&self) -> Result<bool, Failure> {
///         Ok(self.intent.is_recorded()?)
///     }
///
///     async fn clear_intent(&self) -> Result<(), Failure> {
///         Ok(self.intent.clear()?)
///     }
///
///     async fn delete_latest_user_id(&self) -> Result<(), Failure> {
///         match fs::remove_file(&self.latest_user_id) {
///             Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
///             _ => Ok(()),
///         }
///     }
/// }
/// ```
pub trait Storage: Send + Sync {
    /// Records that a logout is about to be requested. When this returns, the record survives a power
    /// failure. [`IntentFile`](crate::intent::IntentFile) is such a record.
    ///
    /// After an error, nothing is requested and the logout ends.
    fn record_intent(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether an intent is recorded. An error means that this is not known.
    fn has_intent(&self) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Clears the intent. After an error, the next start asks the server and tries again.
    fn clear_intent(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Deletes what would log this user in again at the next start. What the session itself has stored
    /// stays, for a later login.
    ///
    /// After an error, the logout goes on with a warning, and the next start tries again.
    fn delete_latest_user_id(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What the session's tasks run on.
///
/// ```
/// use std::{sync::Mutex, time::Duration};
/// use state_machine::application::{Failure, Runtime};
/// use sundown::TaskGroup;
///
/// struct App {
///     tasks: TaskGroup,
///     runtime: Mutex<Option<tokio::runtime::Runtime>>,
/// }
///
/// impl Runtime for App {
///     async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
///         let report = self.tasks.drain(limit).await;
///         match report.still_running.len() {
///             0 => Ok(()),
///             left => Err(format!("{left} tasks have not ended").into()),
///         }
///     }
///
///     async fn restart_runtime(&self) -> Result<(), Failure> {
///         let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
///         *self.runtime.lock().map_err(|_| "the runtime is lost")? = Some(runtime);
///         Ok(())
///     }
/// }
/// ```
pub trait Runtime: Send + Sync {
    /// Ends the session's tasks, and also their runtime if it is to be restarted. Returns when they
    /// have ended. `limit` is as in [`Session::close_session`].
    ///
    /// An error means that something still runs. The logout goes on, with a warning.
    fn shut_down_tasks(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts a runtime for the next login. Called only if runtimes are restarted.
    ///
    /// After an error, the application cannot go on, and the logout fails.
    fn restart_runtime(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Everything that a logout needs: any type that implements the traits.
pub trait Application: Session + SyncService + Server + UserInterface + Storage + Runtime {}

impl<A: Session + SyncService + Server + UserInterface + Storage + Runtime> Application for A {}
