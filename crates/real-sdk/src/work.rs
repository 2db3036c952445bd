//! What an SDK does while somebody closes it.

use anyhow::{Result, bail};
use homeserver::Endpoint;
use matrix_sdk::{
    Client, config::SyncSettings,
    ruma::{RoomId, events::room::message::OriginalSyncRoomMessageEvent},
};
use matrix_sdk_ui::sync_service::SyncService;
use tokio::task::JoinHandle;

use crate::setting::{LOBBY, Setting};

/// How many tasks use the store.
const TASKS: usize = 8;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The client has just logged in, and initializes itself.
    Login,
    /// The sync service runs.
    Service,
    /// Eight tasks of the application, each with a clone of the client, use the store all the time.
    Eight,
    /// A task of the application, with a clone of the client, syncs for ever.
    Loop,
    /// An event handler holds a clone of the client that it belongs to.
    Handler,
}

/// What has been started, and what the application has of it. Dropping it ends nothing but a service.
pub enum Running {
    Nothing,
    Service(SyncService),
    Tasks(Vec<JoinHandle<()>>),
}

impl Work {
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "login" => Self::Login,
            "service" => Self::Service,
            "eight" => Self::Eight,
            "loop" => Self::Loop,
            "handler" => Self::Handler,
            _ => bail!("there is no work `{name}`"),
        })
    }

    /// Starts the work, and returns when it goes on.
    pub async fn start(self, setting: &Setting, client: &Client) -> Result<Running> {
        let synced = |times| setting.server.until(move |server| {
            server.count(Endpoint::Sync) + server.count(Endpoint::SlidingSync) >= times
        });
        Ok(match self {
            Self::Login => Running::Nothing,
            Self::Service => {
                let service = SyncService::builder(client.clone()).build().await?;
                service.start().await;
                // Rooms and encryption, twice each.
                synced(4).await;
                Running::Service(service)
            }
            Self::Eight => {
                client.sync_once(SyncSettings::default()).await?;
                let room = RoomId::parse(LOBBY)?;
                if client.get_room(&room).is_none() {
                    bail!("the room is unknown");
                }
                let tasks = (0..TASKS).map(|number| tokio::spawn(use_the_store(client.clone(), number)));
                Running::Tasks(tasks.collect())
            }
            Self::Loop => {
                let client = client.clone();
                let task = tokio::spawn(async move { drop(client.sync(SyncSettings::default()).await) });
                synced(2).await;
                Running::Tasks(vec![task])
            }
            Self::Handler => {
                let held = client.clone();
                client.add_event_handler(move |_: OriginalSyncRoomMessageEvent| {
                    let client = held.clone();
                    async move { drop(client) }
                });
                client.sync_once(SyncSettings::default()).await?;
                Running::Nothing
            }
        })
    }
}

/// Writes and reads the store, until it does not answer any more.
async fn use_the_store(client: Client, number: usize) {
    let key = format!("task {number}");
    let mut turn = 0_u64;
    loop {
        let value = turn.to_be_bytes().to_vec();
        if client.state_store().set_custom_value(key.as_bytes(), value).await.is_err() {
            return;
        }
        if client.state_store().get_custom_value(key.as_bytes()).await.is_err() {
            return;
        }
        turn += 1;
    }
}

impl Running {
    /// Ends it as the SDK and Tokio allow: stops the service, aborts and joins the tasks.
    pub async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Nothing => {}
            Self::Service(service) => service.stop().await,
            Self::Tasks(tasks) => {
                for task in &*tasks {
                    task.abort();
                }
                for task in tasks {
                    if task.await.is_err_and(|error| error.is_panic()) {
                        bail!("a task panicked");
                    }
                }
            }
        }
        Ok(())
    }
}
