//! An application around the client, like the one in the write-up of Robrix's logout: a user interface
//! with tabs and a cache that hold rooms, a request channel with a worker at its end, a main loop that
//! holds the client, and globals that everything reaches.
//!
//! [`App`] is these pieces and no logout: the experiments ask in which order to take them apart. It owns
//! no runtime: the owner of one starts the worker on it ([`App::start_worker`]) and logs in on it.
//! [`ManagedApp`](managed::ManagedApp) is the answer: the same application with a session, a runtime, a
//! logout by the state machine, and an exit plan for closing the window.
//!
//! ```
//! use mock_sdk::{app::{App, AppConfig, action::Action}, homeserver::Homeserver};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let server = Homeserver::start()?;
//! server.add_user("me", "secret");
//! let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
//!
//! let (app, event_loop) = App::new(AppConfig::new(&server.url(), directory.path()));
//! let ui = event_loop.spawn()?;
//! app.start_worker(runtime.handle());
//! let user = runtime.block_on(app.log_in("me", "secret"))?;
//! assert_eq!(app.files().latest_user_id()?, Some(user));
//!
//! // One of many possible ends: the cooperative one, in order.
//! runtime.block_on(async {
//!     app.ui().clean_app_state().await?;
//!     app.globals().sync_service.take();
//!     let client = app.globals().client.take().ok_or("nobody is logged in")?;
//!     app.expect_worker_end();
//!     app.globals().request_sender.take();
//!     client.matrix_auth().logout().await?;
//!     client.close().await?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! app.files().delete_latest_user_id()?;
//! app.ui().post(Action::Quit)?;
//! ui.join()?;
//! # Ok(()) }
//! ```

use std::{
    fmt,
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sundown::flag::Flag;
use tokio::sync::watch;

pub mod action;
pub mod exit;
pub mod files;
pub mod global;
pub mod globals;
pub mod held;
mod interface;
mod logout;
pub mod managed;
pub mod requests;
pub mod ui;

use action::Action;
use files::{FilesError, SessionFiles, StoredSession};
use global::Global;
use globals::Globals;
use held::{Held, Holding, NotHeld};
use requests::WorkerState;
use ui::{EventLoop, Ui, UiGone};

use crate::{
    client::{Client, ClientError, Room},
    store::{Generation, Session},
    sync::SyncService,
};

/// How long a sync waits for something to happen.
const LONG_POLL: Duration = Duration::from_secs(30);

/// Why the application could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A handle of the client could not be held.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// The user interface has ended.
    #[error(transparent)]
    Ui(#[from] UiGone),
    /// There is no worker.
    #[error("there is no worker to take the request; start one")]
    NoWorker,
    /// Nobody is logged in.
    #[error("nobody is logged in; log in first")]
    NotLoggedIn,
    /// Somebody is logged in.
    #[error("somebody is logged in already; log out first")]
    AlreadyLoggedIn,
    /// The room has not been synced, or does not exist.
    #[error("there is no room `{room}`; has it been synced?")]
    UnknownRoom {
        /// Its id.
        room: String,
    },
}

/// The settings of an application.
#[derive(Clone)]
pub struct AppConfig {
    /// The URL of the homeserver.
    pub homeserver: String,
    /// The directory for everything that the application keeps.
    pub directory: PathBuf,
    /// The interval at which the user interface draws and carries out actions. Default: 16 ms.
    pub frame: Duration,
    /// The generation of the pool under the stores. Default: the current one.
    pub generation: Generation,
    /// How many connections each of the three stores has. Default: 4.
    pub connections_per_store: usize,
    /// Whether the client runs tasks of its own. Default: yes.
    pub background_tasks: bool,
    /// Whether the application has a main loop: a task that follows the list of rooms from the login on,
    /// and holds the client until its runtime goes, as in the published application. Default: yes.
    pub main_loop: bool,
    /// How the application holds what it gets from the SDK. Default: plainly.
    pub holding: Holding,
}

impl AppConfig {
    /// The defaults, with a homeserver and a directory.
    #[must_use]
    pub fn new(homeserver: &str, directory: &Path) -> Self {
        Self {
            homeserver: homeserver.to_owned(),
            directory: directory.to_owned(),
            frame: Duration::from_millis(16),
            generation: Generation::Current,
            connections_per_store: 4,
            background_tasks: true,
            main_loop: true,
            holding: Holding::Plain,
        }
    }
}

/// An application. Clones are the same one; the worker and its monitor hold one each.
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
    /// Whether the current worker is expected to end. Each worker has its own flag.
    worker_end: Global<Arc<Flag>>,
}

