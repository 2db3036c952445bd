//! redis, with a real server.

use lab::TrialResult;
use redis::{Client, aio::MultiplexedConnection};

use crate::{
    server::Server,
    subject::{Card, Subject},
};

struct OfConnection;

impl Subject for OfConnection {
    type Live = MultiplexedConnection;

    const CODE: &'static str = "redis-multiplexed-connection";
    const PACKAGE: &'static str = "redis";
    const VALUE: &'static str = "a `MultiplexedConnection`";
    const CALL: &'static str = "SET, and its answer";
    const CLOSE: Result<&'static str, &'static str> =
        Err("redis has no close: a connection ends after its last clone was dropped");
    const SERVER: Option<Server> = Some(Server::Redis);

    async fn live() -> TrialResult<Self::Live> {
        let client = Client::open(format!("redis://{}", Server::Redis.address()?))?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    async fn call(connection: &mut Self::Live) -> TrialResult {
        let () = redis::cmd("SET").arg("a").arg("row").query_async(connection).await?;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfConnection>(file!())]
}
