//! tokio-postgres and its pool, with a server that says OK to everything.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use deadpool_postgres::{Manager, Pool};
use lab::TrialResult;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::{
    server,
    subject::{Card, Subject},
};

/// What a client of PostgreSQL 3.0 needs to hear.
fn postgres(mut stream: TcpStream) -> io::Result<()> {
    const READY: &[u8] = b"Z\0\0\0\x05I";
    let body = |stream: &mut TcpStream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length).saturating_sub(4) as usize];
        stream.read_exact(&mut body)
    };
    body(&mut stream)?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)?;
    let mut kind = [0];
    while stream.read_exact(&mut kind).is_ok() {
        body(&mut stream)?;
        if kind == *b"Q" {
            stream.write_all(b"C\0\0\0\x07OK\0")?;
            stream.write_all(READY)?;
        }
    }
    Ok(())
}

fn config() -> io::Result<Config> {
    let address = server::serve(postgres)?;
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user("census");
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
        client.simple_query("INSERT").await?;
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
        pool.get().await?.simple_query("INSERT").await?;
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
        let address = server::serve(postgres)?;
        let connect = move || {
            let mut config = ::postgres::Config::new();
            config.host(&address.ip().to_string()).port(address.port()).user("census");
            config.connect(NoTls)
        };
        Ok(Some(spawn_blocking(connect).await??))
    }

    async fn call(live: &mut Self::Live) -> TrialResult {
        let mut client = live.take().ok_or("it was closed, or its last call was cancelled")?;
        let query = move || client.simple_query("INSERT").map(|_| client);
        *live = Some(spawn_blocking(query).await??);
        Ok(())
    }

    async fn close(live: &mut Self::Live) -> TrialResult {
        let client = live.take().ok_or("it was closed")?;
        Ok(spawn_blocking(move || client.close()).await??)
    }
}

pub fn cards() -> Vec<Card> {
    vec![
        Card::of::<OfBlockingClient>(file!()),
        Card::of::<OfClient>(file!()),
        Card::of::<OfPool>(file!()),
    ]
}
