//! What every program starts with: a homeserver with two users and two rooms, and clients that log in.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;
use homeserver::Homeserver;
use matrix_sdk::Client;

/// A room that everybody is in, with one message.
pub const LOBBY: &str = "!lobby:example.org";
/// A room that has to be joined.
pub const CLUB: &str = "!club:example.org";

/// The homeserver, and the folder of the stores.
pub struct Setting {
    pub server: Homeserver,
    directory: PathBuf,
}

impl Setting {
    pub fn new() -> Result<Self> {
        let server = Homeserver::start()?;
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

    /// Logs in as a new device, whose SQLite stores are in this folder of their own.
    pub async fn log_in(&self, store: &str) -> Result<Client> {
        let client = Client::builder()
            .homeserver_url(self.server.url())
            .sqlite_store(self.directory.join(store), None)
            .build()
            .await?;
        client.matrix_auth().login_username("me", "secret").send().await?;
        Ok(client)
    }
}
