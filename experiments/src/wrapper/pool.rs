//! Values in either wrapper, deadpool-sync's of both generations or ours, and a pool of such SQLite
//! connections: pool, manager and connections are the same, and only the wrapper differs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use deadpool_current::managed::{self, Metrics, RecycleResult};
use deadpool_runtime_current::Runtime as CurrentRuntime;
use deadpool_runtime_old::Runtime as OldRuntime;
use deadpool_sync_current::SyncWrapper as CurrentWrapper;
use deadpool_sync_old::SyncWrapper as OldWrapper;
use lab::TrialResult;
use mock_sdk::store::{
    Generation,
    rusqlite::{self, Connection, Error, ffi},
};

use super::{ClosingThread, Watch, Way, Wrapper, watch::Watched};

/// Which wrapper the connections of a pool are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The `SyncWrapper` of deadpool-sync 0.1.4 or 0.2.
    Real(Generation),
    /// Ours, which closes in this way.
    Ours(Way),
}

impl Kind {
    /// The thread that closes the values of one pool, if these wrappers have one.
    pub fn closing_thread<T: Send + 'static>(self) -> io::Result<Option<Arc<ClosingThread<T>>>> {
        let is_joined = match self {
            Self::Ours(Way::Thread) => false,
            Self::Ours(Way::ThreadJoined) => true,
            _ => return Ok(None),
        };
        ClosingThread::start(is_joined).map(|thread| Some(Arc::new(thread)))
    }
}

/// A value in its wrapper.
#[derive(Debug)]
pub enum Wrapped<T: Send + 'static> {
    /// In that of deadpool-sync 0.1.4.
    Old(OldWrapper<T>),
    /// In that of deadpool-sync 0.2.
    Current(CurrentWrapper<T>),
    /// In ours.
    Ours(Wrapper<T>),
}

impl<T: Send + 'static> Wrapped<T> {
    /// Makes a value on a blocking thread, and wraps it. `None` if the runtime went down first.
    pub async fn new<E: Send + 'static>(
        kind: Kind,
        thread: Option<&Arc<ClosingThread<T>>>,
        make: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Option<Result<Self, E>> {
        Some(match kind {
            Kind::Real(Generation::Old) => {
                OldWrapper::new(OldRuntime::Tokio1, make).await.map(Self::Old)
            }
            Kind::Real(Generation::Current) => {
                CurrentWrapper::new(CurrentRuntime::Tokio1, make).await.map(Self::Current)
            }
            Kind::Ours(way) => Wrapper::new(way, thread, make).await?.map(Self::Ours),
        })
    }
}

struct Manager {
    database: PathBuf,
    kind: Kind,
    thread: Option<Arc<ClosingThread<Watched>>>,
    watch: Watch,
}

impl managed::Manager for Manager {
    type Type = Wrapped<Watched>;
    type Error = Error;

    async fn create(&self) -> Result<Self::Type, Error> {
        let (database, watch) = (self.database.clone(), self.watch.clone());
        let connect = move || connect(&database).map(|connection| watch.watched(connection));
        let made = Wrapped::new(self.kind, self.thread.as_ref(), connect).await;
        made.unwrap_or_else(|| Err(refused()))
    }

    async fn recycle(&self, _: &mut Self::Type, _: &Metrics) -> RecycleResult<Error> {
        Ok(())
    }
}

/// The runtime is down, or the connection was closed before its use began.
fn refused() -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None)
}

/// Longer than a connection has to wait for another one.
const BUSY: Duration = Duration::from_secs(5);

fn connect(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // It also makes the connection open the log, and not only the database.
    connection.execute_batch("CREATE TABLE IF NOT EXISTS events (body BLOB NOT NULL) STRICT")?;
    Ok(connection)
}

/// A pool whose connections are all open and idle. Clones are the same pool.
#[derive(Clone)]
pub struct WrappedPool(managed::Pool<Manager>);

impl WrappedPool {
    /// Opens so many connections. Needs a runtime context.
    pub async fn open(
        database: &Path,
        kind: Kind,
        connections: usize,
        watch: &Watch,
    ) -> TrialResult<Self> {
        let (database, watch, thread) =
            (database.to_owned(), watch.clone(), kind.closing_thread()?);
        let manager = Manager { database, kind, thread, watch };
        let pool = managed::Pool::builder(manager).max_size(connections).build()?;
        // All are held at once, so that each has to be opened.
        let mut held = Vec::with_capacity(connections);
        while held.len() < connections {
            held.push(pool.get().await.map_err(|error| error.to_string())?);
        }
        drop(held);
        Ok(Self(pool))
    }

    /// Uses a connection, on a blocking thread.
    pub async fn interact<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, Error> {
        let connection = self.0.get().await.map_err(|_| refused())?;
        let work = |watched: &mut Watched| work(&mut watched.connection);
        let done = match &*connection {
            Wrapped::Old(wrapper) => wrapper.interact(work).await.ok(),
            Wrapped::Current(wrapper) => wrapper.interact(work).await.ok(),
            Wrapped::Ours(wrapper) => wrapper.interact(work).await,
        };
        done.unwrap_or_else(|| Err(refused()))
    }

    /// Commits rows that SQLite leaves in the log.
    pub async fn commit(&self, rows: u64, bytes: u64) -> Result<(), Error> {
        self.interact(move |connection| {
            let transaction = connection.transaction()?;
            for _ in 0..rows {
                transaction.execute(
                    "INSERT INTO events (body) VALUES (randomblob(?1))",
                    [i64::try_from(bytes).unwrap_or(i64::MAX)],
                )?;
            }
            transaction.commit()
        })
        .await
    }
}
