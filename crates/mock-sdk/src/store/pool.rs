//! The pools, one of each generation, from one piece of source: the two generations differ in nothing
//! that is written here, but in what they do when a runtime goes away.

macro_rules! generation {
    ($(#[$about:meta])* $name:ident, $deadpool:ident, $runtime:ident, $sync:ident) => {
        $(#[$about])*
        pub(super) mod $name {
            use std::path::{Path, PathBuf};

            use $deadpool::managed::{
                self, Metrics, Object, PoolError, RecycleError, RecycleResult,
            };
            use $runtime::Runtime;
            use $sync::{InteractError, SyncWrapper};

            use crate::store::{
                Connections, StoreError, StoreErrorKind,
                open_count::{Counted, OpenCount},
                schema,
            };

            /// Opens connections to one database. Each is wrapped, so that it works and is closed on
            /// the blocking threads of a runtime.
            #[derive(Debug)]
            struct Manager {
                database: PathBuf,
                open: OpenCount,
            }

            impl managed::Manager for Manager {
                type Type = SyncWrapper<Counted>;
                type Error = StoreError;

                async fn create(&self) -> Result<Self::Type, StoreError> {
                    let (database, open) = (self.database.clone(), self.open.clone());
                    SyncWrapper::new(Runtime::Tokio1, move || {
                        schema::connect(&database).map(|connection| open.count(connection))
                    })
                    .await
                }

                // Work that panicked may have left its connection in any state. A connection to a
                // local file needs no other check.
                async fn recycle(
                    &self,
                    connection: &mut Self::Type,
                    _: &Metrics,
                ) -> RecycleResult<StoreError> {
                    if connection.is_mutex_poisoned() {
                        return Err(RecycleError::message("work on the connection panicked"));
                    }
                    Ok(())
                }
            }

            #[derive(Clone)]
            pub(in crate::store) struct Pool(managed::Pool<Manager>);

            /// A pool with all its connections open and idle.
            pub(in crate::store) async fn open(
                database: &Path,
                connections: usize,
            ) -> Result<Pool, StoreError> {
                let database = database.to_owned();
                let manager = Manager { database: database.clone(), open: OpenCount::default() };
                let pool = managed::Pool::builder(manager)
                    .max_size(connections)
                    .runtime(Runtime::Tokio1)
                    .build()
                    .map_err(|error| StoreError {
                        database,
                        kind: StoreErrorKind::Unavailable(error.to_string()),
                    })?;
                let pool = Pool(pool);
                // All are held at once, so that each has to be opened. One after another: the first
                // one creates the directory and the tables.
                let mut held = Vec::with_capacity(connections);
                while held.len() < connections {
                    held.push(pool.connection().await?);
                }
                drop(held);
                Ok(pool)
            }

            impl Pool {
                fn error(&self, kind: StoreErrorKind) -> StoreError {
                    StoreError { database: self.0.manager().database.clone(), kind }
                }

                async fn connection(&self) -> Result<Object<Manager>, StoreError> {
                    self.0.get().await.map_err(|error| match error {
                        PoolError::Backend(error) => error,
                        PoolError::Closed => self.error(StoreErrorKind::Closed),
                        other => self.error(StoreErrorKind::Unavailable(other.to_string())),
                    })
                }

                pub(in crate::store) async fn interact<R: Send + 'static>(
                    &self,
                    what: &'static str,
                    work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<R>
                    + Send
                    + 'static,
                ) -> Result<R, StoreError> {
                    let connection = self.connection().await?;
                    let done = connection.interact(|counted| work(&mut counted.connection)).await;
                    let kind = match done {
                        Ok(Ok(done)) => return Ok(done),
                        Ok(Err(source)) => StoreErrorKind::Database { what, source },
                        Err(InteractError::Panic(_)) => StoreErrorKind::Panicked,
                        // The two generations name this variant differently.
                        Err(_) => StoreErrorKind::Cancelled,
                    };
                    Err(self.error(kind))
                }

                pub(in crate::store) fn connections(&self) -> Connections {
                    let status = self.0.status();
                    Connections { open: status.size, idle: status.available }
                }

                pub(in crate::store) fn close(&self) {
                    self.0.close();
                }

                /// Leaves the pool at most this many connections. The rest is dropped here and now,
                /// or when its work is done.
                pub(in crate::store) fn resize(&self, connections: usize) {
                    self.0.resize(connections);
                }

                pub(in crate::store) fn open_count(&self) -> OpenCount {
                    self.0.manager().open.clone()
                }
            }
        }
    };
}

generation!(
    /// deadpool 0.12, deadpool-sync 0.1, deadpool-runtime 0.1.4.
    old,
    deadpool_old,
    deadpool_runtime_old,
    deadpool_sync_old
);

generation!(
    /// deadpool 0.13, deadpool-sync 0.2, deadpool-runtime 0.3.
    current,
    deadpool_current,
    deadpool_runtime_current,
    deadpool_sync_current
);
