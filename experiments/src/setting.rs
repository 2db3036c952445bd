//! An application with a homeserver and a user interface, as the experiments on logging out begin
//! with it.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use futures::executor::block_on;
use lab::Trial;
use mock_sdk::{
    app::{
        App, AppConfig, AppError, action::Action, managed::ManagedApp, requests::Request,
        ui::UiThread,
    },
    homeserver::{Endpoint, Homeserver},
};
use state_machine::{
    config::{LogoutConfig, RuntimePolicy},
    driver::Driver,
};
use sundown::limit::within;
use tokio::runtime::Handle;

/// Who logs in.
pub const USER: &str = "me";
/// And with what.
pub const PASSWORD: &str = "secret";

/// The rooms there are.
pub const ROOMS: [&str; 3] = ["!a:example.org", "!b:example.org", "!c:example.org"];

/// A server with a user, and with something said in every room.
///
/// # Errors
///
/// Where it cannot be started.
pub fn homeserver() -> Result<Homeserver, Box<dyn Error>> {
    let server = Homeserver::start()?;
    server.add_user(USER, PASSWORD);
    for room in ROOMS {
        server.say(room, "other", "hello");
    }
    Ok(server)
}

/// An application at a server, whose user interface runs on a thread of its own.
#[derive(Debug)]
pub struct Setting {
    /// The server.
    pub server: Homeserver,
    /// The application.
    pub app: App,
    /// The thread of its user interface.
    pub ui: UiThread,
}

impl Setting {
    /// An application in which nobody is logged in, with everything it keeps below a directory.
    ///
    /// # Errors
    ///
    /// Where server or thread cannot be started.
    pub fn start(
        directory: &Path,
        configure: impl FnOnce(&mut AppConfig),
    ) -> Result<Self, Box<dyn Error>> {
        let server = homeserver()?;
        let mut config = AppConfig::new(&server.url(), directory);
        config.connections_per_store = 2;
        configure(&mut config);
        let (app, event_loop) = App::new(config);
        Ok(Self { server, app, ui: event_loop.spawn()? })
    }

    /// Logs in, and returns when the rooms are known. The calling task must be in the context of the
    /// runtime that the client is to use, which then also runs the worker.
    ///
    /// # Errors
    ///
    /// Those of the application.
    pub async fn log_in(&self) -> Result<(), AppError> {
        let synced = self.server.count(Endpoint::Sync);
        self.app.start_worker(&Handle::current());
        self.app.log_in(USER, PASSWORD).await?;
        // A second question is asked when the first answer has been written.
        self.server.until(|server| server.count(Endpoint::Sync) >= synced + 2).await;
        Ok(())
    }

    /// Opens every room, and returns when the user interface shows them.
    ///
    /// # Errors
    ///
    /// Where there is no worker, or no user interface.
    pub async fn open_rooms(&self) -> Result<(), Box<dyn Error>> {
        for room in ROOMS {
            self.app.request(Request::Open { room: room.to_owned() })?;
        }
        self.app.ui().screen().wait_for(|screen| screen.tabs.len() == ROOMS.len()).await?;
        Ok(())
    }

    /// Ends it properly: whatever holds the client lets go of it, and then it is closed. The calling
    /// task must be in a runtime's context.
    ///
    /// # Errors
    ///
    /// Where the user interface has panicked, or the client does not close.
    pub async fn end(self) -> Result<(), Box<dyn Error>> {
        let Self { server, app, ui } = self;
        let globals = app.globals();
        let client = globals.client.take();
        drop((globals.sync_service.take(), globals.all_joined_rooms.take()));
        app.expect_worker_end();
        drop(globals.request_sender.take());
        app.ui().clean_app_state().await?;
        if let Some(client) = client {
            client.close().await?;
        }
        app.ui().post(Action::Quit)?;
        ui.join()?;
        server.stop();
        Ok(())
    }
}

/// Longer than anything takes that is not broken, and shorter than a trial may.
pub const PLENTY: Duration = Duration::from_secs(8);

/// An application that can log out by the state machine, in which somebody is logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The server.
    pub server: Arc<Homeserver>,
    /// The application.
    pub app: Arc<ManagedApp>,
    /// The thread of its user interface.
    pub ui: UiThread,
    /// What the server knows the session by.
    pub token: String,
}

