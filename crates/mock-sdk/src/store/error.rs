//! Why a store could not do what it was asked.

use std::{io, path::PathBuf};

/// An operation on a store failed.
#[derive(Debug, thiserror::Error)]
#[error("the store on `{}`: {kind}", database.display())]
pub struct StoreError {
    /// The database file.
    pub database: PathBuf,
    /// What went wrong.
    pub kind: StoreErrorKind,
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The directory for the database could not be created.
    #[error("cannot create its directory: {0}; open the store where a directory can be created")]
    Directory(io::Error),
    /// SQLite refused.
    #[error("SQLite cannot {what} it: {source}")]
    Database {
        /// What was asked of it.
        what: &'static str,
        /// What SQLite answered.
        source: rusqlite::Error,
    },
    /// The store was to be opened with zero connections.
    #[error("it needs at least one connection")]
    NoConnections,
    /// The store is closed, or was closed while the caller waited for a connection.
    #[error("it is closed; open it again")]
    Closed,
    /// The pool had no connection to give, for this reason.
    #[error("its pool gave no connection: {0}")]
    Unavailable(String),
    /// The work panicked on its blocking thread. The pool does not use that connection again.
    #[error("work on it panicked; the connection is discarded, and an open transaction undone")]
    Panicked,
    /// The work was dropped before it ran.
    #[error("work on it was dropped before it ran, because the runtime is shutting down")]
    Cancelled,
}
