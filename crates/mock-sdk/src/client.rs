//! The client: what an application clones and spreads, and what has to be gone before its runtime.
//!
//! It is shaped as the Matrix SDK's is: cheap clones of one inner, three stores, handles derived from
//! it that keep it alive, and tasks of its own that do so too, whether the application knows of them
//! or not. What ends it is the drop of the *last* of all these, on whatever thread that happens, and
//! the destructors of the stores' connections then run there. That is the hazard, and it is not
//! cured here. An SDK that can be asked to end has a [`Client::close`].

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::Method;
use serde_json::Value;
use sundown::flag::Flag;
use tokio::{runtime::Handle, sync::Notify};

mod builder;
mod matrix_auth;
mod room;
mod send_queue;

pub use builder::ClientBuilder;
pub use matrix_auth::MatrixAuth;
pub use room::{Room, Timeline};

use crate::{
    background::Background,
    backoff::Backoff,
    http::{Answer, Call, Http, HttpError},
    store::{Session, Store, StoreError},
};

/// Why a client could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request to the server came to nothing.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This needs somebody to be logged in.
    #[error("nobody is logged in; log in, or restore a session")]
    NotLoggedIn,
    /// There is a session already.
    #[error("{user} is logged in already; log out first, or make another client")]
    AlreadyLoggedIn {
        /// Who is.
        user: String,
    },
    /// The client has been closed.
    #[error("the client has been closed; make another")]
    Closed,
    /// There is no runtime on this thread.
    #[error("there is no Tokio runtime on this thread; call this where one is entered")]
    NoRuntime,
}

impl ClientError {
    /// Whether the server does not know the access token.
    #[must_use]
    pub fn is_unknown_token(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_unknown_token())
    }

    /// Whether the server may have done what it was asked all the same.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_in_doubt())
    }

    /// Whether the same may succeed another time, without anybody doing anything about it: a server
    /// that comes back, a store that another process has locked.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Store(error) => !matches!(error, StoreError::Closed { .. }),
            _ => false,
        }
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http(error) => error.refusal().and_then(|error| error.retry_after),
            _ => None,
        }
    }
}

/// The three stores of a client.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Rooms, and what waits to be sent.
    pub state: Store,
    /// Who is logged in.
    pub crypto: Store,
    /// Events, and how far the sync has come.
    pub event_cache: Store,
}

impl Stores {
    const fn all(&self) -> [&Store; 3] {
        [&self.state, &self.crypto, &self.event_cache]
    }
}

/// A client. Clones are the same client.
///
/// ```
/// use mock_sdk::{client::Client, homeserver::Homeserver};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let server = Homeserver::start()?;
/// server.add_user("me", "secret");
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
/// runtime.block_on(async {
///     let client = Client::builder(&server.url(), directory.path()).build().await?;
///     client.matrix_auth().login("me", "secret").await?;
///     assert_eq!(client.matrix_auth().whoami().await?, "@me:example.org");
///     client.matrix_auth().logout().await?;
///     client.close().await?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    stores: Stores,
    runtime: Handle,
    request_limit: Duration,
    background_tasks: bool,
    session: Mutex<Option<Session>>,
    /// Told when something is queued, and when somebody logs in.
    queue: Notify,
    sending: Flag,
    closing: Flag,
    background: Mutex<Vec<Arc<Background>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Result<Handle, ClientError> {
    Handle::try_current().map_err(|_| ClientError::NoRuntime)
}

impl Client {
    /// Begins to make a client of a homeserver, `http://127.0.0.1:8008`, with its stores below a
    /// directory, which is made where it is missing.
    #[must_use]
    pub fn builder(homeserver: &str, directory: &Path) -> ClientBuilder {
        ClientBuilder::new(homeserver, directory)
    }

