//! Opening a connection: its settings, and the tables.

use std::{fs, path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, StoreErrorKind};

const TABLES: &str = "
    CREATE TABLE session (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        user TEXT NOT NULL, device TEXT NOT NULL, access_token TEXT NOT NULL
    ) STRICT;
    CREATE TABLE rooms (id TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;
    CREATE TABLE events (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        room TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
        body TEXT NOT NULL,
        id TEXT
    ) STRICT;
    CREATE INDEX events_by_room ON events (room, place);
    CREATE UNIQUE INDEX events_by_id ON events (id);
    CREATE TABLE sync (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        position TEXT NOT NULL
    ) STRICT;
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        room TEXT NOT NULL, body TEXT NOT NULL, refusal TEXT
    ) STRICT;
    PRAGMA user_version = 1;";

/// How long a connection waits for another one that writes.
const BUSY: Duration = Duration::from_secs(10);

/// Opens a connection in WAL mode, with the tables there.
pub(super) fn connect(database: &Path) -> Result<Connection, StoreError> {
    let error = |kind| StoreError { database: database.to_owned(), kind };
    if let Some(directory) = database.parent() {
        fs::create_dir_all(directory).map_err(|source| error(StoreErrorKind::Directory(source)))?;
    }
    let failed = |what| move |source| error(StoreErrorKind::Database { what, source });
    let mut connection = Connection::open(database).map_err(failed("open"))?;
    configure(&connection).map_err(failed("configure a connection to"))?;
    create_tables(&mut connection).map_err(failed("create the tables of"))?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn create_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let are_there = |connection: &Connection| {
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
        version.map(|version: i64| version > 0)
    };
    // This read also makes the connection open the log, and not only the database.
    if are_there(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    if !are_there(&transaction)? {
        transaction.execute_batch(TABLES)?;
    }
    transaction.commit()
}
