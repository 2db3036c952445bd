//! What the state machine asks of an application, with the real client: a session and, with
//! `RuntimePolicy::Keep`, a runtime for each login.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use matrix_sdk::{Client, HttpError, Room, ruma::RoomId};
use matrix_sdk_ui::{
    sync_service::SyncService,
    timeline::{RoomExt as _, Timeline},
};
use state_machine::{
    application::{self, AccessToken, Failure, RequestError},
    config::RuntimePolicy,
    intent::IntentFile,
};
use sundown::{
    RuntimeOwner,
    evidence::no_open_files,
    session::{Confirmation, Guarded, Session},
    shutdown::NotCovered,
};
use tokio::runtime::Handle;

use super::interface::Interface;
use crate::{
    look,
    practice::{members_of, pause, syncing},
    report::check,
    setting::{self, CLUB},
};

/// An open room of the desktop.
pub struct Tab {
    _room: Room,
    _timeline: Arc<Timeline>,
}

/// Opens a room without messages. A debug build of 0.13 panics now and then if a timeline is opened while
/// its first message arrives (`duplicate read receipts`), which is not what this is about.
pub async fn tab(client: &Client) -> Result<Tab> {
    let room = client.join_room_by_id(&RoomId::parse(CLUB)?).await?;
    let timeline = Arc::new(room.timeline().await?);
    Ok(Tab { _room: room, _timeline: timeline })
}

/// Logs in, and starts a sync service.
pub async fn log_in(server: &str, store: &Path) -> Result<(Client, SyncService)> {
    let client = setting::log_in(server, store).await?;
    client.encryption().wait_for_e2ee_initialization_tasks().await;
    let service = syncing(&client).await?;
    Ok((client, service))
}

/// What exists from a login to its logout.
struct Login {
    session: Session,
    runtime: RuntimeOwner,
    store: PathBuf,
    client: Option<Guarded<Client>>,
    service: Option<Guarded<SyncService>>,
}

pub struct App {
    server: String,
    policy: RuntimePolicy,
    runtime: RuntimeOwner,
    interface: Interface,
    intent: IntentFile,
    latest_user_id: PathBuf,
    login: Mutex<Option<Login>>,
}

fn owner(name: &str) -> Result<RuntimeOwner> {
    Ok(RuntimeOwner::builder(name).workers(2).watch_panics().start()?)
}

impl App {
    pub fn start(server: &str, policy: RuntimePolicy) -> Result<Self> {
        let folder = env::current_dir()?;
        Ok(Self {
            server: server.to_owned(),
            policy,
            runtime: owner("app")?,
            interface: Interface::start()?,
            intent: IntentFile::new(folder.join("logout_intent")),
            latest_user_id: folder.join("latest_user_id"),
            login: Mutex::default(),
        })
    }

    /// Ends the application.
    pub fn end(self: Arc<Self>) -> Result<()> {
        let app = Arc::into_inner(self).context("the driver still has the application")?;
        app.interface.end()?;
        let _ = app.runtime.shutdown_blocking(None)?;
        Ok(())
    }

    /// Logs in, starts a sync service, and opens a room.
    pub fn log_in(&self, store: &Path) -> Result<()> {
        let runtime = match self.policy {
            RuntimePolicy::Restart => self.runtime.clone(),
            RuntimePolicy::Keep => owner("login")?,
        };
        let handle = runtime.handle()?;
        let evidence = no_open_files(store);
        let session =
            Session::builder("matrix").runtime(runtime.clone()).evidence(evidence).start()?;
        let (client, service) = handle.block_on(log_in(&self.server, store))?;
        let (client, service) = (session.guard(client)?, session.guard(service)?);
        session.before_close_with(&client, async |client: Guarded<Client>| pause(&client).await)?;
        let room = client.try_map_async(async |client| tab(client).await);
        self.interface.open(Box::new(handle.block_on(room)?))?;
        let members = client.try_map_async(async |client| members_of(client).await);
        self.interface.cache(Box::new(handle.block_on(members)?))?;
        self.intent.clear()?;
        fs::write(&self.latest_user_id, "@me:example.org")?;
        session.look();
        check("the look sees the files of the login", look::files(store)? > 0);
        let (client, service) = (Some(client), Some(service));
        let store = store.to_owned();
        let login = Login { session, runtime, store, client, service };
        if self.login().replace(login).is_some() {
            bail!("somebody is logged in");
        }
        Ok(())
    }

