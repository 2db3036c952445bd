//! What a sync brings: rooms, events, and how far it came, in one transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Room, Store, StoreError, schema};

/// An event of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id that the server gave it, `$1`.
    pub id: String,
    /// The room it is in.
    pub room: String,
    /// What it says.
    pub body: String,
}

/// What one answer of the server brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Where the next sync goes on.
    pub position: String,
    /// The rooms that were named in it.
    pub rooms: Vec<Room>,
    /// The events, in order.
    pub events: Vec<Event>,
}

impl Store {
    /// Writes what a sync brought: all of it, and how far it came, or nothing. An event that is
    /// there already stays as it is.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`]; SQLite refuses an event of a room that neither the batch nor the
    /// store knows.
    pub async fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        self.interact("write what a sync brought to", move |c| apply(c, &batch)).await
    }

    /// How far the sync has come: the position of the last batch that was written. `None` before the
    /// first.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn position(&self) -> Result<Option<String>, StoreError> {
        self.interact("read the position of the sync from", |c| {
            c.query_row("SELECT position FROM sync", [], |row| row.get(0)).optional()
        })
        .await
    }

    /// Has the next sync begin from the beginning. The events stay.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn forget_position(&self) -> Result<(), StoreError> {
        self.interact("forget the position of the sync in", |c| {
            c.execute("DELETE FROM sync", []).map(drop)
        })
        .await
    }

    /// The newest events of a room, at most so many, the oldest of them first. Of a room that is not
    /// there, none.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn newest_events(
        &self,
        room: impl Into<String>,
        at_most: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let room = room.into();
        self.interact("read events from", move |c| newest_events(c, &room, at_most)).await
    }
}

fn apply(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for room in &batch.rooms {
        schema::save_room(&step, room)?;
    }
    for Event { id, room, body } in &batch.events {
        step.execute(
            "INSERT INTO events (id, room, body) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
            params![id, room, body],
        )?;
    }
    step.execute("REPLACE INTO sync (one, position) VALUES (1, ?)", [&batch.position])?;
    step.commit()
}

fn newest_events(c: &Connection, room: &str, at_most: usize) -> rusqlite::Result<Vec<Event>> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    c.prepare(
        "SELECT coalesce(id, ''), room, body FROM
             (SELECT * FROM events WHERE room = ? ORDER BY place DESC LIMIT ?)
         ORDER BY place",
    )?
    .query_map(params![room, at_most], |row| {
        Ok(Event { id: row.get(0)?, room: row.get(1)?, body: row.get(2)? })
    })?
    .collect()
}
