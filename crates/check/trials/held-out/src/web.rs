//! Clients and servers of HTTP and DNS, and what measures them.

use std::{mem, time::Duration};

use aioduct::{BlockingTokioClient, TokioClient};
use axum::{Router, routing::get};
use axum_test::TestServer;
use hickory_server::zone_handler::Catalog;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::Serialize;
use servers::serve;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use trials::Case;

use crate::thread;

pub fn cases() -> Vec<Case> {
    [clients(), inserts(), tested(), workers(), sockets(), names(), measured()]
        .into_iter()
        .flatten()
        .collect()
}

fn clients() -> Vec<Case> {
    let url = || format!("http://{}/", serve(servers::http));
    let blocking = move |uses: bool| async move {
        let url = url();
        let make = move || {
            let client = BlockingTokioClient::new(TokioClient::new());
            let answer = uses.then(|| client.get(&url).expect("an address").send());
            (client, answer.map(|it| it.expect("an answer")))
        };
        thread(make).await
    };
    vec![
        Case::of("aioduct", || async { TokioClient::new() }).when("unused"),
        Case::of("aioduct", move || async move {
            let client = TokioClient::new();
            client.get(&url()).expect("an address").send().await.expect("an answer");
            client
        })
        .when("used"),
        Case::of("aioduct", move || async move { blocking(false).await.0 }).when("unused"),
        Case::of("aioduct", move || async move { blocking(true).await.0 }).when("used"),
        Case::of("aioduct", move || async move { blocking(true).await.1.expect("an answer") }),
    ]
}

#[derive(clickhouse::Row, Serialize)]
struct Numbered {
    number: u8,
}

fn inserts() -> Vec<Case> {
    let client = || {
        let url = format!("http://{}", serve(servers::http));
        clickhouse::Client::default().with_url(url).with_validation(false)
    };
    vec![
        Case::of("clickhouse", move || async move { client() }).when("unused"),
        Case::of("clickhouse", move || async move {
            let client = client();
            client.query("SELECT 1").execute().await.expect("an answer");
            client
        })
        .when("used"),
        Case::of("clickhouse", move || async move {
            client().insert::<Numbered>("a").await.expect("an insert")
        })
        .when("unused"),
        Case::of("clickhouse", move || async move {
            let mut insert = client().insert::<Numbered>("a").await.expect("an insert");
            insert.write(&Numbered { number: 1 }).await.expect("written");
            insert
        })
        .when("with a row"),
        Case::of("clickhouse", move || async move { client().inserter::<Numbered>("a") })
            .when("unused"),
        Case::of("clickhouse", move || async move {
            let period = Some(Duration::from_secs(9));
            let mut inserter = client().inserter::<Numbered>("a").with_period(period);
            inserter.write(&Numbered { number: 1 }).await.expect("written");
            inserter
        })
        .when("with a row"),
        Case::of("clickhouse", move || async move {
            let mut inserter = client().inserter::<Numbered>("a");
            inserter.write(&Numbered { number: 1 }).await.expect("written");
            inserter.force_commit().await.expect("committed");
            inserter
        })
        .when("committed"),
    ]
}

fn tested() -> Vec<Case> {
    let answers = || Router::new().route("/", get(async || "a row"));
    vec![
        Case::of("axum-test", move || async move { TestServer::new(answers()) })
            .when("does not listen"),
        Case::of("axum-test", move || async move {
            let server = TestServer::builder().http_transport().build(answers());
            server.get("/").await.assert_text("a row");
            server
        })
        .when("listens"),
    ]
}

fn workers() -> Vec<Case> {
    let server = || {
        actix_server::Server::build()
            .workers(1)
            .disable_signals()
            .bind("a", ("127.0.0.1", 0), || {
                actix_service::fn_service(async |_: TcpStream| Ok::<(), ()>(()))
            })
            .expect("bound")
            .run()
    };
    vec![
        Case::of("actix-server", move || async move { server() }).when("unused"),
        Case::of("actix-server", move || async move { server().handle() }).when("after its server"),
        Case::of("actix-server", move || async move {
            let server = server();
            let handle = server.handle();
            tokio::spawn(server);
            handle.pause().await;
            handle
        })
        .when("running"),
        Case::of("actix-server", move || async move {
            let server = server();
            let handle = server.handle();
            let ended = tokio::spawn(server);
            handle.stop(true).await;
            ended.await.expect("a task").expect("an end");
            handle
        })
        .when("stopped"),
    ]
}

fn sockets() -> Vec<Case> {
    vec![
        Case::of("socketioxide", || async { SocketIo::new_layer().1 }).when("unused"),
        Case::of("socketioxide", || async {
            let (layer, sockets) = SocketIo::new_layer();
            sockets.ns("/", async |_: SocketRef| {});
            mem::forget(layer);
            sockets
        })
        .when("with a namespace"),
        Case::of("socketioxide", || async {
            let (layer, sockets) = SocketIo::new_layer();
            sockets.ns("/", async |_: SocketRef| {});
            sockets.close().await;
            mem::forget(layer);
            sockets
        })
        .when("closed"),
        Case::of("socketioxide", || async {
            let (layer, sockets) = SocketIo::new_layer();
            sockets.ns("/", async |_: SocketRef| {});
            layer
        }),
    ]
}

async fn resolver() -> hickory_server::Server<Catalog> {
    let mut server = hickory_server::Server::new(Catalog::new());
    server.register_socket(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    server.register_listener(listener, Duration::from_secs(9), 8);
    server
}

fn names() -> Vec<Case> {
    vec![
        Case::of("hickory-server", || async { hickory_server::Server::new(Catalog::new()) })
            .when("does not listen"),
        Case::of("hickory-server", resolver).when("listens"),
        Case::of("hickory-server", || async {
            let mut server = resolver().await;
            server.shutdown_gracefully().await.expect("an end");
            server
        })
        .when("shut down"),
    ]
}

fn measured() -> Vec<Case> {
    vec![
        Case::of("metrics-exporter-prometheus", || async {
            PrometheusBuilder::new().build_recorder()
        })
        .when("without a server"),
        Case::of("metrics-exporter-prometheus", || async {
            let builder = PrometheusBuilder::new().with_http_listener(([127, 0, 0, 1], 0));
            let (recorder, exporter) = builder.build().expect("a listener");
            tokio::spawn(exporter);
            recorder
        })
        .when("with a server"),
        Case::of("metrics-exporter-prometheus", || async {
            PrometheusBuilder::new().build_recorder().handle()
        }),
    ]
}
