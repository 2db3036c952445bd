//! mobc, with connections to a server on loopback.

use std::{io, net::SocketAddr};

use lab::TrialResult;
use mobc::{Manager, Pool, async_trait};

use crate::{
    server::{self, Connection},
    subject::{Card, Subject},
};

struct Tcp(SocketAddr);

#[async_trait]
impl Manager for Tcp {
    type Connection = Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.0).await
    }

    async fn check(&self, mut connection: Connection) -> io::Result<Connection> {
        connection.call().await?;
        Ok(connection)
    }
}

fn pool() -> TrialResult<Pool<Tcp>> {
    Ok(Pool::builder().max_open(1).build(Tcp(server::serve(server::echo)?)))
}

const NO_CLOSE: &str = "mobc has no close: a pool ends when its last clone is dropped";

struct OfPool;

impl Subject for OfPool {
    type Live = Pool<Tcp>;

    const CODE: &'static str = "mobc-pool";
    const PACKAGE: &'static str = "mobc";
    const VALUE: &'static str = "a `Pool` that has one idle connection";
    const CALL: &'static str = "a connection is taken from the pool, and gets an answer";
    const CLOSE: Result<&'static str, &'static str> = Err(NO_CLOSE);

    async fn live() -> TrialResult<Self::Live> {
        pool()
    }

    async fn call(pool: &mut Self::Live) -> TrialResult {
        Ok(pool.get().await?.call().await?)
    }
}

struct OfConnection;

impl Subject for OfConnection {
    type Live = (mobc::Connection<Tcp>, Pool<Tcp>);

    const CODE: &'static str = "mobc-connection";
    const PACKAGE: &'static str = "mobc";
    const VALUE: &'static str = "a `Connection`, and then its pool";
    const CALL: &'static str = "the connection gets an answer";
    const CLOSE: Result<&'static str, &'static str> = Err(NO_CLOSE);

    async fn live() -> TrialResult<Self::Live> {
        let pool = pool()?;
        Ok((pool.get().await?, pool))
    }

    async fn call((connection, _): &mut Self::Live) -> TrialResult {
        Ok(connection.call().await?)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfPool>(file!()), Card::of::<OfConnection>(file!())]
}
