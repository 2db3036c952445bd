//! How a client is made.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Client, ClientError, Stores};
use crate::{
    http::Http,
    store::{Generation, Store},
};

/// Settings of a client that is not made yet. See [`Client::builder`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    homeserver: String,
    directory: PathBuf,
    generation: Generation,
    connections: usize,
    request_limit: Duration,
    background_tasks: bool,
}

impl ClientBuilder {
    pub(super) fn new(homeserver: &str, directory: &Path) -> Self {
        Self {
            homeserver: homeserver.to_owned(),
            directory: directory.to_owned(),
            generation: Generation::Current,
            connections: 4,
            request_limit: Duration::from_secs(30),
            background_tasks: true,
        }
    }

    /// Which generation of the pool the stores are built on; the current one otherwise.
    #[must_use]
    pub const fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// How many connections each of the three stores has; 4 otherwise.
    #[must_use]
    pub const fn connections_per_store(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long a request may take, from connecting to the last byte of the answer; 30 seconds
    /// otherwise. A long poll may take so long beyond what it waits for.
    #[must_use]
    pub const fn request_limit(mut self, limit: Duration) -> Self {
        self.request_limit = limit;
        self
    }

    /// Whether the client runs tasks of its own once it is logged in; it does otherwise. Each holds
    /// a clone of it: one until the server has told what it speaks, one that sends what is queued
    /// for as long as its runtime lives. Without them [`Client::send_queued`] sends.
    #[must_use]
    pub const fn background_tasks(mut self, run: bool) -> Self {
        self.background_tasks = run;
        self
    }

    /// Opens the stores, each in a directory of its own below the client's, and makes the client.
    /// Sends nothing.
    ///
    /// Must be called in the context of a Tokio runtime with its I/O and time drivers enabled.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] where the URL is none, [`ClientError::Store`] where a store cannot be
    /// opened, and [`ClientError::NoRuntime`] on a thread without runtime context.
    pub async fn build(self) -> Result<Client, ClientError> {
        let runtime = super::runtime()?;
        let http = Http::to(&self.homeserver)?;
        let open = |name| Store::open(self.directory.join(name), self.generation, self.connections);
        let stores = Stores {
            state: open("state").await?,
            crypto: open("crypto").await?,
            event_cache: open("event-cache").await?,
        };
        Ok(Client::new(http, stores, runtime, self.request_limit, self.background_tasks))
    }
}
