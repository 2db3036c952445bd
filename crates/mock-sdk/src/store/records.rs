//! What is in a store, and every statement that reads or writes it.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{Store, StoreError};

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user, `@user:example.org`.
    pub user: String,
    /// The device that the login made.
    pub device: String,
    /// The token that the server knows this login by.
    pub access_token: String,
}

/// A room that the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The id, `!room:example.org`.
    pub id: String,
    /// The name.
    pub name: String,
}

/// An event of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id that the server gave it, `$1`.
    pub(crate) id: String,
    /// The text.
    pub body: String,
}

/// What one answer to a sync brought.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Where the next sync goes on.
    pub(crate) position: String,
    /// The rooms in it, each with its new events in order.
    pub(crate) rooms: Vec<(Room, Vec<Event>)>,
}

/// A message in the outbox. Written before anything is sent, so that it outlives the process.
#[derive(Debug)]
pub(crate) struct Queued {
    /// Its number in this store, which is never used again: the server recognizes a repetition by it.
    pub(crate) number: i64,
    pub(crate) room: String,
    pub(crate) body: String,
}

impl Store {
    /// Saves a room, or its new name.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn save_room(&self, room: Room) -> Result<(), StoreError> {
        self.interact("write a room to", move |connection| save_room(connection, &room)).await
    }

    /// Appends an event to a saved room, and returns its place in the timeline of the store.
    ///
    /// # Errors
    ///
    /// SQLite refuses an event of a room that is not in the store.
    pub async fn append_event(
        &self,
        room: impl Into<String>,
        body: impl Into<String>,
    ) -> Result<i64, StoreError> {
        let (room, body) = (room.into(), body.into());
        self.interact("append an event to", move |connection| {
            connection.execute("INSERT INTO events (room, body) VALUES (?, ?)", [room, body])?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// How many events there are, in all rooms.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn event_count(&self) -> Result<u64, StoreError> {
        self.interact("count the events in", |connection| {
            let count = connection
                .query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
        .await
    }

    /// Puts a message at the end of the outbox, and returns its number.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn enqueue(
        &self,
        room: impl Into<String>,
        body: impl Into<String>,
    ) -> Result<i64, StoreError> {
        let (room, body) = (room.into(), body.into());
        self.interact("put a message into the outbox of", move |connection| {
            connection.execute("INSERT INTO outbox (room, body) VALUES (?, ?)", [room, body])?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// All messages that wait to be sent, in order. A message that the server refused is not one.
    pub(crate) async fn outbox(&self) -> Result<Vec<Queued>, StoreError> {
        self.interact("read the outbox of", |connection| {
            let waiting =
                "SELECT number, room, body FROM outbox WHERE refusal IS NULL ORDER BY number";
            connection
                .prepare(waiting)?
                .query_map([], |row| {
                    Ok(Queued { number: row.get(0)?, room: row.get(1)?, body: row.get(2)? })
                })?
                .collect()
        })
        .await
    }

    /// Takes a message out of the outbox, because the server has it.
    pub(crate) async fn dequeue(&self, number: i64) -> Result<(), StoreError> {
        self.interact("take a message out of the outbox of", move |connection| {
            connection.execute("DELETE FROM outbox WHERE number = ?", [number]).map(drop)
        })
        .await
    }

    /// Keeps a message, but does not send it again: the server refuses it, for this reason.
    pub(crate) async fn refuse(&self, number: i64, refusal: String) -> Result<(), StoreError> {
        self.interact("note a refusal in the outbox of", move |connection| {
            let note = "UPDATE outbox SET refusal = ? WHERE number = ?";
            connection.execute(note, params![refusal, number]).map(drop)
        })
        .await
    }

    /// Remembers who is logged in. A store has one session; another one replaces it.
    pub(crate) async fn save_session(&self, session: Session) -> Result<(), StoreError> {
        let Session { user, device, access_token } = session;
        self.interact("write the session to", move |connection| {
            let save = "REPLACE INTO session (one, user, device, access_token) VALUES (1, ?, ?, ?)";
            connection.execute(save, [user, device, access_token]).map(drop)
        })
        .await
    }

    /// Every room, by id.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        self.interact("read the rooms of", |connection| {
            connection
                .prepare("SELECT id, name FROM rooms ORDER BY id")?
                .query_map([], |row| Ok(Room { id: row.get(0)?, name: row.get(1)? }))?
                .collect()
        })
        .await
    }

    /// Writes what a sync brought and its position, all or nothing. An event that is there already
    /// stays as it is.
    pub(crate) async fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        self.interact("write the result of a sync to", move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (room, events) in &batch.rooms {
                save_room(&transaction, room)?;
                for Event { id, body } in events {
                    transaction.execute(
                        "INSERT INTO events (id, room, body) VALUES (?, ?, ?)
                         ON CONFLICT (id) DO NOTHING",
                        [id, &room.id, body],
                    )?;
                }
            }
            transaction
                .execute("REPLACE INTO sync (one, position) VALUES (1, ?)", [&batch.position])?;
            transaction.commit()
        })
        .await
    }

    /// The position of the last sync that was written. `None` before the first.
    pub(crate) async fn position(&self) -> Result<Option<String>, StoreError> {
        self.interact("read the position of the sync from", |connection| {
            connection.query_row("SELECT position FROM sync", [], |row| row.get(0)).optional()
        })
        .await
    }

    /// The newest events of a room, at most this many, the oldest of them first.
    pub(crate) async fn newest_events(
        &self,
        room: String,
        at_most: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
        self.interact("read events from", move |connection| {
            connection
                .prepare(
                    "SELECT coalesce(id, ''), body FROM
                         (SELECT * FROM events WHERE room = ? ORDER BY place DESC LIMIT ?)
                     ORDER BY place",
                )?
                .query_map(params![room, at_most], |row| {
                    Ok(Event { id: row.get(0)?, body: row.get(1)? })
                })?
                .collect()
        })
        .await
    }
}

fn save_room(connection: &Connection, room: &Room) -> rusqlite::Result<()> {
    // Not `REPLACE`, which would delete the room first, and its events with it.
    let save = "INSERT INTO rooms (id, name) VALUES (?, ?)
                ON CONFLICT (id) DO UPDATE SET name = excluded.name";
    connection.execute(save, [&room.id, &room.name]).map(drop)
}
