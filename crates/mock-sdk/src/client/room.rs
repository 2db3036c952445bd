//! Handles that an application spreads around. Each holds the client it came from, and so keeps it
//! alive, its stores with it.

use super::{Client, ClientError};
use crate::store::{self, Event};

/// A room that the user is in.
#[derive(Clone, Debug)]
pub struct Room {
    client: Client,
    room: store::Room,
}

impl Room {
    pub(super) const fn of(client: Client, room: store::Room) -> Self {
        Self { client, room }
    }

    /// The id, `!room:example.org`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.room.id
    }

    /// What it was called when this handle was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.room.name
    }

    /// The client it belongs to.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Queues a message. Once this returns it is in the state store, and will be sent, by this
    /// process or by the next one with this store. Returns its number in the queue.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] where it cannot be written, and [`ClientError::Closed`].
    pub async fn send(&self, body: impl Into<String>) -> Result<i64, ClientError> {
        self.client.enqueue(self.id(), body.into()).await
    }

    /// The newest events of the room, as far as they have been synced: at most so many.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] where they cannot be read, and [`ClientError::Closed`].
    pub async fn timeline(&self, at_most: usize) -> Result<Timeline, ClientError> {
        let mut timeline = Timeline { room: self.clone(), at_most, events: Vec::new() };
        timeline.refresh().await?;
        Ok(timeline)
    }
}

/// What was said in a room, as a UI shows it.
#[derive(Clone, Debug)]
pub struct Timeline {
    room: Room,
    at_most: usize,
    events: Vec<Event>,
}

impl Timeline {
    /// The room.
    #[must_use]
    pub const fn room(&self) -> &Room {
        &self.room
    }

    /// The events, the oldest first, as they were when they were last read.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Reads them anew.
    ///
    /// # Errors
    ///
    /// As [`Room::timeline`]; the events stay as they were.
    pub async fn refresh(&mut self) -> Result<(), ClientError> {
        let store = self.room.client.open_store()?;
        self.events = store.event_cache.newest_events(self.room.id(), self.at_most).await?;
        Ok(())
    }
}
