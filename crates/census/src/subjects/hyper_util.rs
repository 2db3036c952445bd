//! hyper-util's client with a pool, and a server on loopback.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lab::TrialResult;

use crate::{
    server,
    subject::{Card, Subject},
};

struct OfClient;

impl Subject for OfClient {
    type Live = (Client<HttpConnector, Empty<Bytes>>, String);

    const CODE: &'static str = "hyper-util-client";
    const PACKAGE: &'static str = "hyper-util";
    const VALUE: &'static str = "a `client::legacy::Client` that has one idle connection";
    const CALL: &'static str = "a GET request, and its answer";
    const CLOSE: Result<&'static str, &'static str> =
        Err("hyper-util's client has no close: it ends when its last clone is dropped");

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(server::http)?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok((client, format!("http://{address}/")))
    }

    async fn call((client, url): &mut Self::Live) -> TrialResult {
        client.get(url.parse()?).await?.into_body().collect().await?;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfClient>(file!())]
}