    fn new(
        http: Http,
        stores: Stores,
        runtime: Handle,
        request_limit: Duration,
        background_tasks: bool,
    ) -> Self {
        let inner = Inner {
            http,
            stores,
            runtime,
            request_limit,
            background_tasks,
            session: Mutex::default(),
            queue: Notify::new(),
            sending: Flag::new(),
            closing: Flag::new(),
            background: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Logging in and out.
    #[must_use]
    pub fn matrix_auth(&self) -> MatrixAuth {
        MatrixAuth::of(self.clone())
    }

    /// Who is logged in.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        lock(&self.inner.session).clone()
    }

    /// What the server knows the session by.
    #[must_use]
    pub fn access_token(&self) -> Option<String> {
        lock(&self.inner.session).as_ref().map(|session| session.access_token.clone())
    }

    /// Every room, by id, as far as they have been synced.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] and [`ClientError::Closed`].
    pub async fn rooms(&self) -> Result<Vec<Room>, ClientError> {
        let rooms = self.open_store()?.state.rooms().await?;
        Ok(rooms.into_iter().map(|room| Room::of(self.clone(), room)).collect())
    }

    /// A room by its id. `None` where it has not been synced.
    ///
    /// # Errors
    ///
    /// As [`Client::rooms`].
    pub async fn room(&self, id: &str) -> Result<Option<Room>, ClientError> {
        Ok(self.rooms().await?.into_iter().find(|room| room.id() == id))
    }

    /// The stores. Clones of them are owners of their connections, as the client is.
    #[must_use]
    pub fn store(&self) -> &Stores {
        &self.inner.stores
    }

    /// The runtime that the client was made on, and runs its tasks on.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// How many tasks of its own, and of services made from it, hold a clone of this client.
    #[must_use]
    pub fn background_tasks(&self) -> usize {
        lock(&self.inner.background).iter().filter(|task| !task.has_ended()).count()
    }

    /// Ends the client, for every clone of it: stops its own tasks and its sync service, closes its
    /// stores, and returns when SQLite has closed every connection. Every caller waits for that, and
    /// another call returns at once. Dropping the last clone afterwards does nothing, on any thread.
    ///
    /// It waits for whoever is at work on a connection, without a limit: put a timeout around it.
    /// Dropped half-way it has stopped the tasks, and another call goes on.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoRuntime`] on a thread without runtime context, in which case nothing has
    /// been closed.
    pub async fn close(&self) -> Result<(), ClientError> {
        // The destructors of the connections find their blocking threads through it.
        runtime()?;
        self.inner.closing.raise();
        // Who comes later finds the flag up, under the same lock.
        let background = lock(&self.inner.background).clone();
        for task in &background {
            task.stop();
        }
        for task in &background {
            task.ended().await;
        }
        for store in self.inner.stores.all() {
            store.close_and_wait().await;
        }
        Ok(())
    }

    /// The stores, as long as the client has not been closed.
    pub(crate) fn open_store(&self) -> Result<&Stores, ClientError> {
        if self.inner.closing.is_raised() {
            return Err(ClientError::Closed);
        }
        Ok(&self.inner.stores)
    }

    async fn enqueue(&self, room: &str, body: String) -> Result<i64, ClientError> {
        let number = self.open_store()?.state.enqueue(room, body).await?;
        self.inner.queue.notify_one();
        Ok(number)
    }

    async fn queue_changed(&self) {
        self.inner.queue.notified().await;
    }

    /// Makes a session the client's own, unless it has one: then that one comes back.
    fn begin_session(&self, session: Session) -> Option<Session> {
        let mut current = lock(&self.inner.session);
        if let Some(already) = &*current {
            return Some(already.clone());
        }
        *current = Some(session);
        None
    }

    fn end_session(&self, token: &str) {
        let mut session = lock(&self.inner.session);
        if session.as_ref().is_some_and(|session| session.access_token == token) {
            *session = None;
        }
    }

    fn start_background_tasks(&self) {
        if !self.inner.background_tasks {
            return;
        }
        // What could not be started, because the client is closing, is not missed.
        let client = self.clone();
        let _ = self.spawn(|task| async move {
            task.unless_stopped(client.initialize()).await;
        });
        if self.inner.sending.raise() {
            let client = self.clone();
            // Broken off between the server's answer and the note of it, a message is sent again by
            // the next client, and taken once.
            let _ = self.spawn(|task| async move {
                task.unless_stopped(client.keep_sending()).await;
            });
        }
        self.inner.queue.notify_one();
    }

    /// The task of every beginning: holds the client until the server has told what it speaks.
    async fn initialize(self) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.get_versions().await {
            if !error.is_transient() {
                return;
            }
            tokio::time::sleep(backoff.wait(error.retry_after())).await;
        }
    }

    async fn get_versions(&self) -> Result<Answer, ClientError> {
        self.call(Method::GET, "/_matrix/client/versions", None, None).await
    }

    /// Spawns a task that [`Client::close`] ends.
    pub(crate) fn spawn<F>(
        &self,
        work: impl FnOnce(Arc<Background>) -> F,
    ) -> Result<Arc<Background>, ClientError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut background = lock(&self.inner.background);
        if self.inner.closing.is_raised() {
            return Err(ClientError::Closed);
        }
        background.retain(|task| !task.has_ended());
        let task = Background::spawn(&self.inner.runtime, work);
        background.push(Arc::clone(&task));
        Ok(task)
    }

    async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        let token = self.access_token().ok_or(ClientError::NotLoggedIn)?;
        self.call(Method::GET, path, Some(&token), None).await
    }

    /// A request that waits for something to happen, for so long at most.
    pub(crate) async fn long_poll(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        self.open_store()?;
        let token = self.access_token().ok_or(ClientError::NotLoggedIn)?;
        let call = Call {
            method: Method::GET,
            path: path.to_owned(),
            token: Some(&token),
            body: None,
            limit: wait.saturating_add(self.inner.request_limit),
        };
        Ok(self.inner.http.call(call).await?)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Answer, ClientError> {
        self.open_store()?;
        let limit = self.inner.request_limit;
        let call = Call { method, path: path.to_owned(), token, body, limit };
        Ok(self.inner.http.call(call).await?)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("user", &self.session().map(|session| session.user))
            .field("stores", &self.inner.stores)
            .finish_non_exhaustive()
    }
}
