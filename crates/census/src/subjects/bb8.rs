//! bb8, with connections to a server on loopback.

use std::{io, net::SocketAddr};

use bb8::{ManageConnection, Pool, PooledConnection};
use lab::TrialResult;

use crate::{
    server::{self, Connection},
    subject::{Card, Subject},
};

struct Manager(SocketAddr);

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.0).await
    }

    async fn is_valid(&self, connection: &mut Connection) -> io::Result<()> {
        connection.call().await
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

async fn pool() -> TrialResult<Pool<Manager>> {
    Ok(Pool::builder().max_size(1).build(Manager(server::serve(server::echo)?)).await?)
}

const NO_CLOSE: &str = "bb8 has no close: a pool ends when its last clone is dropped";

struct OfPool;

impl Subject for OfPool {
    type Live = Pool<Manager>;

    const CODE: &'static str = "bb8-pool";
    const PACKAGE: &'static str = "bb8";
    const VALUE: &'static str = "a `Pool` that has one idle connection";
    const CALL: &'static str = "a connection is taken from the pool, and gets an answer";
    const CLOSE: Result<&'static str, &'static str> = Err(NO_CLOSE);

    async fn live() -> TrialResult<Self::Live> {
        pool().await
    }

    async fn call(pool: &mut Self::Live) -> TrialResult {
        Ok(pool.get().await?.call().await?)
    }
}

struct OfConnection;

impl Subject for OfConnection {
    type Live = (PooledConnection<'static, Manager>, Pool<Manager>);

    const CODE: &'static str = "bb8-connection";
    const PACKAGE: &'static str = "bb8";
    const VALUE: &'static str = "a `PooledConnection`, and then its pool";
    const CALL: &'static str = "the connection gets an answer";
    const CLOSE: Result<&'static str, &'static str> = Err(NO_CLOSE);

    async fn live() -> TrialResult<Self::Live> {
        let pool = pool().await?;
        Ok((pool.get_owned().await?, pool))
    }

    async fn call((connection, _): &mut Self::Live) -> TrialResult {
        Ok(connection.call().await?)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfPool>(file!()), Card::of::<OfConnection>(file!())]
}
