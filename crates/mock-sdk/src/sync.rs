//! The sync service: a loop that asks the server what has happened, and writes it down.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::{
    background::Background,
    backoff::Backoff,
    client::{Client, ClientError},
    http::Answer,
    matrix_error::ErrorCode,
    store::{Batch, Event, Room},
};

/// What a sync service is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SyncState {
    /// It has not been started.
    Idle,
    /// It asks, and the last answer was one.
    Running,
    /// It asks, and was not answered so many times in a row. It waits longer every time.
    Offline {
        /// How many times.
        failures: u32,
    },
    /// It was stopped: by [`SyncService::stop`], with its client, or with its runtime.
    Stopped,
    /// It has ended by itself, because asking again cannot help: the server does not know the token,
    /// say. It can be started again.
    Failed(Arc<ClientError>),
}

impl SyncState {
    /// Whether it asks.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Offline { .. })
    }
}

/// Keeps a client up to date, once it is started. Clones are the same service; it holds a clone of
/// the client, and so does its task while it runs. When the last clone is dropped the task is told to
/// stop, and nobody waits for it.
#[derive(Clone)]
pub struct SyncService {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    long_poll: Duration,
    state: Arc<watch::Sender<SyncState>>,
    /// The newest task, ended or not.
    current: Mutex<Option<Arc<Background>>>,
}

impl SyncService {
    /// A service that has not been started, whose requests wait half a minute for something to
    /// happen.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::with_long_poll(client, Duration::from_secs(30))
    }

    /// The same, with requests that wait for so long.
    #[must_use]
    pub fn with_long_poll(client: Client, long_poll: Duration) -> Self {
        let state = Arc::new(watch::Sender::new(SyncState::Idle));
        Self { inner: Arc::new(Inner { client, long_poll, state, current: Mutex::default() }) }
    }

    /// Starts it, on the client's runtime; from any thread, without waiting. It goes on where the
    /// store says it came to. Where it runs already, nothing happens; where it is about to stop, it
    /// begins again when it has.
    ///
    /// On a runtime that has been shut down it is [stopped](SyncState::Stopped) at once.
    ///
    /// # Errors
    ///
    /// [`ClientError::Closed`] where the client has been closed.
    pub fn start(&self) -> Result<(), ClientError> {
        let Inner { client, long_poll, state, current } = &*self.inner;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let before = current.clone();
        if before.as_ref().is_some_and(|task| !task.is_told_to_stop() && !task.has_ended()) {
            return Ok(());
        }
        let run = Run::begin(client.clone(), *long_poll, Arc::clone(state));
        let task = client.spawn(|task| async move {
            // Two at once would write over each other's position.
            if let Some(before) = before {
                before.ended().await;
            }
            run.run(&task).await;
        })?;
        *current = Some(task);
        Ok(())
    }

    /// Stops it, and returns when its task has ended: no request is under way then, what had been
    /// answered is written, and no clone of the client is left in it. Every caller waits. Where it
    /// does not run, nothing happens.
    ///
    /// What the server was about to answer is asked for again at the next start. A store that another
    /// process has locked is waited for, as long as it waits itself: 10 seconds.
    pub async fn stop(&self) {
        let current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = current {
            task.stop();
            task.ended().await;
        }
    }

    /// What it is doing, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SyncState> {
        self.inner.state.subscribe()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let current = self.current.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = current {
            task.stop();
        }
    }
}

impl fmt::Debug for SyncService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncService")
            .field("state", &*self.inner.state.borrow())
            .finish_non_exhaustive()
    }
}

/// What one turn of the loop came to.
enum Turn {
    /// The server has answered, and that is written.
    Written,
    /// It was told to stop before there was an answer.
    Stopped,
}

/// One run of the loop.
struct Run {
    client: Client,
    long_poll: Duration,
    state: Arc<watch::Sender<SyncState>>,
}

