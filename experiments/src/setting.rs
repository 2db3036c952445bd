//! An application at a homeserver, as the experiments on logging out begin with it.

use std::{error::Error, io, path::Path, sync::Arc, time::Duration};

use futures::executor::block_on;
use lab::{Trial, TrialResult};
use mock_sdk::{
    app::{
        App, AppConfig, AppError, action::Action, managed::ManagedApp, requests::Request,
        ui::UiThread,
    },
    homeserver::{Endpoint, Homeserver},
};
use state_machine::config::{LogoutConfig, RuntimePolicy};
use sundown::within;
use tokio::runtime::Handle;

use crate::PLENTY;

/// The user of the homeserver.
pub const USER: &str = "me";
/// And the password.
pub const PASSWORD: &str = "secret";

/// The rooms of the homeserver.
pub const ROOMS: [&str; 3] = ["!a:example.org", "!b:example.org", "!c:example.org"];

/// A server with a user, and with something said in every room.
pub fn homeserver() -> io::Result<Homeserver> {
    let server = Homeserver::start()?;
    server.add_user(USER, PASSWORD);
    for room in ROOMS {
        server.say(room, "other", "hello");
    }
    Ok(server)
}

/// An application at the server with this URL, which keeps everything below a directory.
#[must_use]
pub fn config(url: &str, directory: &Path) -> AppConfig {
    let mut config = AppConfig::new(url, directory);
    config.connections_per_store = 2;
    config.frame = Duration::from_millis(1);
    config
}

/// Waits on this thread, which needs no runtime, for at most [`PLENTY`].
pub fn soon<T>(what: &str, wait: impl Future<Output = T>) -> TrialResult<T> {
    let waited = block_on(within(PLENTY, wait));
    waited.ok_or_else(|| format!("{what}: not within {PLENTY:?}").into())
}

/// Whether the application asks the server what is new within a limit, when something has happened. On
/// a busy machine that has taken more than a second.
#[must_use]
pub fn syncs(server: &Homeserver, limit: Duration) -> bool {
    let asked = server.count(Endpoint::Sync);
    server.say(ROOMS[0], "other", "are you there?");
    let asks = server.until(|server| server.count(Endpoint::Sync) > asked);
    block_on(within(limit, asks)).is_some()
}

/// Opens every room, as soon as it has been synced, and returns when the user interface shows them.
pub async fn open_rooms(app: &App) -> TrialResult {
    for room in ROOMS {
        // A room that has not been synced yet does not open, and is asked for again.
        while !app.globals().all_joined_rooms.with(|rooms| rooms.contains_key(room)) {
            app.request(Request::Open { room: room.to_owned() })?;
            let (done, tried) = tokio::sync::oneshot::channel();
            app.request(Request::Run(Box::new(|| {
                Box::pin(async {
                    let _ = done.send(());
                })
            })))?;
            tried.await?;
        }
    }
    app.ui().screen().wait_for(|screen| screen.tabs.len() == ROOMS.len()).await?;
    Ok(())
}

/// The access token of the user who is logged in.
pub fn token(app: &App) -> TrialResult<String> {
    let client = app.globals().client.get().ok_or("there is no client")?;
    Ok(client.access_token().ok_or("there is no token")?)
}

/// Has everything that holds the client let go of it, and then closes it. The calling task must have
/// the context of a runtime.
pub async fn close_client(app: &App) -> TrialResult {
    let globals = app.globals();
    app.expect_worker_end();
    drop(globals.request_sender.take());
    let client = globals.client.take();
    drop((globals.sync_service.take(), globals.all_joined_rooms.take()));
    app.ui().clean_app_state().await?;
    if let Some(client) = client {
        client.close().await?;
    }
    Ok(())
}

/// A logout without the kit, in the right order. The calling task must have the context of a runtime.
pub async fn log_out_by_hand(app: &App) -> TrialResult {
    let client = app.globals().client.get().ok_or("nobody is logged in")?;
    client.matrix_auth().logout().await?;
    drop(client);
    close_client(app).await?;
    app.files().delete_latest_user_id()?;
    app.ui().post(Action::LogoutSuccess)?;
    Ok(())
}

