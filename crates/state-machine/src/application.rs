//! What an application implements, so that a logout can be driven: one small trait for each party.
//!
//! One type implements all of them, as a rule the one that has everything an application has; it is
//! an [`Application`] then. For all the traits:
//!
//! - Futures must be `Send`. An implementation may write `async fn`.
//! - A future may be dropped at any of its awaits: when its limit has passed, when the logout is
//!   cancelled, when the driver itself is dropped. What it has begun must not be left half-done by
//!   that, and it may be called again.
//! - Everything can be called twice, and finds done what was done before: closing what is closed is
//!   no error.
//! - None of it may block its thread for long: a limit is kept between polls, not within one.
//! - A panic inside counts as a failure of that step.
//! - None of it may run on the runtime that [`Runtime::shut_down_tasks`] takes down, or it would
//!   wait for its own end. What it needs from there it can spawn and await.

use std::{error::Error, future::Future, time::Duration};

use thiserror::Error;

/// Whatever an application says went wrong. `"the disk is full".into()` makes one, as does `?`.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The client, with everything that holds a handle of it: what is logged out and then torn down.
///
/// ```
/// use std::{sync::Mutex, time::Duration};
/// use state_machine::application::{self, Failure};
/// use sundown::session::{Guarded, Session};
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
///         // Whoever still holds a handle is named in the error, and so in the logout's warning.
///         self.session.close(limit).await?;
///         Ok(())
///     }
/// }
/// ```
pub trait Session: Send + Sync {
    /// Checks that there is a session to log out. Changes nothing.
    ///
    /// # Errors
    ///
    /// Where there is none: what is missing.
    fn check_logged_in(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Tears the session down, and returns when that has ended: every handle given up, every
    /// connection closed. It is called after the user interface has been asked to let go.
    ///
    /// `limit` is how long this may take to say so itself, or to say who still holds it; the driver
    /// gives up a little later.
    ///
    /// # Errors
    ///
    /// Where something is still held. The logout goes on, with a warning.
    fn close_session(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The service that keeps the session in step with the server.
///
/// ```
/// use std::{sync::atomic::{AtomicBool, Ordering}, time::Duration};
/// use state_machine::application::{Failure, SyncService};
///
/// struct App {
///     syncing: AtomicBool,
/// }
///
/// impl SyncService for App {
///     async fn stop_sync(&self, _limit: Duration) -> Result<(), Failure> {
///         self.syncing.store(false, Ordering::SeqCst);
///         Ok(())
///     }
///
///     fn restart_sync(&self) -> Result<(), Failure> {
///         self.syncing.store(true, Ordering::SeqCst);
///         Ok(())
///     }
/// }
/// ```
pub trait SyncService: Send + Sync {
    /// Stops it, and returns when it has stopped. `limit` is as in [`Session::close_session`].
    ///
    /// # Errors
    ///
    /// Where it could not be stopped: the logout ends here, and the service is told to run again.
    fn stop_sync(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Has it run again, also where a stop was interrupted half-way. Where it runs, this changes
    /// nothing, and where there is no session, there is nothing to do.
    ///
    /// Not asynchronous, because a driver that is dropped calls it too, on whatever thread that
    /// happens: it must not block, nor rely on a runtime's context. To have a task start it is enough.
    ///
    /// # Errors
    ///
    /// Where it cannot run: the logout's error says so.
    fn restart_sync(&self) -> Result<(), Failure>;
}

/// Why a logout request came to nothing, as far as the client can tell.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The server knows no such token: it was invalidated before, and that counts as logged out.
    #[error("the server knows no such token")]
    TokenUnknown,
    /// No byte of the request has reached the server: there was no connection. When in doubt, it is
    /// [`InDoubt`](RequestError::InDoubt).
    #[error("the request was not sent: {0}")]
    NotSent(Failure),
    /// Anything else: an error status, a reset, an answer that is not understood. The server will be
    /// asked.
    #[error(transparent)]
    InDoubt(#[from] Failure),
}

/// What a server says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// It belongs to somebody: the session is alive.
    Valid,
    /// It belongs to nobody: the session has been logged out.
    Unknown,
}

/// The server, as seen with the token of this session.
///
/// ```
/// use state_machine::application::{Failure, RequestError, Server, Token};
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
///     async fn who_am_i(&self) -> Result<Token, Failure> {
///         match self.post("whoami").await? {
///             200 => Ok(Token::Valid),
///             401 => Ok(Token::Unknown),
///             status => Err(format!("status {status}").into()),
///         }
///     }
/// }
/// ```
pub trait Server: Send + Sync {
    /// Requests the logout. Dropped before it is answered, it should close its connection, so that
    /// the request does not arrive later than need be.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    fn log_out(&self) -> impl Future<Output = Result<(), RequestError>> + Send;

    /// Asks whom the token belongs to. Where there is no token left, it is unknown.
    ///
    /// # Errors
    ///
    /// Where there is no answer, or none that says either.
    fn who_am_i(&self) -> impl Future<Output = Result<Token, Failure>> + Send;
}

/// What the user sees.
///
/// It is told of progress by [`Driver::progress`](crate::driver::Driver::progress).
///
/// ```
/// use std::sync::mpsc::Sender;
/// use state_machine::application::{Failure, UserInterface};
/// use sundown::oneshot;
///
/// /// An action of the user interface's thread, with the means to confirm it.
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
    /// Has all tabs closed, and returns when they are. Called on a desktop only.
    ///
    /// # Errors
    ///
    /// Where they cannot be closed. The logout goes on, with a warning.
    fn close_tabs(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Has user interface, caches and globals let go of all they hold of the session, and returns
    /// when they have.
    ///
    /// # Errors
    ///
    /// Where they cannot. The logout goes on, with a warning.
    fn clean_app_state(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What is on disk.
///
/// The intent says that a logout of *this session* may have been requested. A login must clear it,
/// before it writes a token: what follows is another session.
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
    /// Writes down that a logout is about to be requested. When this returns, it outlasts a power
    /// failure. [`IntentFile`](crate::intent::IntentFile) is such a record.
    ///
    /// # Errors
    ///
    /// Where it cannot be written: nothing is requested, and the logout ends here.
    fn record_intent(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether an intent is recorded.
    ///
    /// # Errors
    ///
    /// Where that cannot be told.
    fn has_intent(&self) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Forgets the intent.
    ///
    /// # Errors
    ///
    /// Where it cannot be removed. The next start will ask the server, and try again.
    fn clear_intent(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Deletes what would log this user in again at the next start. What the session itself has
    /// stored stays, for a later login.
    ///
    /// # Errors
    ///
    /// Where it cannot be deleted; where it is gone already, that is none. The logout goes on with a
    /// warning, and the next start tries again.
    fn delete_latest_user_id(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What the session's tasks run on.
///
/// ```
/// use std::{sync::Mutex, time::Duration};
/// use state_machine::application::{Failure, Runtime};
/// use sundown::group::TaskGroup;
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
    /// Ends the session's tasks, and returns when they have ended; where the runtime is to be
    /// restarted, ends that too. `limit` is as in [`Session::close_session`].
    ///
    /// # Errors
    ///
    /// Where something still runs. The logout goes on, with a warning.
    fn shut_down_tasks(&self, limit: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts a runtime for whoever logs in next. Called only where runtimes are restarted.
    ///
    /// # Errors
    ///
    /// Where none can be started: the application cannot go on, and the logout's error says so.
    fn restart_runtime(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Everything that a logout needs. Whoever implements the traits is one.
pub trait Application: Session + SyncService + Server + UserInterface + Storage + Runtime {}

impl<A: Session + SyncService + Server + UserInterface + Storage + Runtime> Application for A {}
