//! An application around the client, as the write-up of Robrix's logout describes its: a user
//! interface with tabs and caches that hold rooms, a request channel with a worker at its end, and
//! globals that everything reaches into.
//!
//! [`App`] is the pieces and no logout: in which order one takes them apart is the question, and the
//! experiments ask it. Nor does it own a runtime. Whoever does has it run the worker
//! ([`App::start_worker`]), and logs in on it. [`ManagedApp`](managed::ManagedApp) is the answer: the
//! same application with a session, a runtime, and a logout by the state machine. What closing the
//! window does is said by an exit plan ([`App::add_to`]), of which a logout knows nothing.
//!
//! ```
//! use std::time::Duration;
//! use mock_sdk::{app::{App, AppConfig, action::Action, requests::Request}, homeserver::Homeserver};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let server = Homeserver::start()?;
//! server.add_user("me", "secret");
//! server.say("!a:example.org", "other", "hello");
//! let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
//!
//! let (app, event_loop) = App::new(AppConfig::new(&server.url(), directory.path()));
//! let ui = event_loop.spawn()?;
//! app.start_worker(runtime.handle());
//! let user = runtime.block_on(app.log_in("me", "secret"))?;
//! assert_eq!(app.files().latest_user_id()?, Some(user));
//!
//! // One end of many: the cooperative one, in order.
//! let confirmed = app.ui().clean_app_state();
//! runtime.block_on(async {
//!     confirmed.await?;
//!     app.globals().sync_service.take();
//!     let client = app.globals().client.take();
//!     app.expect_worker_end();
//!     app.globals().request_sender.take();
//!     if let Some(client) = client {
//!         client.matrix_auth().logout().await?;
//!         client.close().await?;
//!     }
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! app.files().delete_latest_user_id()?;
//! app.ui().post(Action::Quit)?;
//! ui.join()?;
//! # Ok(()) }
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sundown::flag::Flag;
use tokio::sync::watch;

pub mod action;
mod caches;
pub mod exit;
pub mod files;
pub mod globals;
pub mod held;
mod logout;
pub mod managed;
pub mod requests;
pub mod ui;

use action::{Action, Mode};
use files::{FilesError, SessionFiles, StoredSession};
use globals::{Global, Globals};
use held::{Held, Holding, NotHeld, Plainly};
use requests::WorkerState;
use ui::{EventLoop, Ui, UiGone};

use crate::{
    client::{Client, ClientError, Room},
    store::{Generation, Session},
    sync::SyncService,
};

/// Why the application could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The client could not.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What came from the SDK could not be held as it should.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// There is no user interface any more.
    #[error(transparent)]
    Ui(#[from] UiGone),
    /// There is no worker to take a request.
    #[error("there is no worker to take the request; start one")]
    NoWorker,
    /// This needs somebody to be logged in.
    #[error("nobody is logged in; log in first")]
    NotLoggedIn,
    /// Somebody is logged in already.
    #[error("somebody is logged in already; log out first")]
    AlreadyLoggedIn,
    /// The room has not been synced, or is not there.
    #[error("there is no room {room} here; has it been synced?")]
    UnknownRoom {
        /// Its id.
        room: String,
    },
}

/// The settings of an application.
#[derive(Clone)]
pub struct AppConfig {
    /// Where the homeserver is.
    pub homeserver: String,
    /// Where everything is that the application keeps.
    pub directory: PathBuf,
    /// How much room there is on the screen in the beginning. Default: a desktop.
    pub mode: Mode,
    /// How often the user interface draws, and does what it was told. Default: 16 ms.
    pub frame: Duration,
    /// What the stores are built on. Default: the current one.
    pub generation: Generation,
    /// How many connections each of the three stores has. Default: 4.
    pub connections_per_store: usize,
    /// How long a request to the server may take. Default: 30 s.
    pub request_limit: Duration,
    /// How long a sync waits for something to happen. Default: 30 s.
    pub long_poll: Duration,
    /// Whether the client runs tasks of its own. Default: it does.
    pub background_tasks: bool,
    /// How the application holds what it gets from the SDK. Default: plainly.
    pub holding: Arc<dyn Holding>,
}

impl AppConfig {
    /// The defaults, with a homeserver and a directory.
    #[must_use]
    pub fn new(homeserver: &str, directory: &Path) -> Self {
        Self {
            homeserver: homeserver.to_owned(),
            directory: directory.to_owned(),
            mode: Mode::default(),
            frame: Duration::from_millis(16),
            generation: Generation::Current,
            connections_per_store: 4,
            request_limit: Duration::from_secs(30),
            long_poll: Duration::from_secs(30),
            background_tasks: true,
            holding: Arc::new(Plainly),
        }
    }
}

/// An application. Clones are the same one. The worker and its monitor hold one each.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

struct Shared {
    config: AppConfig,
    files: SessionFiles,
    globals: Globals,
    ui: Ui,
    worker: watch::Sender<WorkerState>,
    /// Whether the current worker is expected to end: one flag for each worker.
    worker_end: Global<Arc<Flag>>,
}

