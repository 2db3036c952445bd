//! What most of the tests begin with.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use mock_sdk::{
    app::{
        App, AppConfig,
        action::Action,
        held::{Held, Holding, NotHeld, Plainly},
        requests::Request,
        ui::{Screen, UiThread},
    },
    client::{Client, Room, Timeline},
    homeserver::{Endpoint, Homeserver},
    sync::SyncService,
};
use sundown::evidence::open_files;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// For what has to happen, however busy the machine is.
pub const PLENTY: Duration = Duration::from_secs(30);

pub const ROOM: &str = "!a:example.org";
pub const OTHER_ROOM: &str = "!b:example.org";

pub struct Setting {
    pub server: Homeserver,
    pub directory: TempDir,
    pub runtime: Runtime,
    pub holds: Arc<Holds>,
}

/// Holds plainly, and knows what of that is still alive.
#[derive(Default)]
pub struct Holds {
    rooms: Mutex<Vec<Weak<Room>>>,
    timelines: Mutex<Vec<Weak<Timeline>>>,
}

impl Holds {
    pub fn rooms(&self) -> usize {
        self.rooms.lock().unwrap().iter().filter(|room| room.strong_count() > 0).count()
    }

    pub fn timelines(&self) -> usize {
        let timelines = self.timelines.lock().unwrap();
        timelines.iter().filter(|timeline| timeline.strong_count() > 0).count()
    }
}

fn watched<T: Send + Sync + 'static>(value: T, alive: &Mutex<Vec<Weak<T>>>) -> Held<T> {
    let value = Arc::new(value);
    alive.lock().unwrap().push(Arc::downgrade(&value));
    Held::by(value)
}

impl Holding for Holds {
    fn client(&self, client: Client) -> Result<Held<Client>, NotHeld> {
        Plainly.client(client)
    }

    fn sync_service(&self, service: SyncService) -> Result<Held<SyncService>, NotHeld> {
        Plainly.sync_service(service)
    }

    fn room(&self, room: Room) -> Result<Held<Room>, NotHeld> {
        Ok(watched(room, &self.rooms))
    }

    fn timeline(&self, timeline: Timeline) -> Result<Held<Timeline>, NotHeld> {
        Ok(watched(timeline, &self.timelines))
    }
}

impl Setting {
    pub fn new() -> Self {
        let server = Homeserver::start().unwrap();
        server.add_user("me", "secret");
        server.say(ROOM, "other", "hello");
        server.say(OTHER_ROOM, "other", "hello as well");
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self { server, directory, runtime, holds: Arc::default() }
    }

    pub fn config(&self) -> AppConfig {
        let mut config = AppConfig::new(&self.server.url(), self.directory.path());
        config.frame = Duration::from_millis(1);
        config.connections_per_store = 2;
        config.holding = self.holds.clone();
        config
    }

    /// An app with its user interface and its worker at work.
    pub fn app(&self) -> (App, UiThread) {
        let (app, event_loop) = App::new(self.config());
        let ui = event_loop.spawn().unwrap();
        app.start_worker(self.runtime.handle());
        (app, ui)
    }

    /// The same, with somebody logged in whose rooms are known.
    pub fn logged_in(&self) -> (App, UiThread) {
        let (app, ui) = self.app();
        self.log_in(&app);
        (app, ui)
    }

    pub fn log_in(&self, app: &App) {
        let asked = self.server.count(Endpoint::Sync);
        self.runtime.block_on(async {
            app.log_in("me", "secret").await.unwrap();
            soon("a sync", self.server.until(|s| s.count(Endpoint::Sync) >= asked + 2)).await;
        });
    }

    /// Opens a room, and waits until it is shown.
    pub fn open(&self, app: &App, room: &str) {
        app.request(Request::Open { room: room.to_owned() }).unwrap();
        self.screen(app, &format!("the room {room}"), |screen| {
            screen.tabs.iter().any(|tab| tab == room) || screen.room.as_deref() == Some(room)
        });
    }

    /// Waits until the screen is so.
    pub fn screen(&self, app: &App, what: &str, is: impl Fn(&Screen) -> bool) -> Screen {
        let mut screen = app.ui().screen();
        self.runtime.block_on(soon(what, screen.wait_for(|screen| is(screen)))).unwrap().clone()
    }

    /// A proper end: what holds the client is let go, and then it is closed.
    pub fn end(self, app: &App, ui: UiThread) {
        let mut confirmed = app.ui().clean_app_state();
        let _ = confirmed.wait_blocking(PLENTY);
        let client = app.globals().client.get();
        self.runtime.block_on(async {
            if let Some(client) = client {
                soon("the end of the client", client.close()).await.unwrap();
            }
        });
        let _ = app.ui().post(Action::Quit);
        let _ = ui.join();
        assert!(self.open_files().is_empty());
    }

    pub fn open_files(&self) -> Vec<PathBuf> {
        open_files(self.directory.path()).unwrap()
    }
}

/// Waits for something that has to happen; a test that waits for ever tells nobody why.
pub async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PLENTY, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PLENTY:?}"),
    }
}
