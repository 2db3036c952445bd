//! The store: SQLite behind a pool of connections, as the Matrix SDK builds it.
//!
//! Like the SDK's, it is a manager of its own over a `deadpool` pool, whose connections are each
//! wrapped in `deadpool-sync`'s `SyncWrapper`: every statement runs on the blocking threads of the
//! Tokio runtime that the *calling* thread is in the context of, and so does the closing of every
//! connection, which the wrapper's destructor posts there. That destructor is what the experiments
//! are about; it is not touched here.
//!
//! Two [generations](Generation) of the pool stand side by side over one SQLite.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub use rusqlite;

mod event_cache;
mod open;
mod outbox;
mod pool;
mod residue;
mod schema;

pub use event_cache::{Batch, Event};
pub use outbox::Queued;
pub use residue::{Residue, residue};
pub use schema::{Room, Session};

/// The name of the database file in the store's directory.
const DATABASE: &str = "store.sqlite3";

/// Which generation of the pool a store is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// The one in every report of the panic: deadpool 0.12, deadpool-sync 0.1 and
    /// deadpool-runtime 0.1.4.
    Old,
    /// The current one: deadpool 0.13, deadpool-sync 0.2 and deadpool-runtime 0.3.1.
    Current,
}

impl Generation {
    /// Both, the old one first.
    pub const ALL: [Self; 2] = [Self::Old, Self::Current];

    /// The word for it in the names of variants: `old` or `current`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Current => "current",
        }
    }
}

/// Names the crate that its panics come from: `deadpool-runtime 0.1.4`.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Old => "deadpool-runtime 0.1.4",
            Self::Current => "deadpool-runtime 0.3.1",
        })
    }
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory for the database could not be made.
    #[error("cannot make the directory {} for the store: {source}; open the store where a directory can be", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("SQLite cannot {what} {}: {source}", database.display())]
    Database {
        /// What was asked of it.
        what: &'static str,
        /// The file.
        database: PathBuf,
        /// What SQLite answered.
        source: rusqlite::Error,
    },
    /// The database was written by a version of this store that is newer than this one.
    #[error("{} has schema version {found}, and this store knows {known} at most; open it with the program that wrote it", database.display())]
    Newer {
        /// The file.
        database: PathBuf,
        /// The version it has.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A store was to be opened with no connection at all.
    #[error("a store on {} needs at least one connection; ask for one or more", database.display())]
    NoConnections {
        /// The file that it would have been on.
        database: PathBuf,
    },
    /// The store has been closed, or was closed while a connection was waited for.
    #[error("the store on {} is closed; open it again", database.display())]
    Closed {
        /// The file.
        database: PathBuf,
    },
    /// The pool had no connection to give.
    #[error("the pool of the store on {} gave no connection: {reason}", database.display())]
    Unavailable {
        /// The file.
        database: PathBuf,
        /// What the pool says.
        reason: String,
    },
    /// The work panicked on its blocking thread. The pool will not use that connection again.
    #[error("work on the store on {} panicked; its connection is discarded, and what it did outside a finished transaction is undone", database.display())]
    Panicked {
        /// The file.
        database: PathBuf,
    },
    /// The work was dropped before it ran: the runtime that it was posted to is shutting down.
    #[error("work on the store on {} was dropped before it ran, because its runtime is shutting down", database.display())]
    Cancelled {
        /// The file.
        database: PathBuf,
    },
}

/// How many connections a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// All that are open, whether idle or at work.
    pub open: usize,
    /// Those that wait in the pool. Each of them is one destructor that needs a runtime.
    pub idle: usize,
}

/// A store on a directory. Clones are the same store: the last one to be dropped drops the pool and
/// every connection that is idle in it, on *its* thread.
///
/// ```
/// use mock_sdk::store::{Generation, Room, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
/// runtime.block_on(async {
///     let store = Store::open(directory.path(), Generation::Current, 4).await?;
///     store.save_room(Room { id: "!a:example.org".into(), name: "A".into() }).await?;
///     assert_eq!(store.rooms().await?.len(), 1);
///     assert_eq!(store.connections().idle, 4);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    database: PathBuf,
}

#[derive(Clone)]
enum Pool {
    Old(pool::old::Pool),
    Current(pool::current::Pool),
}

/// Does the same with the pool of either generation.
macro_rules! of_either {
    ($store:expr, $pool:ident => $what:expr) => {
        match &$store.pool {
            Pool::Old($pool) => $what,
            Pool::Current($pool) => $what,
        }
    };
}

