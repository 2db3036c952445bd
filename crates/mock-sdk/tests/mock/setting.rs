//! What the tests begin with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::executor::block_on;
use mock_sdk::{
    app::{
        App, AppConfig,
        action::Action,
        managed::ManagedApp,
        requests::Request,
        ui::{Screen, UiThread},
    },
    client::{Client, ClientBuilder},
    homeserver::{Endpoint, Homeserver},
    store::residue,
    sync::SyncService,
};
use state_machine::{
    config::{LogoutConfig, RuntimePolicy},
    driver::Driver,
    error::LogoutError,
    progress::LogoutReport,
};
use sundown::{evidence::open_files, limit::within};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// For what has to happen, however busy the machine is.
pub const PLENTY: Duration = Duration::from_secs(30);

/// For what must not happen, or must time out.
pub const SHORT: Duration = Duration::from_millis(50);

pub const ROOM: &str = "!a:example.org";
pub const OTHER_ROOM: &str = "!b:example.org";

/// A server with a user and two rooms, and a directory for clients and applications.
pub struct Setting {
    pub server: Homeserver,
    directory: TempDir,
}

impl Setting {
    pub fn new() -> Self {
        let server = Homeserver::start().unwrap();
        server.add_user("me", "secret");
        server.say(ROOM, "other", "hello");
        server.say(OTHER_ROOM, "other", "hello as well");
        Self { server, directory: tempfile::tempdir().unwrap() }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder(&self.server.url(), self.directory()).connections_per_store(2)
    }

    /// A client without tasks of its own.
    pub async fn quiet_client(&self) -> Client {
        self.builder().background_tasks(false).build().await.unwrap()
    }

    pub async fn logged_in(&self) -> Client {
        let client = self.quiet_client().await;
        client.matrix_auth().login("me", "secret").await.unwrap();
        client
    }

    /// The same, with a sync service that has stored the first answer.
    pub async fn synced(&self) -> (Client, SyncService) {
        let client = self.logged_in().await;
        let sync = SyncService::new(client.clone(), PLENTY);
        sync.start().unwrap();
        self.asked(2).await;
        (client, sync)
    }

    /// Waits until the server has been asked this often to sync: all answers but the last are stored.
    pub async fn asked(&self, times: usize) {
        let asked = self.server.until(|server| server.count(Endpoint::Sync) >= times);
        soon("a request to sync", asked).await;
    }

    /// Waits until there are this many messages in the room, and returns them.
    pub async fn messages(&self, count: usize) -> Vec<String> {
        let said = self.server.until(|server| server.messages(ROOM).len() >= count);
        soon("the messages", said).await;
        self.server.messages(ROOM)
    }

    pub fn open_files(&self) -> Vec<PathBuf> {
        open_files(self.directory()).unwrap()
    }

    /// How many databases of the application have a log beside them. Sessions are in `stores`.
    pub fn logs_left(&self) -> usize {
        let entries = |path: PathBuf| path.read_dir().unwrap().map(|entry| entry.unwrap().path());
        let stores = entries(self.directory().join("stores")).flat_map(entries);
        stores.filter(|store| !residue(&store.join("store.sqlite3")).unwrap().is_none()).count()
    }

    /// Nothing of a session is left in this process or beside its databases.
    pub fn nothing_is_left(&self) {
        assert_eq!(self.open_files(), Vec::<PathBuf>::new());
        assert_eq!(self.logs_left(), 0);
    }

    pub fn config(&self) -> AppConfig {
        let mut config = AppConfig::new(&self.server.url(), self.directory());
        config.frame = Duration::from_millis(1);
        config.connections_per_store = 2;
        config
    }

    /// An application that can log out, with limits of its own.
    pub fn managed(&self, policy: RuntimePolicy, set: impl FnOnce(&mut LogoutConfig)) -> Managed {
        let (app, event_loop) = ManagedApp::start(self.config(), policy).unwrap();
        let ui = event_loop.spawn().unwrap();
        let mut limits = app.logout_config();
        set(&mut limits);
        let app = Arc::new(app);
        Managed { driver: Driver::new(Arc::clone(&app), limits), app, ui }
    }
}

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Waits for something that has to happen: a test that hangs does not say why.
pub async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    within(PLENTY, wait).await.unwrap_or_else(|| panic!("{what}: not within {PLENTY:?}"))
}

/// Opens a room, and waits until it is shown.
pub fn open(app: &App, room: &str) {
    app.request(Request::Open { room: room.to_owned() }).unwrap();
    screen(app, |screen| {
        screen.tabs.iter().any(|tab| tab == room) || screen.room.as_deref() == Some(room)
    });
}

/// Waits until the screen looks like this.
pub fn screen(app: &App, is: impl Fn(&Screen) -> bool) -> Screen {
    let mut screen = app.ui().screen();
    block_on(soon("the screen", async {
        screen.wait_for(|screen| is(screen)).await.unwrap().clone()
    }))
}

/// A plain application on a runtime.
pub struct Plain {
    pub setting: Setting,
    pub runtime: Runtime,
    pub app: App,
    ui: UiThread,
}

impl Plain {
    pub fn start() -> Self {
        let (setting, runtime) = (Setting::new(), runtime());
        let (app, event_loop) = App::new(setting.config());
        let ui = event_loop.spawn().unwrap();
        app.start_worker(runtime.handle());
        Self { setting, runtime, app, ui }
    }

    /// Somebody is logged in, and the rooms are known.
    pub fn logged_in() -> Self {
        let plain = Self::start();
        plain.runtime.block_on(async {
            plain.app.log_in("me", "secret").await.unwrap();
            plain.setting.asked(2).await;
        });
        plain
    }

    pub fn end(self) {
        let Self { setting, runtime, app, ui } = self;
        let _ = app.ui().clean_app_state().wait_blocking(PLENTY);
        if let Some(client) = app.globals().client.take() {
            runtime.block_on(soon("the end of the client", client.close())).unwrap();
        }
        let _ = app.ui().post(Action::Quit);
        ui.join().unwrap();
        assert_eq!(setting.open_files(), Vec::<PathBuf>::new());
    }
}

/// An application that can log out.
pub struct Managed {
    pub app: Arc<ManagedApp>,
    pub driver: Driver<ManagedApp>,
    ui: UiThread,
}

impl Managed {
    /// Logs in, and waits for the rooms.
    pub fn log_in(&self, setting: &Setting) {
        let asked = setting.server.count(Endpoint::Sync);
        block_on(soon("the login", self.app.log_in("me", "secret"))).unwrap();
        block_on(setting.asked(asked + 2));
    }

    pub fn log_out(&self) -> Result<LogoutReport, LogoutError> {
        block_on(soon("the logout", ManagedApp::log_out(&self.driver)))
    }

    pub fn end(self) {
        self.app.app().ui().post(Action::Quit).unwrap();
        self.ui.join().unwrap();
        let _ = self.app.runtime().shutdown_blocking(PLENTY).unwrap();
    }
}
