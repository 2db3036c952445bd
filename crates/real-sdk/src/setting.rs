//! What every program starts with: a homeserver with two users and two rooms, and clients that log in.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Result;
use homeserver::{Endpoint, Homeserver};
use matrix_sdk::{Client, config::SyncSettings};

/// A room that everybody is in, with one message.
pub const LOBBY: &str = "!lobby:example.org";
/// A room that has to be joined.
pub const CLUB: &str = "!club:example.org";

/// The homeserver, and the folder of the stores.
pub struct Setting {
    pub server: Arc<Homeserver>,
    directory: PathBuf,
}

impl Setting {
    pub fn new() -> Result<Self> {
        let server = Arc::new(Homeserver::start()?);
        server.add_user("me", "secret");
        server.add_user("friend", "secret");
        server.say(LOBBY, "friend", "hello");
        server.add_room_to_join(CLUB);
        Ok(Self { server, directory: env::current_dir()? })
    }

    /// The folder of all stores.
    pub fn stores(&self) -> &Path {
        &self.directory
    }

    /// How many syncs the server has been asked for, of either kind.
    pub fn syncs(&self) -> usize {
        syncs(&self.server)
    }

    /// Has a friend say something whenever the client has asked what is new, so that a client which syncs
    /// always has something to do. It ends with the process.
    pub fn friend_talks(&self) -> Result<()> {
        let server = Arc::clone(&self.server);
        thread::Builder::new().name("friend".to_owned()).spawn(move || {
            loop {
                let before = syncs(&server);
                server.say(LOBBY, "friend", "and another thing");
                while syncs(&server) == before {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        })?;
        Ok(())
    }

    /// The folder of one login's stores.
    pub fn store(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Logs in, and waits until the client has initialized itself and knows its rooms: nothing goes on then.
    pub async fn log_in_and_settle(&self, store: &str) -> Result<Client> {
        settled(self.log_in(store).await?).await
    }

    /// Logs in as a new device, whose SQLite stores are in this folder of their own.
    pub async fn log_in(&self, store: &str) -> Result<Client> {
        log_in(&self.server.url(), &self.store(store)).await
    }
}

/// Logs in at this server as a new device, whose SQLite stores are in this folder.
pub async fn log_in(server: &str, store: &Path) -> Result<Client> {
    let client = build(server, store).await?;
    client.matrix_auth().login_username("me", "secret").send().await?;
    Ok(client)
}

/// A client with these stores, in which nobody is logged in.
pub async fn build(server: &str, store: &Path) -> Result<Client> {
    Ok(Client::builder().homeserver_url(server).sqlite_store(store, None).build().await?)
}

/// Waits until the client has initialized itself and knows its rooms.
pub async fn settled(client: Client) -> Result<Client> {
    client.encryption().wait_for_e2ee_initialization_tasks().await;
    client.sync_once(SyncSettings::default()).await?;
    Ok(client)
}

fn syncs(server: &Homeserver) -> usize {
    server.count(Endpoint::Sync) + server.count(Endpoint::SlidingSync)
}