impl Store {
    /// Opens the store in a directory, which is made where it is missing, brings its schema up to
    /// date, and warms it up: exactly `connections` connections then sit idle in the pool, as they
    /// do in a client that has been used for a while.
    ///
    /// Must be called in the context of a Tokio runtime; the pool panics otherwise, as the real one
    /// does.
    ///
    /// # Errors
    ///
    /// [`StoreError::Directory`] where the path is a file or cannot be written,
    /// [`StoreError::Database`] and [`StoreError::Newer`] where what is there is not a database of
    /// this store, [`StoreError::NoConnections`] for none.
    pub async fn open(
        directory: impl AsRef<Path>,
        generation: Generation,
        connections: usize,
    ) -> Result<Self, StoreError> {
        let database = directory.as_ref().join(DATABASE);
        if connections == 0 {
            return Err(StoreError::NoConnections { database });
        }
        let pool = match generation {
            Generation::Old => Pool::Old(pool::old::open(&database, connections).await?),
            Generation::Current => {
                Pool::Current(pool::current::open(&database, connections).await?)
            }
        };
        Ok(Self { pool, database })
    }

    /// Runs `work` with a connection on a blocking thread, and waits for it.
    ///
    /// `what` completes the sentence "SQLite cannot …" should it fail: "count the rooms in".
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] where `work` fails, [`StoreError::Panicked`] where it panics,
    /// [`StoreError::Closed`] once the store is closed, and [`StoreError::Cancelled`] where the
    /// runtime went down first. (The old generation *panics* in the last case, in deadpool-runtime:
    /// experiment 11.)
    pub async fn interact<R: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        of_either!(self, pool => pool.interact(&self.database, what, work).await)
    }

    /// Remembers who is logged in. There is one session; another replaces it.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn save_session(&self, session: Session) -> Result<(), StoreError> {
        self.interact("write the session to", move |c| schema::save_session(c, &session)).await
    }

    /// Who is logged in; `None` where nobody is.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn session(&self) -> Result<Option<Session>, StoreError> {
        self.interact("read the session from", |c| schema::session(c)).await
    }

    /// Saves a room, or its new name.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn save_room(&self, room: Room) -> Result<(), StoreError> {
        self.interact("write a room to", move |c| schema::save_room(c, &room)).await
    }

    /// Every room, by id.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        self.interact("read the rooms from", |c| schema::rooms(c)).await
    }

    /// Appends an event to a room that has been saved. Returns its place in the store's timeline.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`]; of a room that is not in the store SQLite refuses the event.
    pub async fn append_event(
        &self,
        room: impl Into<String>,
        body: impl Into<String>,
    ) -> Result<i64, StoreError> {
        let (room, body) = (room.into(), body.into());
        self.interact("append an event to", move |c| schema::append_event(c, &room, &body)).await
    }

    /// How many events there are, in all rooms.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn event_count(&self) -> Result<u64, StoreError> {
        self.interact("count the events in", |c| schema::event_count(c)).await
    }

    /// How many connections are open, and how many of them idle.
    #[must_use]
    pub fn connections(&self) -> Connections {
        of_either!(self, pool => pool.connections())
    }

    /// Closes the pool, for every clone of the store: connections that are idle are dropped here
    /// and now, on the calling thread, and those at work when their work is done. Closing it again
    /// does nothing.
    ///
    /// This is `Pool::close`, with all that the destructors of connections ask for: a thread that
    /// is not in the context of a runtime panics.
    pub fn close(&self) {
        of_either!(self, pool => pool.close());
    }

    /// Waits until every connection of this store has been closed by SQLite: what the pool says of
    /// itself is that it has let go of them. Says nothing of a store that was not asked to close.
    pub async fn closed(&self) {
        self.open_count().at_most(0).await;
    }

    /// Closes the pool and waits until SQLite has closed every connection, the last one after all
    /// the others: that one writes the log back and removes it. (Closed side by side, each may find
    /// another open and leave the log behind: experiment 12.) Every caller waits; called again, it
    /// returns at once.
    ///
    /// Needs the context of a runtime, as [`Store::close`] does, and waits for whoever is at work on
    /// a connection. If this future is dropped, the store may have been left with one connection.
    pub async fn close_and_wait(&self) {
        of_either!(self, pool => pool.resize(1));
        self.open_count().at_most(1).await;
        self.close();
        self.closed().await;
    }

    fn open_count(&self) -> open::OpenCount {
        of_either!(self, pool => pool.open_count())
    }

    /// Which generation of the pool this is.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        match &self.pool {
            Pool::Old(_) => Generation::Old,
            Pool::Current(_) => Generation::Current,
        }
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> &Path {
        &self.database
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("database", &self.database)
            .field("generation", &self.generation())
            .field("connections", &self.connections())
            .finish()
    }
}