impl LoggedIn {
    /// Logs in at a server, with everything that is kept below a directory, and opens a room.
    ///
    /// # Errors
    ///
    /// Where the application cannot be started, or the server does not let it log in.
    pub fn start(server: &Arc<Homeserver>, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let (app, ui) = managed(server, directory)?;
        let synced = server.count(Endpoint::Sync);
        block_on(async {
            app.log_in(USER, PASSWORD).await?;
            server.until(|server| server.count(Endpoint::Sync) >= synced + 2).await;
            app.app().request(Request::Open { room: ROOMS[0].to_owned() })?;
            app.app().ui().screen().wait_for(|screen| screen.tabs.len() == 1).await?;
            Ok::<_, Box<dyn Error>>(())
        })?;
        let client = app.app().globals().client.get().ok_or("there is no client")?;
        let token = client.access_token().ok_or("there is no token")?;
        Ok(Self { server: Arc::clone(server), app, ui, token })
    }

    /// A driver of its logout.
    #[must_use]
    pub fn driver(&self) -> Driver<ManagedApp> {
        Driver::new(Arc::clone(&self.app), self.app.logout_config())
    }

    /// Whether the application asks the server what has happened: something happens, and it is looked
    /// whether it asks for what comes after that. Where it does not, that takes [`PLENTY`].
    #[must_use]
    pub fn syncs(&self) -> bool {
        syncs(&self.server, PLENTY)
    }

    /// Ends the application without a logout, as the end of the process does.
    ///
    /// # Errors
    ///
    /// Where the user interface panicked, or the runtime does not end.
    pub fn end(self) -> Result<(), Box<dyn Error>> {
        end(self.app, self.ui)
    }
}

/// See [`LoggedIn::syncs`]. For one who is expected not to ask a shorter limit will do; of one who does,
/// on a busy machine, more than a second has been seen.
#[must_use]
pub fn syncs(server: &Homeserver, limit: Duration) -> bool {
    let asked = server.count(Endpoint::Sync);
    server.say(ROOMS[0], "other", "are you there?");
    let asks = server.until(|server| server.count(Endpoint::Sync) > asked);
    block_on(within(limit, asks)).is_some()
}

/// An application that can log out, with its user interface, in which nobody is logged in.
///
/// # Errors
///
/// Where it cannot be started.
pub fn managed(
    server: &Homeserver,
    directory: &Path,
) -> Result<(Arc<ManagedApp>, UiThread), Box<dyn Error>> {
    let mut config = AppConfig::new(&server.url(), directory);
    config.connections_per_store = 2;
    config.frame = Duration::from_millis(4);
    let (app, event_loop) = ManagedApp::start(config, RuntimePolicy::Restart)?;
    Ok((Arc::new(app), event_loop.spawn()?))
}

/// Ends an application without a logout, as the end of the process does.
///
/// # Errors
///
/// Where the user interface panicked, or the runtime does not end.
pub fn end(app: Arc<ManagedApp>, ui: UiThread) -> Result<(), Box<dyn Error>> {
    // Where it has ended before, it need not be told.
    let _ = app.app().ui().post(Action::Quit);
    ui.join()?;
    app.app().expect_worker_end();
    let _ = app.runtime().shutdown_blocking(PLENTY)?;
    Ok(())
}

/// Starts the application again, and says whether somebody is logged in: checked to be with a token
/// that the server knows, and a sync service that runs, or else with a token that it does not know and
/// nobody to log in.
///
/// # Errors
///
/// Where it does not start, or does not end.
pub fn next_start(
    trial: &Trial<'_>,
    server: &Homeserver,
    token: &str,
    directory: &Path,
) -> Result<&'static str, Box<dyn Error>> {
    let (app, ui) = managed(server, directory)?;
    let user = block_on(app.log_in_latest(&LogoutConfig::default()))?;
    let (alive, kept) = (server.is_alive(token), app.app().files().latest_user_id()?.is_some());
    trial.check("neither in between nor wrong", user.is_some() == alive && kept == alive);
    if alive {
        trial.check("who is logged in syncs after the next start", syncs(server, PLENTY));
    }
    end(app, ui)?;
    Ok(if user.is_some() { "logged in" } else { "logged out" })
}