    pub fn client(&self) -> Option<Guarded<Client>> {
        self.login().as_ref()?.client.clone()
    }

    fn service(&self) -> Option<Guarded<SyncService>> {
        self.login().as_ref()?.service.clone()
    }

    fn handle(&self) -> Result<Handle, Failure> {
        let login = self.login();
        Ok(login.as_ref().ok_or("nobody is logged in")?.runtime.handle()?)
    }

    fn login(&self) -> MutexGuard<'_, Option<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl application::Session for App {
    async fn check_logged_in(&self) -> Result<(), Failure> {
        self.client().map(drop).ok_or_else(|| "nobody is logged in".into())
    }

    async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
        let (session, store, handles) = match &mut *self.login() {
            Some(login) => {
                let handles = (login.client.take(), login.service.take());
                (login.session.clone(), login.store.clone(), handles)
            }
            None => return Ok(()),
        };
        drop(handles);
        let report = session.close(limit).await?;
        // What is said must be so.
        check("the end was confirmed from outside", report.confirmation == Confirmation::Evidence);
        let covers_clones = !report.not_covered.contains(&NotCovered::Clones);
        check("the report does not speak of clones", !covers_clones);
        check("no file is open when the session says so", look::files(&store)? == 0);
        Ok(())
    }
}

impl application::SyncService for App {
    async fn stop_sync(&self, _limit: Duration) -> Result<(), Failure> {
        if let Some(service) = self.service() {
            self.handle()?.spawn(async move { service.stop().await }).await?;
        }
        Ok(())
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        if let Some(service) = self.service() {
            drop(self.handle()?.spawn(async move { service.start().await }));
        }
        Ok(())
    }
}

/// Whether the server says that it does not know the token.
fn is_unknown_token(error: &HttpError) -> bool {
    error.as_client_api_error().is_some_and(|error| error.status_code.as_u16() == 401)
}

impl application::Server for App {
    async fn log_out(&self) -> Result<(), RequestError> {
        let Some(client) = self.client() else {
            return Err(RequestError::NotSent("nobody is logged in".into()));
        };
        let request = async move { client.matrix_auth().logout().await.map(drop) };
        let answer = self.handle()?.spawn(request).await.map_err(Failure::from)?;
        answer.map_err(|error| {
            if is_unknown_token(&error) {
                RequestError::TokenUnknown
            } else {
                RequestError::InDoubt(error.into())
            }
        })
    }

    async fn who_am_i(&self) -> Result<AccessToken, Failure> {
        let Some(client) = self.client() else { return Ok(AccessToken::Unknown) };
        let request = async move { client.whoami().await.map(drop) };
        match self.handle()?.spawn(request).await? {
            Ok(()) => Ok(AccessToken::Valid),
            Err(error) if is_unknown_token(&error) => Ok(AccessToken::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

impl application::UserInterface for App {
    async fn close_tabs(&self) -> Result<(), Failure> {
        Ok(self.interface.close_tabs().await?)
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        Ok(self.interface.clean().await?)
    }
}

impl application::Storage for App {
    async fn record_intent(&self) -> Result<(), Failure> {
        Ok(self.intent.record()?)
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(self.intent.is_recorded()?)
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        Ok(self.intent.clear()?)
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.latest_user_id) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl application::Runtime for App {
    /// The session has taken its runtime down with it, unless it could not be closed.
    async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
        let runtime = match &*self.login() {
            Some(login) => login.runtime.clone(),
            None => self.runtime.clone(),
        };
        let ended = runtime.shutdown(limit).await;
        drop(self.login().take());
        let _ = ended?;
        Ok(())
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        Ok(self.runtime.restart()?)
    }
}
