//! What most of the tests begin with.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mock_sdk::{
    client::{Client, ClientBuilder},
    homeserver::Homeserver,
};
use sundown::evidence::open_files;
use tempfile::TempDir;

/// For what has to happen, however busy the machine is.
pub const PLENTY: Duration = Duration::from_secs(30);

/// What requests are given that shall time out.
pub const SHORT: Duration = Duration::from_millis(50);

pub const ROOM: &str = "!a:example.org";

/// A server with a user and a room, and a directory for clients.
pub struct Setting {
    pub server: Homeserver,
    directory: TempDir,
}

impl Setting {
    pub fn new() -> Self {
        let server = Homeserver::start().unwrap();
        server.add_user("me", "secret");
        server.add_room(ROOM, "The first room");
        Self { server, directory: tempfile::tempdir().unwrap() }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder(&self.server.url(), self.directory())
            .connections_per_store(2)
            .request_limit(PLENTY)
    }

    /// A client that does nothing by itself.
    pub async fn quiet_client(&self) -> Client {
        self.builder().background_tasks(false).build().await.unwrap()
    }

    pub async fn logged_in(&self) -> Client {
        let client = self.quiet_client().await;
        client.matrix_auth().login("me", "secret").await.unwrap();
        client
    }

    pub fn open_files(&self) -> Vec<PathBuf> {
        open_files(self.directory()).unwrap()
    }
}

/// Waits for something that has to happen; a test that waits for ever tells nobody why.
pub async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PLENTY, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PLENTY:?}"),
    }
}
