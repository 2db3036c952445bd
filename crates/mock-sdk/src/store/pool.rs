//! The pools, one of each generation, from one piece of source.
//!
//! The two generations differ in nothing that is written here, and in what they do when a runtime
//! goes away: which is why both are here.

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
                Connections, StoreError,
                open::{Counted, OpenCount},
                schema,
            };

            /// Opens connections to one database, each wrapped so that it works, and is closed, on
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

                // Work that panicked may have left its connection in the middle of anything. That
                // a connection to a local file is alive needs no asking.
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

            /// A pool with its schema up to date and all its connections open and idle.
            pub(in crate::store) async fn open(
                database: &Path,
                connections: usize,
            ) -> Result<Pool, StoreError> {
                let manager =
                    Manager { database: database.to_owned(), open: OpenCount::default() };
                let pool = managed::Pool::builder(manager)
                    .max_size(connections)
                    .runtime(Runtime::Tokio1)
                    .build()
                    .map_err(|error| StoreError::Unavailable {
                        database: database.to_owned(),
                        reason: error.to_string(),
                    })?;
                let pool = Pool(pool);
                pool.warm_up(database, connections).await?;
                Ok(pool)
            }

            impl Pool {
                /// Holds all connections at once, so that each has to be opened, and gives them
                /// back. One after another: the first makes the directory and the schema.
                async fn warm_up(&self, database: &Path, all: usize) -> Result<(), StoreError> {
                    let mut held = Vec::with_capacity(all);
                    while held.len() < all {
                        held.push(self.connection(database).await?);
                    }
                    Ok(())
                }

                async fn connection(&self, database: &Path) -> Result<Object<Manager>, StoreError> {
                    let database = || database.to_owned();
                    self.0.get().await.map_err(|error| match error {
                        PoolError::Backend(error) => error,
                        PoolError::Closed => StoreError::Closed { database: database() },
                        other => StoreError::Unavailable {
                            database: database(),
                            reason: other.to_string(),
                        },
                    })
                }

                pub(in crate::store) async fn interact<R: Send + 'static>(
                    &self,
                    database: &Path,
                    what: &'static str,
                    work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<R>
                    + Send
                    + 'static,
                ) -> Result<R, StoreError> {
                    let connection = self.connection(database).await?;
                    let database = || database.to_owned();
                    match connection.interact(|counted| work(&mut counted.connection)).await {
                        Ok(Ok(done)) => Ok(done),
                        Ok(Err(source)) => {
                            Err(StoreError::Database { what, database: database(), source })
                        }
                        Err(InteractError::Panic(_)) => {
                            Err(StoreError::Panicked { database: database() })
                        }
                        // The two generations call it differently.
                        Err(_) => Err(StoreError::Cancelled { database: database() }),
                    }
                }

                pub(in crate::store) fn connections(&self) -> Connections {
                    let status = self.0.status();
                    Connections { open: status.size, idle: status.available }
                }

                pub(in crate::store) fn close(&self) {
                    self.0.close();
                }

                /// Leaves the pool so many connections at most: the rest is dropped here and now,
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
