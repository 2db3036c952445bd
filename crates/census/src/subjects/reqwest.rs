//! reqwest, and its blocking client, with a server on loopback.

use lab::TrialResult;
use tokio::task::spawn_blocking;

use crate::{
    server,
    subject::{Card, Subject},
};

const NO_CLOSE: &str = "reqwest has no close: a client ends when its last clone is dropped";

struct OfClient;

impl Subject for OfClient {
    type Live = (reqwest::Client, String);

    const CODE: &'static str = "reqwest-client";
    const PACKAGE: &'static str = "reqwest";
    const VALUE: &'static str = "a `Client` that has one idle connection";
    const CALL: &'static str = "a GET request, and its answer";
    const CLOSE: Result<&'static str, &'static str> = Err(NO_CLOSE);

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(server::http)?;
        Ok((reqwest::Client::builder().build()?, format!("http://{address}/")))
    }

    async fn call((client, url): &mut Self::Live) -> TrialResult {
        client.get(&*url).send().await?.text().await?;
        Ok(())
    }
}

struct OfBlockingClient;

impl Subject for OfBlockingClient {
    type Live = (reqwest::blocking::Client, String);

    const CODE: &'static str = "reqwest-blocking-client";
    const PACKAGE: &'static str = "reqwest";
    const VALUE: &'static str =
        "a `blocking::Client` that has one idle connection, made by `spawn_blocking`";
    const CALL: &'static str = "a GET request on a thread of `spawn_blocking`, and its answer";
    const CLOSE: Result<&'static str, &'static str> = Err(NO_CLOSE);

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(server::http)?;
        let client = spawn_blocking(|| reqwest::blocking::Client::builder().build()).await??;
        Ok((client, format!("http://{address}/")))
    }

    async fn call((client, url): &mut Self::Live) -> TrialResult {
        let (client, url) = (client.clone(), url.clone());
        spawn_blocking(move || client.get(url).send()?.text().map(drop)).await??;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfClient>(file!()), Card::of::<OfBlockingClient>(file!())]
}
