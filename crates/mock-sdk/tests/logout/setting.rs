//! What the tests begin with.

use std::{future::Future, sync::Arc, time::Duration};

use futures::executor::block_on;
use mock_sdk::{
    app::{
        AppConfig,
        action::Action,
        managed::ManagedApp,
        requests::Request,
        ui::{Screen, UiThread},
    },
    homeserver::{Endpoint, Homeserver},
    store::residue,
};
use state_machine::{
    config::{LogoutConfig, RuntimePolicy},
    driver::Driver,
    error::LogoutError,
    progress::LogoutReport,
};
use sundown::{evidence::open_files, limit::within};
use tempfile::TempDir;

/// For what has to happen, however busy the machine is.
pub const PLENTY: Duration = Duration::from_secs(30);

pub const ROOM: &str = "!a:example.org";
pub const OTHER_ROOM: &str = "!b:example.org";

pub const POLICIES: [RuntimePolicy; 2] = [RuntimePolicy::Restart, RuntimePolicy::Keep];

pub struct Setting {
    pub server: Homeserver,
    pub directory: TempDir,
    policy: RuntimePolicy,
}

/// An application that runs, and its logout.
pub struct Running {
    pub managed: Arc<ManagedApp>,
    pub driver: Driver<ManagedApp>,
    ui: UiThread,
}

impl Setting {
    pub fn new(policy: RuntimePolicy) -> Self {
        let server = Homeserver::start().unwrap();
        server.add_user("me", "secret");
        server.say(ROOM, "other", "hello");
        server.say(OTHER_ROOM, "other", "hello as well");
        Self { server, directory: tempfile::tempdir().unwrap(), policy }
    }

    pub fn start(&self) -> Running {
        self.start_with(|_| {})
    }

    /// With limits of its own.
    pub fn start_with(&self, set: impl FnOnce(&mut LogoutConfig)) -> Running {
        let mut config = AppConfig::new(&self.server.url(), self.directory.path());
        config.frame = Duration::from_millis(1);
        config.connections_per_store = 2;
        let (managed, event_loop) = ManagedApp::start(config, self.policy).unwrap();
        let ui = event_loop.spawn().unwrap();
        let mut limits = managed.logout_config();
        set(&mut limits);
        let managed = Arc::new(managed);
        Running { driver: Driver::new(Arc::clone(&managed), limits), managed, ui }
    }

    /// Logs in, and waits for the rooms.
    pub fn log_in(&self, running: &Running) {
        let asked = self.server.count(Endpoint::Sync);
        let user = soon("the login", running.managed.log_in("me", "secret")).unwrap();
        assert_eq!(user, "@me:example.org");
        soon("a sync", self.server.until(|server| server.count(Endpoint::Sync) >= asked + 2));
    }

    /// That no file of a session is open in this process.
    pub fn no_file_is_open(&self) {
        assert_eq!(open_files(self.directory.path()).unwrap(), Vec::<std::path::PathBuf>::new());
    }

    /// That nothing of a session is left in this process, and nothing beside its databases.
    pub fn nothing_is_left(&self) {
        self.no_file_is_open();
        let mut databases = 0;
        for session in self.directory.path().join("stores").read_dir().unwrap() {
            for store in session.unwrap().path().read_dir().unwrap() {
                let database = store.unwrap().path().join("store.sqlite3");
                assert!(database.exists(), "{}", database.display());
                assert!(residue(&database).unwrap().is_none(), "{}", database.display());
                databases += 1;
            }
        }
        assert!(databases >= 3, "{databases} databases were looked at");
    }
}

impl Running {
    pub fn open(&self, room: &str) {
        self.managed.app().request(Request::Open { room: room.to_owned() }).unwrap();
        self.screen(|screen| {
            screen.tabs.iter().any(|tab| tab == room) || screen.room.as_deref() == Some(room)
        });
    }

    pub fn screen(&self, is: impl Fn(&Screen) -> bool) -> Screen {
        let mut screen = self.managed.app().ui().screen();
        soon("the screen", async { screen.wait_for(|screen| is(screen)).await.unwrap().clone() })
    }

    pub fn log_out(&self) -> Result<LogoutReport, LogoutError> {
        soon("the logout", ManagedApp::log_out(&self.driver))
    }

    /// Lets go of the session, as the end of a process does: without a logout, and whatever there is.
    pub fn forget_everything(self) {
        let globals = self.managed.app().globals();
        let client = globals.client.take().unwrap();
        client.runtime().block_on(client.close()).unwrap();
        soon("the interface", self.managed.app().ui().clean_app_state()).unwrap();
        drop((globals.sync_service.take(), globals.all_joined_rooms.take(), client));
        self.end();
    }

    /// The end of the process, as far as there can be one in a test.
    pub fn end(self) {
        self.managed.app().ui().post(Action::Quit).unwrap();
        self.ui.join().unwrap();
        let _ = self.managed.runtime().shutdown_blocking(PLENTY).unwrap();
    }
}

/// Waits for something that has to happen, on this thread, where there is no runtime.
pub fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match block_on(within(PLENTY, wait)) {
        Some(done) => done,
        None => panic!("{what}: not within {PLENTY:?}"),
    }
}