impl App {
    /// An application in which nobody is logged in, and its event loop, to be run on a thread of its own
    /// or, as most toolkits want it, on the main thread.
    #[must_use]
    pub fn new(config: AppConfig) -> (Self, EventLoop) {
        let (ui, event_loop) = Ui::new(config.frame);
        let shared = Shared {
            files: SessionFiles::new(&config.directory),
            globals: Globals::default(),
            ui,
            worker: watch::Sender::new(WorkerState::NotStarted),
            worker_end: Global::default(),
            config,
        };
        (Self { shared: Arc::new(shared) }, event_loop)
    }

    /// The global variables.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.shared.globals
    }

    /// The user interface.
    #[must_use]
    pub fn ui(&self) -> &Ui {
        &self.shared.ui
    }

    /// The files on disk.
    #[must_use]
    pub fn files(&self) -> &SessionFiles {
        &self.shared.files
    }

    /// Logs in with new stores, starts to sync, and shows the rooms. Returns the user's id.
    ///
    /// Must be called in the context of a Tokio runtime with both drivers, which the client then uses.
    /// Two logins at once are not supported.
    ///
    /// # Errors
    ///
    /// [`AppError`]. If the login cannot be remembered, or the client's handles cannot be held, the
    /// login is undone.
    pub async fn log_in(&self, user: &str, password: &str) -> Result<String, AppError> {
        self.check_logged_out()?;
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
            // If this fails too, a token that nobody uses is left, or the id of a user who is not logged
            // in: the next start finds out.
            let _ = client.matrix_auth().logout().await;
            let _ = self.files().delete_latest_user_id();
            client.close().await?;
            return Err(error);
        }
        Ok(session.user)
    }

    /// Continues the session of the latest user, as the application does when it starts. `None` if there
    /// is none. Asks the server nothing.
    ///
    /// # Errors
    ///
    /// As [`App::log_in`].
    pub async fn log_in_latest(&self) -> Result<Option<String>, AppError> {
        self.check_logged_out()?;
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

    fn check_logged_out(&self) -> Result<(), AppError> {
        match self.globals().client.with(|client| client.is_some()) {
            true => Err(AppError::AlreadyLoggedIn),
            false => Ok(()),
        }
    }

    /// A client, held from the first moment: if a login is given up, that may drop it on any thread.
    async fn client(&self, stores: &str) -> Result<Held<Client>, AppError> {
        let config = &self.shared.config;
        let client = Client::builder(&config.homeserver, &self.files().stores_path(stores))
            .generation(config.generation)
            .connections_per_store(config.connections_per_store)
            .background_tasks(config.background_tasks)
            .build()
            .await?;
        match config.holding.hold(client.clone()) {
            Ok(held) => Ok(held),
            Err(error) => {
                client.close().await?;
                Err(error.into())
            }
        }
    }

    fn remember(&self, session: &Session, stores: String) -> Result<(), AppError> {
        // The session first: the latest user needs one.
        self.files().save(&StoredSession { session: session.clone(), stores })?;
        Ok(self.files().set_latest_user_id(&session.user)?)
    }

    fn begin(&self, client: &Held<Client>) -> Result<(), AppError> {
        let user = client.session().map(|session| session.user).ok_or(AppError::NotLoggedIn)?;
        let service = SyncService::new(Client::clone(client), LONG_POLL);
        service.start()?;
        let service = self.shared.config.holding.hold(service)?;
        // What is left of an earlier session is dropped here, where there is runtime context.
        drop(self.globals().all_joined_rooms.take());
        drop(self.globals().sync_service.replace(Some(service)));
        drop(self.globals().client.replace(Some(client.clone())));
        if self.shared.config.main_loop {
            drop(client.runtime().spawn(main_loop(client.clone())));
        }
        // The user interface may have ended.
        let _ = self.ui().post(Action::LoggedIn { user });
        Ok(())
    }

    async fn room(&self, room: &str) -> Result<Room, AppError> {
        let client = self.globals().client.get().ok_or(AppError::NotLoggedIn)?;
        let found = client.room(room).await?;
        found.ok_or_else(|| AppError::UnknownRoom { room: room.to_owned() })
    }
}

/// In the application it waits for changes of the list of rooms, which has no end. Nobody tells it of a
/// logout.
async fn main_loop(client: Held<Client>) {
    pending::<()>().await;
    drop(client);
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
