//! A channel of tonic, with a server for health checks on a runtime of its own.

use std::{net::SocketAddr, thread};

use lab::TrialResult;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    look,
    subject::{Card, Subject},
};

/// Serves on a thread.
async fn served() -> TrialResult<SocketAddr> {
    let (send, address) = oneshot::channel();
    let serve = move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            look::exclude(address.port());
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            let (_reporter, health) = tonic_health::server::health_reporter();
            // The trial may have ended.
            let _ = send.send(address);
            Server::builder().add_service(health).serve_with_incoming(incoming).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })
    };
    thread::Builder::new().name(look::OWN.to_owned()).spawn(serve)?;
    Ok(address.await?)
}

struct OfChannel;

impl Subject for OfChannel {
    type Live = Channel;

    const CODE: &'static str = "tonic-channel";
    const PACKAGE: &'static str = "tonic";
    const VALUE: &'static str = "a connected `Channel`";
    const CALL: &'static str = "a health check, and its answer";
    const CLOSE: Result<&'static str, &'static str> =
        Err("tonic has no close: a channel ends when its last clone is dropped");

    async fn live() -> TrialResult<Self::Live> {
        let address = served().await?;
        Ok(Endpoint::from_shared(format!("http://{address}"))?.connect().await?)
    }

    async fn call(channel: &mut Self::Live) -> TrialResult {
        let mut client = HealthClient::new(channel.clone());
        client.check(HealthCheckRequest::default()).await?;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfChannel>(file!())]
}
