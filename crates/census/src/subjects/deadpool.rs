//! deadpool, in two generations, with SQLite's connections in a `SyncWrapper`.

use lab::TrialResult;

use crate::{subject::Card, subject::Subject};

/// Both generations have the same interface.
macro_rules! generation {
    ($module:ident, $deadpool:ident, $sync:ident, $runtime:ident, $pool:literal, $object:literal, $package:literal) => {
        mod $module {
            use super::*;
            use $deadpool::managed::{self, Metrics, RecycleResult};

            type Wrapper = $sync::SyncWrapper<rusqlite::Connection>;

            pub struct Manager;

            impl managed::Manager for Manager {
                type Type = Wrapper;
                type Error = rusqlite::Error;

                async fn create(&self) -> Result<Wrapper, rusqlite::Error> {
                    let open = || {
                        let connection = rusqlite::Connection::open("census.db")?;
                        connection.execute_batch("CREATE TABLE IF NOT EXISTS rows (it TEXT)")?;
                        Ok(connection)
                    };
                    Wrapper::new($runtime::Runtime::Tokio1, open).await
                }

                async fn recycle(
                    &self,
                    _: &mut Wrapper,
                    _: &Metrics,
                ) -> RecycleResult<rusqlite::Error> {
                    Ok(())
                }
            }

            type Pool = managed::Pool<Manager>;

            fn pool() -> TrialResult<Pool> {
                Ok(Pool::builder(Manager).max_size(1).build()?)
            }

            async fn insert(object: &managed::Object<Manager>) -> TrialResult {
                let insert = |connection: &mut rusqlite::Connection| {
                    connection.execute("INSERT INTO rows VALUES ('a row')", [])
                };
                let inserted = object.interact(insert).await;
                inserted.map_err(|error| error.to_string())??;
                Ok(())
            }

            pub struct OfPool;

            impl Subject for OfPool {
                type Live = Pool;

                const CODE: &'static str = $pool;
                const PACKAGE: &'static str = $package;
                const VALUE: &'static str = "a `managed::Pool` that has one idle SQLite connection, a `deadpool_sync::SyncWrapper`";
                const CALL: &'static str = "a connection is taken from the pool and inserts a row";
                const CLOSE: Result<&'static str, &'static str> = Ok("Pool::close");

                async fn live() -> TrialResult<Pool> {
                    pool()
                }

                async fn call(pool: &mut Pool) -> TrialResult {
                    insert(&pool.get().await?).await
                }

                async fn close(pool: &mut Pool) -> TrialResult {
                    pool.close();
                    Ok(())
                }
            }

            pub struct OfObject;

            impl Subject for OfObject {
                // The object goes first: back into its pool.
                type Live = (managed::Object<Manager>, Pool);

                const CODE: &'static str = $object;
                const PACKAGE: &'static str = $package;
                const VALUE: &'static str = "a `managed::Object` with a SQLite connection, and then its pool";
                const CALL: &'static str = "the connection inserts a row";
                const CLOSE: Result<&'static str, &'static str> =
                    Err("an object has no close: it goes back to its pool when it is dropped");

                async fn live() -> TrialResult<Self::Live> {
                    let pool = pool()?;
                    Ok((pool.get().await?, pool))
                }

                async fn call((object, _): &mut Self::Live) -> TrialResult {
                    insert(object).await
                }
            }
        }
    };
}

generation!(
    current,
    deadpool,
    deadpool_sync,
    deadpool_runtime,
    "deadpool-0.13-pool",
    "deadpool-0.13-object",
    "deadpool@0.13.1"
);
generation!(
    old,
    deadpool_0_12,
    deadpool_sync_0_1,
    deadpool_runtime_0_1,
    "deadpool-0.12-pool",
    "deadpool-0.12-object",
    "deadpool@0.12.3"
);

pub fn cards() -> Vec<Card> {
    vec![
        Card::of::<old::OfPool>(file!()),
        Card::of::<old::OfObject>(file!()),
        Card::of::<current::OfPool>(file!()),
        Card::of::<current::OfObject>(file!()),
    ]
}
