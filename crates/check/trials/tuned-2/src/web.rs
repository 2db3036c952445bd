//! Servers and clients of HTTP, and of what begins with it.

use std::{mem, net::SocketAddr};

use axum::Router;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{self, DuplexStream},
    task::spawn_blocking,
};
use trials::Case;

use crate::network::any;

pub fn cases() -> Vec<Case> {
    [axum_server(), json_rpc(), hyper(), websockets(), rocket(), gotham()]
        .into_iter()
        .flatten()
        .collect()
}

fn axum_server() -> Vec<Case> {
    let served = || async {
        let handle = axum_server::Handle::<SocketAddr>::new();
        let server = axum_server::bind(any()).handle(handle.clone());
        tokio::spawn(server.serve(Router::new().into_make_service()));
        handle.listening().await.expect("an address");
        handle
    };
    vec![
        Case::of("axum-server", || async { axum_server::Handle::<SocketAddr>::new() })
            .when("unused"),
        Case::of("axum-server", served).when("of a server"),
        Case::of("axum-server", move || async move {
            let handle = served().await;
            handle.graceful_shutdown(None);
            handle
        })
        .when("shut down"),
        Case::of("axum-server", || async { axum_server::bind(any()) }),
    ]
}

fn json_rpc() -> Vec<Case> {
    use jsonrpsee_server::{RpcModule, ServerBuilder, ServerHandle};
    let started = || async {
        let server = ServerBuilder::default().build(any()).await.expect("a server");
        server.start(RpcModule::new(()))
    };
    vec![
        Case::of("jsonrpsee-server", || async {
            ServerBuilder::default().build(any()).await.expect("a server")
        }),
        Case::of("jsonrpsee-server", started).when("started"),
        Case::of("jsonrpsee-server", move || async move {
            let handle: ServerHandle = started().await;
            handle.stop().expect("a stop");
            handle.clone().stopped().await;
            handle
        })
        .when("stopped"),
    ]
}

type Sender = http1::SendRequest<Full<Bytes>>;
type Connection = http1::Connection<TokioIo<DuplexStream>, Full<Bytes>>;

async fn hyper_ends() -> (Sender, Connection, DuplexStream) {
    let (client, server) = io::duplex(1 << 16);
    let (sender, connection) = http1::handshake(TokioIo::new(client)).await.expect("a handshake");
    (sender, connection, server)
}

fn hyper() -> Vec<Case> {
    vec![
        Case::of("hyper", || async {
            let (sender, connection, server) = hyper_ends().await;
            tokio::spawn(connection);
            mem::forget(server);
            sender
        })
        .when("connected"),
        Case::of("hyper", || async {
            let (sender, connection, server) = hyper_ends().await;
            drop(server);
            drop(connection.await);
            sender
        })
        .when("its server is gone"),
        Case::of("hyper", || async {
            let (sender, connection, server) = hyper_ends().await;
            mem::forget((sender, server));
            connection
        })
        .when("before what sends"),
        Case::of("hyper", || async {
            let (sender, connection, server) = hyper_ends().await;
            drop(sender);
            mem::forget(server);
            connection
        })
        .when("after what sends"),
    ]
}

fn websockets() -> Vec<Case> {
    let connected = || {
        let (client, server) = io::duplex(1 << 16);
        mem::forget(server);
        tokio_websockets::ClientBuilder::new().take_over(client)
    };
    vec![
        Case::of("tokio-websockets", move || async move { connected() }).when("connected"),
        Case::of("tokio-websockets", move || async move {
            let mut socket = connected();
            let message = tokio_websockets::Message::text("a row");
            futures_util::SinkExt::send(&mut socket, message).await.expect("sent");
            socket
        })
        .when("used"),
    ]
}

fn quiet() -> rocket::Rocket<rocket::Build> {
    rocket::custom(rocket::Config::figment().merge(("log_level", "off")))
}

fn rocket() -> Vec<Case> {
    use rocket::local::{asynchronous, blocking};
    let tracked = || async {
        let client = || blocking::Client::tracked(quiet()).expect("a client");
        spawn_blocking(client).await.expect("a thread")
    };
    vec![
        Case::of("rocket", || async {
            asynchronous::Client::tracked(quiet()).await.expect("a client")
        })
        .when("unused"),
        Case::of("rocket", || async {
            let client = asynchronous::Client::tracked(quiet()).await.expect("a client");
            client.get("/").dispatch().await;
            client
        })
        .when("used"),
        Case::of("rocket", tracked).when("unused"),
        Case::of("rocket", move || async move {
            let client = tracked().await;
            let used = spawn_blocking(move || {
                client.get("/").dispatch();
                client
            });
            used.await.expect("a client")
        })
        .when("used"),
    ]
}

type Answer = hyper::Response<gotham::helpers::http::Body>;

fn answer(state: gotham::state::State) -> (gotham::state::State, Answer) {
    (state, Answer::new(gotham::helpers::http::Body::default()))
}

fn gotham() -> Vec<Case> {
    use gotham::plain::test::AsyncTestServer;
    use gotham::test::TestServer;
    let server = || TestServer::new(|| Ok(answer)).expect("a server");
    vec![
        Case::of("gotham", move || async move { spawn_blocking(server).await.expect("a server") })
            .when("unused"),
        Case::of("gotham", move || async move {
            let used = spawn_blocking(move || {
                let server = server();
                server.client().get("http://localhost/").perform().expect("an answer");
                server
            });
            used.await.expect("a server")
        })
        .when("used"),
        Case::of("gotham", || async {
            AsyncTestServer::new(|| Ok(answer)).await.expect("a server")
        })
        .when("unused"),
        Case::of("gotham", || async {
            let server = AsyncTestServer::new(|| Ok(answer)).await.expect("a server");
            server.client().get("http://localhost/").perform().await.expect("an answer");
            server
        })
        .when("used"),
    ]
}