impl Run {
    /// From here on the service says that it runs; when this is dropped, wherever, that it does not.
    fn begin(client: Client, long_poll: Duration, state: Arc<watch::Sender<SyncState>>) -> Self {
        state.send_replace(SyncState::Running);
        Self { client, long_poll, state }
    }

    async fn run(self, task: &Background) {
        // The run before this one may have said that it stopped since.
        self.state.send_replace(SyncState::Running);
        let mut backoff = Backoff::new();
        let mut failures = 0;
        loop {
            match self.once(task).await {
                // A client that is being closed has told this task to stop, or is about to.
                Ok(Turn::Stopped) | Err(ClientError::Closed) => return,
                Ok(Turn::Written) => {
                    backoff.succeeded();
                    failures = 0;
                    self.state.send_if_modified(|state| {
                        let was_offline = matches!(state, SyncState::Offline { .. });
                        if was_offline {
                            *state = SyncState::Running;
                        }
                        was_offline
                    });
                }
                Err(error) if error.is_transient() => {
                    failures += 1;
                    tracing::debug!(%error, failures, "the sync waits to try again");
                    self.state.send_replace(SyncState::Offline { failures });
                    let wait = tokio::time::sleep(backoff.wait(error.retry_after()));
                    if task.unless_stopped(wait).await.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    self.state.send_replace(SyncState::Failed(Arc::new(error)));
                    return;
                }
            }
        }
    }

    /// Asks once, and writes down what has happened. Only the asking is broken off by a stop: what
    /// has been begun in a store goes on there, whether it is waited for or not.
    async fn once(&self, task: &Background) -> Result<Turn, ClientError> {
        let stores = self.client.open_store()?;
        let position = stores.event_cache.position().await?;
        let since = position.map(|position| format!("&since={position}")).unwrap_or_default();
        // The first answer is everything there is: nothing to wait for.
        let wait = if since.is_empty() { Duration::ZERO } else { self.long_poll };
        let path = format!("/_matrix/client/v3/sync?timeout={}{since}", wait.as_millis());
        let asked = task.unless_stopped(self.client.long_poll(&path, wait)).await;
        let Some(answered) = asked else { return Ok(Turn::Stopped) };
        let batch = match answered {
            Ok(answer) => batch(&answer)?,
            Err(ClientError::Http(error))
                if error.refusal().is_some_and(|e| e.code == ErrorCode::UnknownPosition) =>
            {
                // Another server, or one that has lost its memory: from the beginning.
                stores.event_cache.forget_position().await?;
                return Ok(Turn::Written);
            }
            Err(error) => return Err(error),
        };
        // Rooms first: the other store has the position, and with it what is not asked for again.
        for room in &batch.rooms {
            stores.state.save_room(room.clone()).await?;
        }
        stores.event_cache.apply(batch).await?;
        Ok(Turn::Written)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.state.send_if_modified(|state| {
            let stopped = !matches!(state, SyncState::Failed(_));
            if stopped {
                *state = SyncState::Stopped;
            }
            stopped
        });
    }
}

/// What an answer says. What is missing in it is an error; what is not understood is passed over, as
/// Matrix has it.
fn batch(answer: &Answer) -> Result<Batch, ClientError> {
    let mut batch = Batch { position: answer.text("/next_batch")?, ..Batch::default() };
    let joined = answer.body.pointer("/rooms/join").and_then(Value::as_object);
    for (id, room) in joined.into_iter().flatten() {
        let events =
            |pointer| room.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let text = |event: &Value, pointer| {
            event.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        let name = events("/state/events")
            .filter(|event| text(event, "/type").as_deref() == Some("m.room.name"))
            .filter_map(|event| text(event, "/content/name"))
            .next_back();
        batch.rooms.push(Room { id: id.clone(), name: name.unwrap_or_else(|| id.clone()) });
        for event in events("/timeline/events") {
            if let (Some(event), Some(body)) =
                (text(event, "/event_id"), text(event, "/content/body"))
            {
                batch.events.push(Event { id: event, room: id.clone(), body });
            }
        }
    }
    Ok(batch)
}
