//! The sync service: a loop that asks the server what has happened, and stores it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;

use crate::{
    background::Background,
    backoff::Backoff,
    client::{Client, ClientError},
    http::Answer,
    store::{Batch, Event, Room},
};

/// Keeps a client up to date while it runs. Clones are the same service. The service holds a clone of
/// the client, and so does its task. As in the SDK, dropping the service does not stop it.
#[derive(Clone)]
pub struct SyncService {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    long_poll: Duration,
    /// The newest task, whether it has ended or not.
    task: Mutex<Option<Arc<Background>>>,
}

impl SyncService {
    /// A service that has not been started. Its requests wait this long for something to happen.
    #[must_use]
    pub fn new(client: Client, long_poll: Duration) -> Self {
        Self { inner: Arc::new(Inner { client, long_poll, task: Mutex::default() }) }
    }

    /// Starts the service on the client's runtime, from any thread and without waiting. It goes on
    /// from the position in the store. If it runs, nothing happens; if it is about to stop, it starts
    /// again afterwards. On a runtime that is down it ends at once.
    ///
    /// The service ends by itself if asking again cannot help, for example because the server does not
    /// know the token.
    ///
    /// # Errors
    ///
    /// [`ClientError::Closed`].
    pub fn start(&self) -> Result<(), ClientError> {
        let Inner { client, long_poll, task } = &*self.inner;
        let mut current = task.lock().unwrap_or_else(PoisonError::into_inner);
        let before = current.clone();
        if before.as_ref().is_some_and(|task| !task.is_stopped() && !task.has_ended()) {
            return Ok(());
        }
        let (loop_client, long_poll) = (client.clone(), *long_poll);
        let task = client.spawn(|task| async move {
            // Two loops at once would overwrite each other's position.
            if let Some(before) = before {
                before.ended().await;
            }
            run(&loop_client, long_poll, &task).await;
        })?;
        *current = Some(task);
        Ok(())
    }

    /// Stops the service, and returns when its task has ended: no request is in flight, what the server
    /// had answered is stored, and the task holds no clone of the client. Every caller waits. If it
    /// does not run, nothing happens.
    ///
    /// It waits for a store that another process has locked, up to the 10 seconds that the store
    /// itself waits.
    pub async fn stop(&self) {
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.stop();
            task.ended().await;
        }
    }
}

impl fmt::Debug for SyncService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncService").finish_non_exhaustive()
    }
}

async fn run(client: &Client, long_poll: Duration, task: &Background) {
    let mut backoff = Backoff::new();
    loop {
        match sync_once(client, long_poll, task).await {
            Ok(Turn::Stored) => backoff.reset(),
            // A client that is being closed has stopped this task, or is about to.
            Ok(Turn::Stopped) | Err(ClientError::Closed) => return,
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "the sync waits to try again");
                if task.unless_stopped(backoff.wait()).await.is_none() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the sync has ended");
                return;
            }
        }
    }
}

/// How one turn of the loop ended.
enum Turn {
    /// The server has answered, and the answer is stored.
    Stored,
    /// The task was stopped before there was an answer.
    Stopped,
}

/// Asks once, and stores the answer. A stop interrupts only the asking: work that has begun in a store
/// goes on there, whether anybody waits for it or not.
async fn sync_once(
    client: &Client,
    long_poll: Duration,
    task: &Background,
) -> Result<Turn, ClientError> {
    let stores = client.open_stores()?;
    let position = stores.event_cache.position().await?;
    let since = position.map(|position| format!("&since={position}")).unwrap_or_default();
    // The first answer is everything there is: nothing to wait for.
    let wait = if since.is_empty() { Duration::ZERO } else { long_poll };
    let path = format!("/_matrix/client/v3/sync?timeout={}{since}", wait.as_millis());
    let batch = match task.unless_stopped(client.long_poll(&path, wait)).await {
        None => return Ok(Turn::Stopped),
        Some(Ok(answer)) => batch(&answer)?,
        Some(Err(error)) => return Err(error),
    };
    // Rooms first: with the position, in the other store, they are not asked for again.
    for (room, _) in &batch.rooms {
        stores.state.save_room(room.clone()).await?;
    }
    stores.event_cache.apply(batch).await?;
    Ok(Turn::Stored)
}

/// Reads an answer. A missing position is an error; what is not understood is skipped, as Matrix asks
/// for.
fn batch(answer: &Answer) -> Result<Batch, ClientError> {
    let mut batch = Batch { position: answer.text("/next_batch")?, rooms: Vec::new() };
    let joined = answer.body.pointer("/rooms/join").and_then(Value::as_object);
    for (id, room) in joined.into_iter().flatten() {
        let events =
            |pointer| room.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let text = |event: &Value, pointer| {
            event.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        let name = events("/state/events").filter_map(|event| text(event, "/content/name")).next();
        let new = events("/timeline/events").filter_map(|event| {
            Some(Event { id: text(event, "/event_id")?, body: text(event, "/content/body")? })
        });
        let room = Room { id: id.clone(), name: name.unwrap_or_else(|| id.clone()) };
        batch.rooms.push((room, new.collect()));
    }
    Ok(batch)
}
