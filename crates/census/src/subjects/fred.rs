//! fred, with a real server.

use fred::prelude::{Builder, Client, ClientLike as _, Config, KeysInterface as _};
use lab::TrialResult;

use crate::{
    server::Server,
    subject::{Card, Subject},
};

struct OfClient;

impl Subject for OfClient {
    type Live = Client;

    const CODE: &'static str = "fred-client";
    const PACKAGE: &'static str = "fred";
    const VALUE: &'static str = "a `Client`, connected by `init`";
    const CALL: &'static str = "SET, and its answer";
    const CLOSE: Result<&'static str, &'static str> = Ok("ClientLike::quit");
    const SERVER: Option<Server> = Some(Server::Redis);

    async fn live() -> TrialResult<Self::Live> {
        let config = Config::from_url(&format!("redis://{}", Server::Redis.address()?))?;
        let client = Builder::from_config(config).build()?;
        client.init().await?;
        Ok(client)
    }

    async fn call(client: &mut Self::Live) -> TrialResult {
        let () = client.set("a", "row", None, None, false).await?;
        Ok(())
    }

    async fn close(client: &mut Self::Live) -> TrialResult {
        Ok(client.quit().await?)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfClient>(file!())]
}
