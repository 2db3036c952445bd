//! How a client is made.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use sundown::flag::Flag;
use tokio::sync::Notify;

use super::{Client, ClientError, Inner, REQUEST_LIMIT, Stores};
use crate::{
    http::Http,
    store::{Generation, Store},
};

/// The settings of a client. See [`Client::builder`].
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
            request_limit: REQUEST_LIMIT,
            background_tasks: true,
        }
    }

    /// The generation of the pool under the stores. Default: the current one.
    #[must_use]
    pub const fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// How many connections each of the three stores has. Default: 4.
    #[must_use]
    pub const fn connections_per_store(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long a request may take, from connecting to the last byte of the answer. A long poll may
    /// take this much longer than what it waits for. Default: 30 s.
    #[must_use]
    pub const fn request_limit(mut self, limit: Duration) -> Self {
        self.request_limit = limit;
        self
    }

    /// Whether the client runs tasks of its own once it is logged in: one that holds it until the server
    /// has said which versions it speaks, and one that sends what is queued, and holds it meanwhile.
    /// Without them [`Client::send_queued`] sends. Default: yes.
    #[must_use]
    pub const fn background_tasks(mut self, run: bool) -> Self {
        self.background_tasks = run;
        self
    }

    /// Opens the stores, each in a directory of its own inside the client's, and makes the client.
    /// Sends nothing.
    ///
    /// Must be called in the context of a Tokio runtime with its I/O and time drivers enabled.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`], [`ClientError::Store`] if a store cannot be opened, and
    /// [`ClientError::NoRuntime`] on a thread without runtime context.
    pub async fn build(self) -> Result<Client, ClientError> {
        let Self { homeserver, directory, generation, connections, .. } = self;
        let runtime = super::runtime()?;
        let http = Http::new(&homeserver)
            .map_err(|reason| ClientError::Url { url: homeserver, reason })?;
        let open = |name| Store::open(directory.join(name), generation, connections);
        let stores = Stores {
            state: open("state").await?,
            crypto: open("crypto").await?,
            event_cache: open("event-cache").await?,
        };
        let inner = Inner {
            http,
            stores,
            runtime,
            request_limit: self.request_limit,
            background_tasks: self.background_tasks,
            session: Mutex::default(),
            queue: Arc::new(Notify::new()),
            sending: Flag::new(),
            closing: Flag::new(),
            tasks: Mutex::default(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}
