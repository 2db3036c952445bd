//! A client of quinn, with a server on a runtime of its own.

use std::{net::SocketAddr, sync::Arc, thread};

use lab::TrialResult;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer};
use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    look,
    subject::{Card, Subject},
};

/// Serves on a thread: sends back what comes on a stream.
async fn served() -> TrialResult<(SocketAddr, RootCertStore)> {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, mut roots) = (signed.cert.der().clone(), RootCertStore::empty());
    roots.add(certificate.clone())?;
    let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let (send, address) = oneshot::channel();
    let serve = move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let config = ServerConfig::with_single_cert(vec![certificate], key.into())?;
            let endpoint = Endpoint::server(config, "127.0.0.1:0".parse()?)?;
            let address = endpoint.local_addr()?;
            look::exclude(address.port());
            // The trial may have ended.
            let _ = send.send(address);
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    let connection = incoming.await?;
                    while let Ok((mut send, mut read)) = connection.accept_bi().await {
                        let row = read.read_to_end(64).await?;
                        send.write_all(&row).await?;
                        send.finish()?;
                    }
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
                });
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })
    };
    thread::Builder::new().name(look::OWN.to_owned()).spawn(serve)?;
    Ok((address.await?, roots))
}

struct OfEndpoint;

impl Subject for OfEndpoint {
    type Live = (Connection, Endpoint);

    const CODE: &'static str = "quinn-endpoint";
    const PACKAGE: &'static str = "quinn";
    const VALUE: &'static str = "a `Connection` of a client, and then its `Endpoint`";
    const CALL: &'static str = "a stream in both directions, and its echo";
    const CLOSE: Result<&'static str, &'static str> = Ok("`Endpoint::close`, and then `wait_idle`");

    async fn live() -> TrialResult<Self::Live> {
        let (address, roots) = served().await?;
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
        endpoint.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
        Ok((endpoint.connect(address, "localhost")?.await?, endpoint))
    }

    async fn call((connection, _): &mut Self::Live) -> TrialResult {
        let (mut send, mut read) = connection.open_bi().await?;
        send.write_all(b"a row").await?;
        send.finish()?;
        read.read_to_end(64).await?;
        Ok(())
    }

    async fn close((_, endpoint): &mut Self::Live) -> TrialResult {
        endpoint.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfEndpoint>(file!())]
}
