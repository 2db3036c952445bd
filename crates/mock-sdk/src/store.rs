//! The store: SQLite behind a pool of connections, built as the Matrix SDK builds it.
//!
//! Like the SDK's, it is a manager of its own over a `deadpool` pool, and each connection is wrapped in
//! `deadpool-sync`'s `SyncWrapper`: every statement runs on the blocking threads of the Tokio runtime
//! that the *calling* thread has the context of, and so does the closing of every connection, which
//! the wrapper's destructor posts there. That destructor is what the experiments are about; nothing
//! here changes it.
//!
//! Two [generations](Generation) of the pool stand side by side over one SQLite.

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use rusqlite;

mod error;
mod open_count;
mod pool;
mod records;
mod residue;
mod schema;

pub use error::{StoreError, StoreErrorKind};
pub(crate) use records::{Batch, Queued};
pub use records::{Event, Room, Session};
pub use residue::{Residue, residue};

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

    /// Its word in the names of variants: `old` or `current`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Current => "current",
        }
    }
}

/// The crate that its panics come from: `deadpool-runtime 0.1.4`.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Old => "deadpool-runtime 0.1.4",
            Self::Current => "deadpool-runtime 0.3.1",
        })
    }
}

/// How many connections a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// All open connections, idle or in use.
    pub open: usize,
    /// Those that wait in the pool. Each of them is one destructor that needs a runtime.
    pub idle: usize,
}

/// A store in a directory. Clones are the same store: the last one to be dropped drops the pool and
/// every idle connection in it, on *its* thread.
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

/// Calls the same method on the pool of either generation.
macro_rules! either {
    ($store:expr, $pool:ident => $call:expr) => {
        match &$store.pool {
            Pool::Old($pool) => $call,
            Pool::Current($pool) => $call,
        }
    };
}

impl Store {
    /// Opens the store in a directory, creates both where they are missing, and warms the pool up:
    /// exactly `connections` connections are then idle in it, as in a client that has been used for a
    /// while.
    ///
    /// Must be called in the context of a Tokio runtime: without one the pool panics, as the real one
    /// does.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Directory`], [`StoreErrorKind::Database`] if the file is not a database of
    /// this store, and [`StoreErrorKind::NoConnections`] for zero connections.
    pub async fn open(
        directory: impl AsRef<Path>,
        generation: Generation,
        connections: usize,
    ) -> Result<Self, StoreError> {
        let database = directory.as_ref().join(DATABASE);
        if connections == 0 {
            return Err(StoreError { database, kind: StoreErrorKind::NoConnections });
        }
        let pool = match generation {
            Generation::Old => Pool::Old(pool::old::open(&database, connections).await?),
            Generation::Current => {
                Pool::Current(pool::current::open(&database, connections).await?)
            }
        };
        Ok(Self { pool, database })
    }

    /// Runs `work` with a connection on a blocking thread, and waits for it. Every other operation of
    /// the store goes through this and fails as this does.
    ///
    /// `what` completes the message "SQLite cannot … it": for example "count the rooms in".
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Database`] if `work` fails, [`StoreErrorKind::Panicked`] if it panics,
    /// [`StoreErrorKind::Closed`] once the store is closed, and [`StoreErrorKind::Cancelled`] if the
    /// runtime went down first. (In the last case the old generation *panics*, in deadpool-runtime:
    /// experiment 11.)
    pub async fn interact<R: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        either!(self, pool => pool.interact(what, work).await)
    }

    /// How many connections are open, and how many of them are idle.
    #[must_use]
    pub fn connections(&self) -> Connections {
        either!(self, pool => pool.connections())
    }

    /// Closes the pool, for every clone of the store: idle connections are dropped here and now, on
    /// the calling thread, and connections in use when their work is done. A second call does nothing.
    ///
    /// This is `Pool::close`, and so it panics on a thread without runtime context, as the
    /// destructors of the connections do.
    pub fn close(&self) {
        either!(self, pool => pool.close());
    }

    /// Closes the pool and returns when SQLite has closed every connection, the last one after all
    /// others: that one writes the log back and removes it. (Closed side by side, each connection may
    /// find another one open and leave the log behind: experiment 12.) Every caller waits; a later
    /// call returns at once.
    ///
    /// Needs runtime context, as [`Store::close`] does, and waits for work in progress, without a
    /// limit. Dropped half-way, it may have left the store with one connection.
    pub(crate) async fn close_and_wait(&self) {
        let open = either!(self, pool => pool.open_count());
        either!(self, pool => pool.resize(1));
        open.at_most(1).await;
        self.close();
        open.at_most(0).await;
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
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
