//! An application with a homeserver and a user interface, as the experiments on logging out begin
//! with it.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use mock_sdk::{
    app::{
        App, AppConfig, AppError,
        action::Action,
        held::{Held, Holding, NotHeld},
        requests::Request,
        ui::UiThread,
    },
    client::{Client, Room, Timeline},
    homeserver::{Endpoint, Homeserver},
    sync::SyncService,
};
use sundown::session::Session;
use tokio::runtime::Handle;

/// Who logs in, and with what.
pub const USER: &str = "me";
const PASSWORD: &str = "secret";

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

/// Has everything that an application gets from the SDK guarded by a session of the kit.
#[derive(Clone, Debug)]
pub struct InSession(pub Session);

impl InSession {
    /// A holding for [`AppConfig`].
    #[must_use]
    pub fn holding(session: &Session) -> Arc<dyn Holding> {
        Arc::new(Self(session.clone()))
    }

    fn guard<T: Send + Sync + 'static>(&self, value: T) -> Result<Held<T>, NotHeld> {
        match self.0.guard(value) {
            Ok(handle) => Ok(Held::by(handle)),
            Err(refused) => Err(NotHeld(refused.to_string().into())),
        }
    }
}

impl Holding for InSession {
    fn client(&self, client: Client) -> Result<Held<Client>, NotHeld> {
        self.guard(client)
    }

    fn sync_service(&self, service: SyncService) -> Result<Held<SyncService>, NotHeld> {
        self.guard(service)
    }

    fn room(&self, room: Room) -> Result<Held<Room>, NotHeld> {
        self.guard(room)
    }

    fn timeline(&self, timeline: Timeline) -> Result<Held<Timeline>, NotHeld> {
        self.guard(timeline)
    }
}

/// Longer than anything takes that is not broken, and shorter than a trial may.
pub const PLENTY: Duration = Duration::from_secs(8);
