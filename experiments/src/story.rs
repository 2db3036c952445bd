//! The story that the write-up of Robrix's logout tells, and what an experiment needs to tell it: a
//! server, an application, a user who does things, and a log of what was done.
//!
//! The user interface is the trial's main thread, as in the application of the write-up; the user is
//! a thread beside it.

use std::{error::Error, path::PathBuf, sync::Arc, thread, time::Duration};

use lab::{Trial, TrialResult};
use mock_sdk::{
    app::{
        App, AppConfig,
        action::{Action, Mode},
        managed::ManagedApp,
        requests::Request,
        ui::{EventLoop, Screen},
    },
    client::Client,
    homeserver::{Endpoint, Homeserver},
    store::{Generation, residue, rusqlite::Connection},
};
use sundown::{evidence::open_files, limit::within};

/// For what has to happen; a trial that waits for longer fails, and says for what.
const PATIENCE: Duration = Duration::from_secs(8);

/// The rooms there are.
pub const ROOMS: [&str; 3] = ["!a:example.org", "!b:example.org", "!c:example.org"];

/// How many rows the client commits in each session, and is told that they are.
const ROWS: u64 = 5;

/// What a user sits in front of.
const DESKTOP: &str = "on the desktop";
const PHONE: &str = "on the phone";

/// Why a user's thread ended before the story did.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A server with somebody on it, and rooms in which something was said.
///
/// # Errors
///
/// Where there is no port to be had.
pub fn server() -> Result<Homeserver, Failure> {
    let server = Homeserver::start()?;
    server.add_user("me", "secret");
    for room in ROOMS {
        server.say(room, "other", "hello");
    }
    Ok(server)
}

/// An application on a desktop, below the trial's directory.
#[must_use]
pub fn config(trial: &Trial<'_>, server: &Homeserver, generation: Generation) -> AppConfig {
    let mut config = AppConfig::new(&server.url(), trial.directory());
    config.frame = Duration::from_millis(1);
    config.connections_per_store = 2;
    config.generation = generation;
    config
}

/// Runs the event loop on this thread, and beside it the user, on a thread of its own; what the user
/// finds in the end is what this returns.
///
/// # Errors
///
/// What the user's thread returned, and that it panicked.
pub fn act(
    app: &App,
    event_loop: EventLoop,
    user: impl FnOnce() -> Result<(), Failure> + Send,
) -> TrialResult {
    let ended = thread::scope(|scope| {
        let user = scope.spawn(|| {
            let ended = user();
            let _ = app.ui().post(Action::Quit);
            ended
        });
        event_loop.run();
        user.join()
    });
    match ended {
        Ok(ended) => ended.map_err(|failure| failure as Box<dyn Error>),
        Err(_) => Err("the user's thread panicked".into()),
    }
}

/// What a user does with an application, and says on standard error.
#[derive(Debug)]
pub struct User<'a> {
    server: &'a Homeserver,
    app: &'a App,
    mode: &'static str,
    quiet: bool,
}

impl<'a> User<'a> {
    /// A user in front of a desktop.
    #[must_use]
    pub const fn new(server: &'a Homeserver, app: &'a App) -> Self {
        Self { server, app, mode: DESKTOP, quiet: false }
    }

