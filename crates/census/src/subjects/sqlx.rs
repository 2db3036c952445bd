//! sqlx, with SQLite.

use lab::TrialResult;
use sqlx::{
    Sqlite,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions},
};

use crate::subject::{Card, Subject};

const INSERT: &str = "INSERT INTO rows VALUES ('a row')";

async fn pool() -> TrialResult<SqlitePool> {
    let options = SqliteConnectOptions::new().filename("census.db").create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    sqlx::query("CREATE TABLE rows (it TEXT)").execute(&pool).await?;
    Ok(pool)
}

struct OfPool;

impl Subject for OfPool {
    type Live = SqlitePool;

    const CODE: &'static str = "sqlx-pool";
    const PACKAGE: &'static str = "sqlx";
    const VALUE: &'static str = "a `SqlitePool` that has one idle connection";
    const CALL: &'static str = "a row is inserted through the pool";
    const CLOSE: Result<&'static str, &'static str> = Ok("Pool::close");

    async fn live() -> TrialResult<Self::Live> {
        pool().await
    }

    async fn call(pool: &mut Self::Live) -> TrialResult {
        sqlx::query(INSERT).execute(&*pool).await?;
        Ok(())
    }

    async fn close(pool: &mut Self::Live) -> TrialResult {
        pool.close().await;
        Ok(())
    }
}

struct OfConnection;

impl Subject for OfConnection {
    type Live = (PoolConnection<Sqlite>, SqlitePool);

    const CODE: &'static str = "sqlx-connection";
    const PACKAGE: &'static str = "sqlx";
    const VALUE: &'static str = "a `PoolConnection` of SQLite, and then its pool";
    const CALL: &'static str = "the connection inserts a row";
    const CLOSE: Result<&'static str, &'static str> =
        Err("the close of a connection leaves its pool open: see `sqlx-pool`");

    async fn live() -> TrialResult<Self::Live> {
        let pool = pool().await?;
        Ok((pool.acquire().await?, pool))
    }

    async fn call((connection, _): &mut Self::Live) -> TrialResult {
        sqlx::query(INSERT).execute(&mut **connection).await?;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfPool>(file!()), Card::of::<OfConnection>(file!())]
}