impl App {
    /// An application in which nobody is logged in, and its event loop, which is to be run: on a
    /// thread of its own, or on the main thread, as toolkits have it.
    #[must_use]
    pub fn new(config: AppConfig) -> (Self, EventLoop) {
        let (ui, event_loop) = Ui::new(config.mode, config.frame);
        let shared = Shared {
            files: SessionFiles::below(&config.directory),
            globals: Globals::default(),
            ui,
            worker: watch::Sender::new(WorkerState::NotStarted),
            worker_end: Global::default(),
            config,
        };
        (Self { shared: Arc::new(shared) }, event_loop)
    }

    /// What everybody can reach.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.shared.globals
    }

    /// The user interface.
    #[must_use]
    pub fn ui(&self) -> &Ui {
        &self.shared.ui
    }

    /// What is on disk.
    #[must_use]
    pub fn files(&self) -> &SessionFiles {
        &self.shared.files
    }

    /// Logs in with stores of its own, starts to sync, and shows the rooms. Returns the user's id.
    ///
    /// Must be called in the context of a Tokio runtime with both drivers, which the client then
    /// uses. Login is not meant to be called twice at once.
    ///
    /// # Errors
    ///
    /// [`AppError`]. Where the login cannot be remembered, or what came of it not be held, it is undone;
    /// for a client that cannot be held none is asked for.
    pub async fn log_in(&self, user: &str, password: &str) -> Result<String, AppError> {
        self.not_logged_in()?;
        let stores = self.files().new_stores()?;
        let client = self.client(&stores).await?;
        let session = match client.matrix_auth().login(user, password).await {
            Ok(session) => session,
            Err(error) => {
                client.close().await?;
                return Err(error.into());
            }
        };
        if let Err(error) = self.remember(&session, stores).and_then(|()| self.begin(&client)) {
            // Where this fails too, a token is left that nobody uses, or a user's id that stands for
            // nobody: the next start finds out.
            let _ = client.matrix_auth().logout().await;
            let _ = self.files().delete_latest_user_id();
            client.close().await?;
            return Err(error);
        }
        Ok(session.user)
    }

    /// Goes on with the session of whoever was logged in last, as the application does when it
    /// starts. `None` where that is nobody. Asks the server nothing.
    ///
    /// # Errors
    ///
    /// As [`App::log_in`].
    pub async fn log_in_latest(&self) -> Result<Option<String>, AppError> {
        self.not_logged_in()?;
        let Some(user) = self.files().latest_user_id()? else { return Ok(None) };
        let Some(StoredSession { session, stores }) = self.files().session(&user)? else {
            return Ok(None);
        };
        let client = self.client(&stores).await?;
        let restored = client.matrix_auth().restore(session).await.map_err(AppError::from);
        if let Err(error) = restored.and_then(|()| self.begin(&client)) {
            client.close().await?;
            return Err(error);
        }
        Ok(Some(user))
    }

    fn not_logged_in(&self) -> Result<(), AppError> {
        match self.globals().client.change(|client| client.is_some()) {
            true => Err(AppError::AlreadyLoggedIn),
            false => Ok(()),
        }
    }

    /// A client, held from the first moment: a login that is given up drops it wherever that happens.
    async fn client(&self, stores: &str) -> Result<Held<Client>, AppError> {
        let AppConfig { homeserver, generation, connections_per_store, request_limit, .. } =
            &self.shared.config;
        let client = Client::builder(homeserver, &self.files().stores_path(stores))
            .generation(*generation)
            .connections_per_store(*connections_per_store)
            .request_limit(*request_limit)
            .background_tasks(self.shared.config.background_tasks)
            .build()
            .await?;
        match self.shared.config.holding.client(client.clone()) {
            Ok(held) => Ok(held),
            Err(error) => {
                client.close().await?;
                Err(error.into())
            }
        }
    }

    fn remember(&self, session: &Session, stores: String) -> Result<(), AppError> {
        // The session first: a latest user without one could not go on.
        self.files().save(&StoredSession { session: session.clone(), stores })?;
        Ok(self.files().set_latest_user_id(&session.user)?)
    }

    fn begin(&self, client: &Held<Client>) -> Result<(), AppError> {
        let user = client.session().map(|session| session.user).ok_or(AppError::NotLoggedIn)?;
        let AppConfig { long_poll, holding, .. } = &self.shared.config;
        let service = SyncService::with_long_poll(Client::clone(client), *long_poll);
        service.start()?;
        let service = holding.sync_service(service)?;
        // What is left of a session before this one is let go here, in a runtime's context.
        drop(self.globals().all_joined_rooms.take());
        drop(self.globals().sync_service.replace(Some(service)));
        drop(self.globals().client.replace(Some(client.clone())));
        // Where nobody is looking, nobody has to be shown.
        let _ = self.ui().post(Action::LoggedIn { user });
        Ok(())
    }

    async fn room(&self, room: &str) -> Result<Room, AppError> {
        let client = self.globals().client.get().ok_or(AppError::NotLoggedIn)?;
        let found = client.room(room).await?;
        found.ok_or_else(|| AppError::UnknownRoom { room: room.to_owned() })
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("globals", &self.shared.globals)
            .field("ui", &self.shared.ui)
            .field("worker", &*self.shared.worker.borrow())
            .finish_non_exhaustive()
    }
}
