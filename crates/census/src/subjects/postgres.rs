//! tokio-postgres, its pool and its blocking client, with a real server.

use deadpool_postgres::{Manager, Pool};
use lab::{TrialResult, server::Kind};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::{
    real,
    subject::{Card, Subject},
};

/// A query that changes nothing: the trials of all rows share the database.
const QUERY: &str = "SELECT 'a row'";

fn config() -> TrialResult<Config> {
    let address = real::address(Kind::Postgres)?;
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user("postgres");
    Ok(config)
}

struct OfClient;

impl Subject for OfClient {
    type Live = (Client, JoinHandle<Result<(), Error>>);

    const CODE: &'static str = "tokio-postgres-client";
    const PACKAGE: &'static str = "tokio-postgres";
    const VALUE: &'static str =
        "a `Client`, and the `JoinHandle` of the task that runs its connection";
    const CALL: &'static str = "a simple query";
    const CLOSE: Result<&'static str, &'static str> =
        Err("tokio-postgres has no close: the connection ends after its client was dropped");

    async fn live() -> TrialResult<Self::Live> {
        let (client, connection) = config()?.connect(NoTls).await?;
        Ok((client, tokio::spawn(connection)))
    }

    async fn call((client, _): &mut Self::Live) -> TrialResult {
        client.simple_query(QUERY).await?;
        Ok(())
    }
}

struct OfPool;

impl Subject for OfPool {
    type Live = Pool;

    const CODE: &'static str = "deadpool-postgres-pool";
    const PACKAGE: &'static str = "deadpool-postgres";
    const VALUE: &'static str = "a `Pool` that has one idle client";
    const CALL: &'static str = "a client is taken from the pool, and makes a simple query";
    const CLOSE: Result<&'static str, &'static str> = Ok("Pool::close");

    async fn live() -> TrialResult<Self::Live> {
        Ok(Pool::builder(Manager::new(config()?, NoTls)).max_size(1).build()?)
    }

    async fn call(pool: &mut Self::Live) -> TrialResult {
        pool.get().await?.simple_query(QUERY).await?;
        Ok(())
    }

    async fn close(pool: &mut Self::Live) -> TrialResult {
        pool.close();
        Ok(())
    }
}

/// The blocking client, which has a runtime of its own.
struct OfBlockingClient;

impl Subject for OfBlockingClient {
    type Live = Option<::postgres::Client>;

    const CODE: &'static str = "postgres-client";
    const PACKAGE: &'static str = "postgres";
    const VALUE: &'static str = "a blocking `Client`, made by `spawn_blocking`";
    const CALL: &'static str = "a simple query on a thread of `spawn_blocking`";
    const CLOSE: Result<&'static str, &'static str> =
        Ok("`Client::close` on a thread of `spawn_blocking`");
    const CLOSES_ONCE: Option<&'static str> = Some("`Client::close` takes the client");

    async fn live() -> TrialResult<Self::Live> {
        let config = ::postgres::Config::from(config()?);
        Ok(Some(spawn_blocking(move || config.connect(NoTls)).await??))
    }

    async fn call(live: &mut Self::Live) -> TrialResult {
        let mut client = live.take().ok_or("it was closed, or its last call was cancelled")?;
        let query = move || client.simple_query(QUERY).map(|_| client);
        *live = Some(spawn_blocking(query).await??);
        Ok(())
    }

    async fn close(live: &mut Self::Live) -> TrialResult {
        let client = live.take().ok_or("it was closed")?;
        Ok(spawn_blocking(move || client.close()).await??)
    }
}

pub fn cards() -> Vec<Card> {
    [
        Card::of::<OfBlockingClient>(file!()),
        Card::of::<OfClient>(file!()),
        Card::of::<OfPool>(file!()),
    ]
    .map(|card| real::with(Kind::Postgres, card))
    .into()
}
