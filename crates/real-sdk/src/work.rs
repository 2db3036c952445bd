//! What an SDK does while somebody closes it.

use anyhow::{Result, bail};
use matrix_sdk::{
    Client,
    config::SyncSettings,
    ruma::{RoomId, events::room::message::OriginalSyncRoomMessageEvent},
};
use matrix_sdk_ui::sync_service::SyncService;
use tokio::{sync::watch, task::JoinHandle};

use crate::setting::{LOBBY, Setting};

/// How many tasks use the store.
const TASKS: usize = 8;

/// How many syncs there have been, or rounds of those tasks together, when the work counts as going on.
const ROUNDS: usize = 8;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The client has just logged in, and initializes itself.
    Login,
    /// The sync service runs, and always has something to do.
    Service,
    /// Eight tasks of the application, each with a clone of the client, use the store all the time.
    Eight,
    /// A task of the application, with a clone of the client, syncs for ever, and always has something to
    /// do.
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
        if matches!(self, Self::Service | Self::Loop) {
            setting.friend_talks()?;
        }
        let synced = async |times| {
            let before = setting.syncs();
            setting.server.until(|_| setting.syncs() >= before + times).await;
        };
        Ok(match self {
            Self::Login => Running::Nothing,
            Self::Service => {
                let service = SyncService::builder(client.clone()).build().await?;
                service.start().await;
                synced(ROUNDS).await;
                Running::Service(service)
            }
            Self::Eight => {
                client.sync_once(SyncSettings::default()).await?;
                let room = RoomId::parse(LOBBY)?;
                if client.get_room(&room).is_none() {
                    bail!("the room is unknown");
                }
                let (done, mut rounds) = watch::channel(0);
                let task =
                    |number| tokio::spawn(use_the_store(client.clone(), number, done.clone()));
                let tasks = (0..TASKS).map(task).collect();
                rounds.wait_for(|rounds| *rounds >= ROUNDS).await?;
                Running::Tasks(tasks)
            }
            Self::Loop => {
                let task = tokio::spawn(sync_for_ever(client.clone()));
                synced(ROUNDS).await;
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

/// Syncs until the client cannot. (`Client::sync` does the same, and pauses for a second each time.)
async fn sync_for_ever(client: Client) {
    loop {
        if let Err(error) = client.sync_once(SyncSettings::default()).await {
            eprintln!("the loop has ended: {error}");
            return;
        }
    }
}

/// Writes and reads the store, until it does not answer any more.
async fn use_the_store(client: Client, number: usize, rounds: watch::Sender<usize>) {
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
        rounds.send_modify(|rounds| *rounds += 1);
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
