//! Handles that an application spreads around. Each holds the client it came from, and so keeps it
//! and its stores alive.

use std::{future, sync::Arc};

use tokio::task::AbortHandle;

use super::{Client, ClientError};
use crate::store::{self, Event};

/// A room that the user is in.
#[derive(Clone, Debug)]
pub struct Room {
    client: Client,
    room: store::Room,
}

impl Room {
    pub(super) const fn new(client: Client, room: store::Room) -> Self {
        Self { client, room }
    }

    /// The id, `!room:example.org`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.room.id
    }

    /// Queues a message. When this returns, the message is in the state store and will be sent, by
    /// this process or by the next one with this store.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if it cannot be written, and [`ClientError::Closed`].
    pub async fn send(&self, body: impl Into<String>) -> Result<(), ClientError> {
        self.client.open_stores()?.state.enqueue(self.id(), body).await?;
        self.client.inner.queue.notify_one();
        Ok(())
    }

    /// The newest synced events of the room, at most this many.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if they cannot be read, and [`ClientError::Closed`].
    pub async fn timeline(&self, at_most: usize) -> Result<Timeline, ClientError> {
        let events = &self.client.open_stores()?.event_cache;
        let events = events.newest_events(self.id().to_owned(), at_most).await?;
        let updates = self.client.inner.background_tasks.then(|| Arc::new(Updates::of(self)));
        Ok(Timeline { room: self.clone(), events, _updates: updates })
    }
}

/// The events of a room, as a user interface shows them.
///
/// It has a task of its own that holds the client, if the client has
/// [background tasks](super::ClientBuilder::background_tasks). When the last clone of the timeline is dropped, the task
/// is aborted. It ends a moment later, on its runtime.
#[derive(Clone, Debug)]
pub struct Timeline {
    room: Room,
    events: Vec<Event>,
    _updates: Option<Arc<Updates>>,
}

/// The task that waits for what happens in the room. Those of the SDK change the events; here nothing happens.
#[derive(Debug)]
struct Updates(AbortHandle);

impl Updates {
    fn of(room: &Room) -> Self {
        let held = room.clone();
        let updates = async move {
            future::pending::<()>().await;
            drop(held);
        };
        Self(room.client.inner.runtime.spawn(updates).abort_handle())
    }
}

impl Drop for Updates {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Timeline {
    /// The room.
    #[must_use]
    pub const fn room(&self) -> &Room {
        &self.room
    }

    /// The events when they were read, the oldest first.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}
