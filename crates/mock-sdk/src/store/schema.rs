//! The schema, and every statement that the store runs.

use std::{fs, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user, `@user:example.org`.
    pub user: String,
    /// The device that the login made.
    pub device: String,
    /// What the server knows the login by.
    pub access_token: String,
}

/// A room that the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The id, `!room:example.org`.
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// One step of the schema each, from the first. A database counts in `user_version` how many it
/// has taken.
const MIGRATIONS: [&str; 3] = [
    "CREATE TABLE session (
         one INTEGER PRIMARY KEY CHECK (one = 1),
         user TEXT NOT NULL, device TEXT NOT NULL, access_token TEXT NOT NULL
     ) STRICT;
     CREATE TABLE rooms (id TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;",
    "CREATE TABLE events (
         place INTEGER PRIMARY KEY AUTOINCREMENT,
         room TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
         body TEXT NOT NULL
     ) STRICT;
     CREATE INDEX events_by_room ON events (room, place);",
    "ALTER TABLE events ADD COLUMN id TEXT;
     CREATE UNIQUE INDEX events_by_id ON events (id);
     CREATE TABLE sync (
         one INTEGER PRIMARY KEY CHECK (one = 1),
         position TEXT NOT NULL
     ) STRICT;
     CREATE TABLE outbox (
         number INTEGER PRIMARY KEY AUTOINCREMENT,
         room TEXT NOT NULL, body TEXT NOT NULL, refusal TEXT
     ) STRICT;",
];

/// How long a connection waits for another that writes.
const BUSY: Duration = Duration::from_secs(10);

/// Opens a connection, with the schema up to date and the log in use.
pub(super) fn connect(database: &Path) -> Result<Connection, StoreError> {
    if let Some(directory) = database.parent() {
        fs::create_dir_all(directory)
            .map_err(|source| StoreError::Directory { directory: directory.to_owned(), source })?;
    }
    let failed =
        |what| move |source| StoreError::Database { what, database: database.to_owned(), source };
    let mut connection = Connection::open(database).map_err(failed("open"))?;
    set_up(&connection).map_err(failed("set up a connection to"))?;
    let version = migrate(&mut connection).map_err(failed("bring the schema up to date of"))?;
    let known = newest();
    if version > known {
        let database = database.to_owned();
        return Err(StoreError::Newer { database, found: version, known });
    }
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Takes the steps that are missing, and returns the version that the database then has. Also reads
/// from it, which is what makes a connection open the log and not only the database.
fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    let found = version(connection)?;
    if found >= newest() {
        return Ok(found);
    }
    let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let taken = usize::try_from(version(&step)?).unwrap_or(0);
    for missing in MIGRATIONS.iter().skip(taken) {
        step.execute_batch(missing)?;
    }
    step.pragma_update(None, "user_version", newest())?;
    step.commit()?;
    Ok(newest())
}

pub(super) fn save_session(connection: &Connection, session: &Session) -> rusqlite::Result<()> {
    let Session { user, device, access_token } = session;
    connection
        .execute(
            "REPLACE INTO session (one, user, device, access_token) VALUES (1, ?, ?, ?)",
            params![user, device, access_token],
        )
        .map(drop)
}

pub(super) fn session(connection: &Connection) -> rusqlite::Result<Option<Session>> {
    connection
        .query_row("SELECT user, device, access_token FROM session", [], |row| {
            Ok(Session { user: row.get(0)?, device: row.get(1)?, access_token: row.get(2)? })
        })
        .optional()
}

pub(super) fn save_room(connection: &Connection, room: &Room) -> rusqlite::Result<()> {
    // Not `REPLACE`, which would delete the room first, and its events with it.
    connection
        .execute(
            "INSERT INTO rooms (id, name) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            params![room.id, room.name],
        )
        .map(drop)
}

pub(super) fn rooms(connection: &Connection) -> rusqlite::Result<Vec<Room>> {
    connection
        .prepare("SELECT id, name FROM rooms ORDER BY id")?
        .query_map([], |row| Ok(Room { id: row.get(0)?, name: row.get(1)? }))?
        .collect()
}

pub(super) fn append_event(
    connection: &Connection,
    room: &str,
    body: &str,
) -> rusqlite::Result<i64> {
    connection
        .execute("INSERT INTO events (room, body) VALUES (?, ?)", params![room, body])
        .map(|_| connection.last_insert_rowid())
}

pub(super) fn event_count(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))
        .map(|count| u64::try_from(count).unwrap_or(0))
}