    /// Says what is being done.
    pub fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("{}: {what}", self.mode);
        }
    }

    /// Says nothing any more: it would be the same again.
    pub const fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// Opens every room, and waits until it is shown.
    ///
    /// # Errors
    ///
    /// Where it is not in time.
    pub fn open_rooms(&self) -> Result<(), Failure> {
        for room in ROOMS {
            self.app.request(Request::Open { room: room.to_owned() })?;
            self.screen("a room", |screen| {
                screen.tabs.iter().any(|tab| tab == room) || screen.room.as_deref() == Some(room)
            })?;
        }
        self.say(&format!("{} rooms are open", ROOMS.len()));
        Ok(())
    }

    /// Makes the window smaller.
    ///
    /// # Errors
    ///
    /// Where the user interface does not follow in time.
    pub fn switch_to_phone(&mut self) -> Result<(), Failure> {
        self.app.ui().post(Action::SetMode(Mode::Mobile))?;
        let screen = self.screen("the phone", |screen| screen.mode == Mode::Mobile)?;
        self.mode = PHONE;
        self.say(&format!("{} tabs are left, unseen", screen.tabs.len()));
        Ok(())
    }

    /// Makes it larger.
    ///
    /// # Errors
    ///
    /// As [`User::switch_to_phone`].
    pub fn switch_to_desktop(&mut self) -> Result<(), Failure> {
        self.app.ui().post(Action::SetMode(Mode::Desktop))?;
        self.screen("the desktop", |screen| screen.mode == Mode::Desktop)?;
        self.mode = DESKTOP;
        self.say("the window is large again");
        Ok(())
    }

    /// Waits until the rooms have been synced, by a client that has just logged in.
    ///
    /// # Errors
    ///
    /// Where they are not in time.
    pub fn synced_since(&self, before: Syncs) -> Result<(), Failure> {
        let Syncs(before) = before;
        let synced = self.server.until(|server| server.count(Endpoint::Sync) >= before + 2);
        soon("a sync", synced)
    }

    /// How often the server has been asked what is new.
    #[must_use]
    pub fn syncs(&self) -> Syncs {
        Syncs(self.server.count(Endpoint::Sync))
    }

    /// Waits until the screen is so.
    ///
    /// # Errors
    ///
    /// Where it is not in time.
    pub fn screen(&self, what: &str, is: impl Fn(&Screen) -> bool) -> Result<Screen, Failure> {
        let mut screen = self.app.ui().screen();
        let shown = async { screen.wait_for(|screen| is(screen)).await.map(|it| it.clone()) };
        Ok(soon(what, shown)??)
    }
}

/// How often the server had been asked what is new, at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Syncs(usize);

/// Waits for something on this thread, without a runtime.
///
/// # Errors
///
/// Where it does not happen in time: what was waited for.
pub fn soon<T>(what: &str, wait: impl Future<Output = T>) -> Result<T, Failure> {
    let waited = futures::executor::block_on(within(PATIENCE, wait));
    waited.ok_or_else(|| format!("{what}: not within {PATIENCE:?}").into())
}

/// What a client committed, to be counted again when it is gone.
#[derive(Debug)]
pub struct Committed {
    database: PathBuf,
    rows: u64,
}

impl Committed {
    /// Commits some rows, each of which has been acknowledged when this returns.
    ///
    /// # Errors
    ///
    /// Where the store refuses one.
    pub fn by(client: &Client) -> Result<Self, Failure> {
        let store = &client.store().state;
        let database = store.database().to_owned();
        let rows = client.runtime().block_on(async {
            for row in 0..ROWS {
                store.append_event(ROOMS[0], format!("row {row}")).await?;
            }
            store.event_count().await
        })?;
        Ok(Self { database, rows })
    }

    /// How many of them are not there any more.
    ///
    /// # Errors
    ///
    /// Where the database cannot be opened again.
    pub fn lost(&self) -> Result<u64, Failure> {
        let again = Connection::open(&self.database)?;
        let rows: i64 = again.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
        Ok(self.rows.saturating_sub(u64::try_from(rows)?))
    }
}

/// What is left of a session in this process, and beside its databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOver {
    /// Descriptors on anything that the application keeps.
    pub descriptors: usize,
    /// Databases with a log or its index beside them.
    pub logs: usize,
}

impl LeftOver {
    /// Looks, from outside.
    ///
    /// # Errors
    ///
    /// Where one cannot.
    pub fn look(app: &App) -> Result<Self, Failure> {
        let stores = app.files().stores();
        let mut left = Self { descriptors: open_files(&stores)?.len(), logs: 0 };
        for session in stores.read_dir()? {
            for store in session?.path().read_dir()? {
                let database = store?.path().join("store.sqlite3");
                left.logs += usize::from(!residue(&database)?.is_none());
            }
        }
        Ok(left)
    }
}

/// Logs in, and waits for the rooms.
///
/// # Errors
///
/// Where that does not succeed, or not in time.
pub fn log_in(user: &User<'_>, managed: &Arc<ManagedApp>) -> Result<(), Failure> {
    let before = user.syncs();
    soon("the login", managed.log_in("me", "secret"))??;
    user.synced_since(before)?;
    user.say("logged in");
    Ok(())
}