/// A plain application at a server of its own, whose user interface has a thread.
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
    /// An application in which nobody is logged in. See [`config`].
    pub fn start(directory: &Path, configure: impl FnOnce(&mut AppConfig)) -> TrialResult<Self> {
        let server = homeserver()?;
        let mut config = config(&server.url(), directory);
        configure(&mut config);
        let (app, event_loop) = App::new(config);
        Ok(Self { server, app, ui: event_loop.spawn()? })
    }

    /// Logs in, and returns when the rooms are known. The calling task must have the context of the
    /// runtime that is to run the client and the worker.
    pub async fn log_in(&self) -> Result<(), AppError> {
        let asked = self.server.count(Endpoint::Sync);
        self.app.start_worker(&Handle::current());
        self.app.log_in(USER, PASSWORD).await?;
        synced(&self.server, asked).await;
        Ok(())
    }

    /// Closes the client, and ends user interface and server. The calling task must have the context
    /// of a runtime.
    pub async fn end(self) -> TrialResult {
        close_client(&self.app).await?;
        self.app.ui().post(Action::Quit)?;
        self.ui.join()?;
        self.server.stop();
        Ok(())
    }
}

/// Waits until the rooms are known to a client that logged in when the server had been asked so often
/// what is new: it asks a second time when it has stored the first answer.
pub(crate) async fn synced(server: &Homeserver, asked: usize) {
    server.until(|server| server.count(Endpoint::Sync) >= asked + 2).await;
}

/// An application that logs out by the state machine, with a user who is logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The server.
    pub server: Arc<Homeserver>,
    /// The application.
    pub app: Arc<ManagedApp>,
    /// The thread of its user interface.
    pub ui: UiThread,
    /// The session's access token.
    pub token: String,
}

impl LoggedIn {
    /// Logs in at a new server, and opens a room.
    pub fn start(directory: &Path) -> TrialResult<Self> {
        let server = Arc::new(homeserver()?);
        let (app, ui) = managed(&server, directory)?;
        let asked = server.count(Endpoint::Sync);
        block_on(async {
            app.log_in(USER, PASSWORD).await?;
            synced(&server, asked).await;
            app.app().request(Request::Open { room: ROOMS[0].to_owned() })?;
            app.app().ui().screen().wait_for(|screen| screen.tabs.len() == 1).await?;
            Ok::<_, Box<dyn Error>>(())
        })?;
        let token = token(app.app())?;
        Ok(Self { server, app, ui, token })
    }

    /// Ends the application without a logout, as the end of the process does.
    pub fn end(self) -> TrialResult {
        end(&self.app, self.ui)
    }
}

/// An application that logs out by the state machine, in which nobody is logged in.
pub fn managed(server: &Homeserver, directory: &Path) -> TrialResult<(Arc<ManagedApp>, UiThread)> {
    let mut config = config(&server.url(), directory);
    config.frame = Duration::from_millis(4);
    let (app, event_loop) = ManagedApp::start(config, RuntimePolicy::Restart)?;
    Ok((Arc::new(app), event_loop.spawn()?))
}

/// Ends an application without a logout, as the end of the process does.
pub fn end(app: &ManagedApp, ui: UiThread) -> TrialResult {
    // An error if it has ended already.
    let _ = app.app().ui().post(Action::Quit);
    ui.join()?;
    app.app().expect_worker_end();
    let _ = app.runtime().shutdown_blocking(PLENTY)?;
    Ok(())
}

/// Starts the application again, and says whether a user is logged in. Checks that the user then has a
/// token that the server knows, and syncs; or else that the server knows no token, and the application
/// no user.
pub fn next_start(
    trial: &Trial<'_>,
    server: &Homeserver,
    token: &str,
    directory: &Path,
) -> TrialResult<&'static str> {
    let (app, ui) = managed(server, directory)?;
    let user = block_on(app.log_in_latest(&LogoutConfig::default()))?;
    let (alive, kept) = (server.is_alive(token), app.app().files().latest_user_id()?.is_some());
    trial.check("neither in between nor wrong", user.is_some() == alive && kept == alive);
    if alive {
        trial.check("a user who is logged in syncs after the next start", syncs(server, PLENTY));
    }
    end(&app, ui)?;
    Ok(if user.is_some() { "logged in" } else { "logged out" })
}
