//! The traits that an application implements: one for each party of a logout.
//!
//! Usually the type that owns everything implements all of them, and so is an [`Application`]. For all
//! the traits:
//!
//! - Futures must be `Send`. An implementation may write `async fn`.
//! - A future may be dropped at any await: at its limit, at a cancel, or with the driver. Leave nothing
//!   half-done then.
//! - Every method may be called twice. Succeed if the work is already done.
//! - Do not block the thread for long, because a limit is kept between polls, not within one.
//! - A panic counts as a failure of the step.
//! - Do not poll these futures on the runtime that [`Runtime::shut_down_tasks`] takes down, or they
//!   would wait for their own end. They can spawn work there and await it.

use std::{error::Error, future::Future, time::Duration};

use thiserror::Error;

/// Any error of an application. Use `?`, or `"the disk is full".into()`.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The client, and everything that holds a handle of it. It is logged out and then torn down.
///
/// ```
/// use std::{sync::Mutex, time::Duration};
/// use sundown::logout::application::{self, Failure};
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
///         // The error says where the remaining handles were created, and so does the warning.
///         self.session.close(limit).await?;
///         Ok(())
///     }
/// }
/// ```
pub trait Session: Send + Sync {
    /// Checks that there is a session to log out, and changes nothing. The error says what is missing.
    fn check_logged_in(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Tears the session down, and returns when every handle is dropped and every connection closed.
    /// Called after [`UserInterface::clean_app_state`].
    ///
    /// The implementation has until `limit` to report what went wrong; the driver gives up a little
    /// later. Return an error if handles or connections are left: the logout goes on, with a warning.
    fn close_session(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The service that keeps the session in step with the server.
pub trait SyncService: Send + Sync {
    /// Stops the service, and returns when it has stopped. `limit` is as in
    /// [`Session::close_session`]. After an error, the logout ends and restarts the service.
    fn stop_sync(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts the service again, even if a stop was interrupted. If the service is running or there is
    /// no session, this must change nothing. It may only start a task and return.
    ///
    /// This is not asynchronous because a dropped driver calls it too, on any thread. It must not
    /// block, nor rely on runtime context. An error becomes a warning of the logout.
    fn restart_sync(&self) -> Result<(), Failure>;
}

/// Why a logout request failed, as far as the client knows.
#[derive(Error)]
pub enum RequestError {
    /// The server does not know the token, because it was invalidated before. Counts as logged out.
    #[error("the server knows no such token")]
    TokenUnknown,
    /// No byte of the request has reached the server, because there was no connection. If in doubt,
    /// return [`InDoubt`](RequestError::InDoubt).
    #[error("the request was not sent: {0}")]
    NotSent(Failure),
    /// Anything else: an error status, a reset, an unexpected answer. The driver asks the server.
    #[error(transparent)]
    InDoubt(#[from] Failure),
}

sundown_core::debug_as_text!(RequestError);

/// What a server says about the session's access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessToken {
    /// It belongs to a user: the session is alive.
    Valid,
    /// It belongs to nobody: the session has been logged out.
    Unknown,
}

/// The server, accessed with the token of this session.
///
/// ```
/// use sundown::logout::application::{Failure, RequestError, Server, AccessToken};
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

    /// Asks whom the token belongs to. Return [`AccessToken::Unknown`] if the application has no token
    /// left, and an error if the answer is missing or unclear.
    fn who_am_i(&self) -> impl Future<Output = Result<AccessToken, Failure>> + Send;
}

/// The user interface. It can watch [`Driver::progress`](crate::driver::Driver::progress).
///
/// ```
/// use std::sync::mpsc::Sender;
/// use sundown::logout::application::{Failure, UserInterface};
/// use sundown::oneshot;
///
/// /// An action for the user interface's thread, which confirms it through the sender.
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

    /// Makes the user interface, caches and globals drop everything of the session, and returns when
    /// they have. After an error, the logout goes on with a warning.
    fn clean_app_state(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The files on disk.
///
/// The intent means that a logout of *this session* may have been requested. A login must clear it
/// before writing a token, because that token belongs to another session.
///
/// ```
/// use std::{fs, io, path::PathBuf};
/// use sundown::logout::{application::{Failure, Storage}, intent::IntentFile};
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

    /// Whether an intent is recorded.
    fn has_intent(&self) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Clears the intent. After an error, the next start asks the server and tries again.
    fn clear_intent(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Deletes the id by which the next start would restore this session. Keeps what the session has
    /// stored, for a later login.
    ///
    /// After an error, the logout goes on with a warning, and the next start tries again.
    fn delete_latest_user_id(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The runtime that the session's tasks run on.
///
/// ```
/// use std::time::Duration;
/// use sundown::logout::application::{Failure, Runtime};
/// use sundown::{GracefulShutdown, RuntimeOwner, TaskGroup, shutdown_in_order};
///
/// struct App {
///     tasks: TaskGroup,
///     /// Not the runtime that the logout is driven on: that one cannot wait for its own end.
///     runtime: RuntimeOwner,
/// }
///
/// impl Runtime for App {
///     async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
///         let in_order: [&dyn GracefulShutdown; 2] = [&self.tasks, &self.runtime];
///         let ended: Result<Vec<_>, _> =
///             shutdown_in_order(in_order, limit).await.into_iter().collect();
///         Ok(ended.map(drop)?)
///     }
///
///     async fn restart_runtime(&self) -> Result<(), Failure> {
///         Ok(self.runtime.restart()?)
///     }
/// }
/// ```
pub trait Runtime: Send + Sync {
    /// Ends the session's tasks, and also their runtime if it is to be restarted. Returns when they
    /// have ended. `limit` is as in [`Session::close_session`]. Return an error if something still
    /// runs: the logout goes on, with a warning.
    fn shut_down_tasks(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts a runtime for the next login. Called only if runtimes are restarted. After an error, the
    /// logout fails.
    fn restart_runtime(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Any type that implements all the traits.
pub trait Application: Session + SyncService + Server + UserInterface + Storage + Runtime {}

impl<A: Session + SyncService + Server + UserInterface + Storage + Runtime> Application for A {}
