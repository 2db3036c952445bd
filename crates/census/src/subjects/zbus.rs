//! A connection of zbus to a peer, which is on a runtime of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
};

use lab::TrialResult;
use tokio::runtime::Builder;
use zbus::{
    Connection, Guid,
    connection::{self, AuthMechanism},
};

use crate::{
    look,
    subject::{Card, Subject},
};

const PATH: &str = "/census";
const INTERFACE: &str = "org.example.Census";

struct Rows;

#[zbus::interface(name = "org.example.Census")]
impl Rows {
    fn row(&self) -> &str {
        "a row"
    }
}

/// Serves each connection on a thread and a runtime of its own.
fn served() -> TrialResult<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    look::exclude(address.port());
    let named = || thread::Builder::new().name(look::OWN.to_owned());
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let peer = move || {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let peer = connection::Builder::tcp_stream(stream)
                        .server(Guid::generate())
                        .p2p()
                        .auth_mechanism(AuthMechanism::Anonymous)
                        .serve_at(PATH, Rows)
                        .build()
                        .await?;
                    peer.closed().await;
                    TrialResult::Ok(())
                })
            };
            // The trial may have ended.
            let _ = named().spawn(move || peer().is_ok());
        }
    };
    named().spawn(serve)?;
    Ok(address)
}

struct OfConnection;

impl Subject for OfConnection {
    type Live = Option<Connection>;

    const CODE: &'static str = "zbus-connection";
    const PACKAGE: &'static str = "zbus";
    const VALUE: &'static str = "a `Connection` to a peer, without a bus";
    const CALL: &'static str = "a method call, and its answer";
    const CLOSE: Result<&'static str, &'static str> = Ok("Connection::graceful_shutdown");
    const CLOSES_ONCE: Option<&'static str> =
        Some("`Connection::graceful_shutdown` takes the connection");

    async fn live() -> TrialResult<Self::Live> {
        let (host, port) = (Ipv4Addr::LOCALHOST, served()?.port());
        let connection = connection::Builder::address(&*format!("tcp:host={host},port={port}"))
            .p2p()
            .auth_mechanism(AuthMechanism::Anonymous)
            .build()
            .await?;
        Ok(Some(connection))
    }

    async fn call(connection: &mut Self::Live) -> TrialResult {
        let connection = connection.as_ref().ok_or("it was closed")?;
        connection.call_method(None::<&str>, PATH, Some(INTERFACE), "Row", &()).await?;
        Ok(())
    }

    async fn close(connection: &mut Self::Live) -> TrialResult {
        connection.take().ok_or("it was closed")?.graceful_shutdown().await;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfConnection>(file!())]
}
