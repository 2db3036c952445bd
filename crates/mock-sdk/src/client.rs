//! The client: what an application clones and spreads, and what must be gone before its runtime.
//!
//! It is shaped like the Matrix SDK's: cheap clones of one inner value, three stores, handles derived
//! from it that keep it alive, and tasks of its own that do so too for a while, whether the application
//! knows of them or not ([`owners`](crate::owners) lists them). The drop of the *last* of all these ends
//! it, on whatever thread that happens, and the destructors of the stores' connections run there. That is
//! the hazard, and nothing here cures it. An SDK that can be asked to end has a [`Client::close`].

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hyper::Method;
use serde_json::Value;
use sundown::flag::Flag;
use tokio::{runtime::Handle, sync::Notify};

mod builder;
mod error;
mod matrix_auth;
mod room;
mod send_queue;

pub use builder::ClientBuilder;
pub use error::ClientError;
pub use matrix_auth::MatrixAuth;
pub(crate) use matrix_auth::whoami;
pub use room::{Room, Timeline};

use crate::{
    background::Background,
    backoff::Backoff,
    http::{Answer, Call, Http},
    store::{Session, Store},
};

/// How long a request may take, by default.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// The three stores of a client.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Rooms and the outbox.
    pub state: Store,
    /// The session.
    pub crypto: Store,
    /// Events and the position of the sync.
    pub event_cache: Store,
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
    /// Notified when something is queued, when somebody logs in, and when the client is gone.
    queue: Arc<Notify>,
    /// Raised when the task that sends has been started.
    sending: Flag,
    closing: Flag,
    tasks: Mutex<Vec<Arc<Background>>>,
}

impl Drop for Inner {
    /// The task that sends ends with the client.
    fn drop(&mut self) {
        self.queue.notify_one();
    }
}

/// A handle that does not keep the client alive.
#[derive(Clone)]
pub struct WeakClient {
    inner: Weak<Inner>,
}

impl WeakClient {
    /// The client, unless the last handle that keeps it alive is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<Client> {
        self.inner.upgrade().map(|inner| Client { inner })
    }
}

impl fmt::Debug for WeakClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakClient").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Result<Handle, ClientError> {
    Handle::try_current().map_err(|_| ClientError::NoRuntime)
}

impl Client {
    /// Configures a client of a homeserver, `http://127.0.0.1:8008`, with its stores in a directory.
    #[must_use]
    pub fn builder(homeserver: &str, directory: &Path) -> ClientBuilder {
        ClientBuilder::new(homeserver, directory)
    }

    /// Logging in and out.
    #[must_use]
    pub fn matrix_auth(&self) -> MatrixAuth {
        MatrixAuth::new(self.clone())
    }

    /// Who is logged in.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        lock(&self.inner.session).clone()
    }

    /// The token that the server knows the session by.
    #[must_use]
    pub fn access_token(&self) -> Option<String> {
        self.session().map(|session| session.access_token)
    }

    /// A room by its id. `None` until it has been synced.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] and [`ClientError::Closed`].
    pub async fn room(&self, id: &str) -> Result<Option<Room>, ClientError> {
        let rooms = self.open_stores()?.state.rooms().await?;
        let room = rooms.into_iter().find(|room| room.id == id);
        Ok(room.map(|room| Room::new(self.clone(), room)))
    }

    /// The stores. Clones of them own their connections, as the client does.
    #[must_use]
    pub fn store(&self) -> &Stores {
        &self.inner.stores
    }

    /// The runtime that the client was made on, and runs its tasks on.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// A handle that does not keep the client alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakClient {
        WeakClient { inner: Arc::downgrade(&self.inner) }
    }

    /// How many tasks of its own and of its sync service run. The one that sends holds the client only
    /// while it has something to send.
    #[must_use]
    pub fn background_tasks(&self) -> usize {
        lock(&self.inner.tasks).iter().filter(|task| !task.has_ended()).count()
    }

    /// Ends the client, for every clone of it: stops its own tasks and its sync service, closes its
    /// stores, and returns when SQLite has closed every connection. Every caller waits for that;
    /// a later call returns at once. Dropping the last clone afterwards does nothing, on any thread.
    ///
    /// It waits for work on a connection, without a limit: put a timeout around it. Dropped half-way
    /// it has stopped the tasks, and another call continues.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoRuntime`] on a thread without runtime context: nothing has been closed then.
    pub async fn close(&self) -> Result<(), ClientError> {
        // The destructors of the connections need the context.
        runtime()?;
        self.inner.closing.raise();
        // `spawn` checks the flag under the same lock: no task comes later.
        let tasks = lock(&self.inner.tasks).clone();
        for task in &tasks {
            task.stop();
        }
        for task in &tasks {
            task.ended().await;
        }
        let Stores { state, crypto, event_cache } = &self.inner.stores;
        for store in [state, crypto, event_cache] {
            store.close_and_wait().await;
        }
        Ok(())
    }

    /// The stores, unless the client has been closed.
    pub(crate) fn open_stores(&self) -> Result<&Stores, ClientError> {
        if self.inner.closing.is_raised() {
            return Err(ClientError::Closed);
        }
        Ok(&self.inner.stores)
    }

    fn start_background_tasks(&self) {
        if !self.inner.background_tasks {
            return;
        }
        // A closing client starts no tasks, and needs none.
        let client = self.clone();
        let _ = self.spawn(|task| async move {
            task.unless_stopped(client.initialize()).await;
        });
        if self.inner.sending.raise() {
            let (client, queue) = (self.downgrade(), Arc::clone(&self.inner.queue));
            // Stopped between the server's answer and the note of it, a message is sent again by the
            // next client, and the server takes it once.
            let _ = self.spawn(|task| async move {
                task.unless_stopped(send_queue::keep_sending(client, queue)).await;
            });
        }
        self.inner.queue.notify_one();
    }

    /// The SDK's start-up task: holds the client until the server has said which versions it speaks.
    async fn initialize(self) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.call(Method::GET, "/_matrix/client/versions", None, None).await
        {
            if !error.is_transient() {
                return;
            }
            backoff.wait().await;
        }
    }

    /// Spawns a task that [`Client::close`] ends.
    pub(crate) fn spawn<F>(
        &self,
        work: impl FnOnce(Arc<Background>) -> F,
    ) -> Result<Arc<Background>, ClientError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = lock(&self.inner.tasks);
        self.open_stores()?;
        tasks.retain(|task| !task.has_ended());
        let task = Background::spawn(&self.inner.runtime, work);
        tasks.push(Arc::clone(&task));
        Ok(task)
    }

    /// A sync request, which the server answers when something happens, or after `wait`.
    pub(crate) async fn long_poll(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        self.open_stores()?;
        let token = self.access_token().ok_or(ClientError::NotLoggedIn)?;
        let limit = wait.saturating_add(self.inner.request_limit);
        let call = Call { method: Method::GET, path, token: Some(&token), body: None, limit };
        Ok(self.inner.http.call(call).await?)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Answer, ClientError> {
        self.open_stores()?;
        let call = Call { method, path, token, body, limit: self.inner.request_limit };
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
