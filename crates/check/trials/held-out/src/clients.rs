//! Clients of servers that the program stands in for.

use std::{mem, time::Duration};

use async_smtp::{SmtpClient, SmtpTransport};
use dolphindb::client::{ClientBuilder, TableWriter};
use irc::client::{Client, data::Config};
use redis_async::client::{paired_connect, pubsub_connect};
use rslock::LockManager;
use servers::{serve, serve_one};
use tokio::{io::BufStream, net::TcpStream};
use tokio_socks::tcp::{Socks4Stream, Socks5Stream};
use trials::Case;

pub fn cases() -> Vec<Case> {
    [redis(), locks(), chat(), consoles(), proxies(), mail(), tables()]
        .into_iter()
        .flatten()
        .collect()
}

fn redis() -> Vec<Case> {
    let paired = || async {
        let port = serve(servers::redis).port();
        paired_connect("127.0.0.1", port).await.expect("a connection")
    };
    let subscribed = || async {
        let port = serve(servers::redis_topic).port();
        let connection = pubsub_connect("127.0.0.1", port).await.expect("a connection");
        let topic = connection.subscribe("a").await.expect("a topic");
        (connection, topic)
    };
    vec![
        Case::of("redis-async", paired).when("unused"),
        Case::of("redis-async", move || async move {
            let connection = paired().await;
            let command = redis_async::resp_array!["SET", "a", "b"];
            let _: String = connection.send(command).await.expect("an answer");
            connection
        })
        .when("used"),
        Case::of("redis-async", move || async move {
            let (connection, topic) = subscribed().await;
            mem::forget(topic);
            connection
        })
        .when("before its topic"),
        Case::of("redis-async", move || async move { subscribed().await.0 })
            .when("after its topic"),
        Case::of("redis-async", move || async move {
            let (connection, topic) = subscribed().await;
            mem::forget(connection);
            topic
        })
        .when("before its connection"),
        Case::of("redis-async", move || async move { subscribed().await.1 })
            .when("after its connection"),
    ]
}

fn locks() -> Vec<Case> {
    let manager = || LockManager::new(vec![format!("redis://{}", serve(servers::redis))]);
    vec![
        Case::of("rslock", move || async move { manager() }).when("unused"),
        Case::of("rslock", move || async move {
            let manager = manager();
            let lock = manager.lock("a", Duration::from_secs(9)).await.expect("a lock");
            mem::forget(lock);
            manager
        })
        .when("with a lock"),
        Case::of("rslock", move || async move {
            manager().acquire("a", Duration::from_secs(9)).await.expect("a lock")
        })
        .when("after its manager"),
        Case::of("rslock", move || async move {
            let manager = manager();
            let guard = manager.acquire("a", Duration::from_secs(9)).await.expect("a lock");
            mem::forget(manager);
            guard
        })
        .when("before its manager"),
    ]
}

async fn chatting(address: std::net::SocketAddr) -> Client {
    let config = Config {
        nickname: Some("a".to_owned()),
        server: Some(address.ip().to_string()),
        port: Some(address.port()),
        ..Default::default()
    };
    Client::from_config(config).await.expect("a client")
}

fn chat() -> Vec<Case> {
    use futures_util::StreamExt as _;
    vec![
        Case::of("irc", || chatting(serve(servers::silent))).when("connected"),
        Case::of("irc", || async {
            let mut client = chatting(serve(servers::silent)).await;
            client.identify().expect("identified");
            mem::forget(client.stream().expect("a stream"));
            client
        })
        .when("before its stream"),
        Case::of("irc", || async {
            let mut client = chatting(serve(servers::silent)).await;
            let stream = client.stream().expect("a stream");
            client.identify().expect("identified");
            mem::forget(client);
            stream
        })
        .when("before its client"),
        Case::of("irc", || async {
            let mut client = chatting(serve_one(servers::gone)).await;
            let mut stream = client.stream().expect("a stream");
            while stream.next().await.is_some_and(|message| message.is_ok()) {}
            stream
        })
        .when("its server is gone"),
        Case::of("irc", || async {
            let mut client = chatting(serve(servers::silent)).await;
            let outgoing = client.outgoing().expect("what is sent");
            client.identify().expect("identified");
            mem::forget(client);
            outgoing
        }),
    ]
}

fn consoles() -> Vec<Case> {
    let console = || async {
        let stream = TcpStream::connect(serve(servers::rcon)).await.expect("a connection");
        rcon::Connection::handshake(stream, "a").await.expect("a console")
    };
    vec![
        Case::of("rcon", console).when("unused"),
        Case::of("rcon", move || async move {
            let mut console = console().await;
            console.cmd("a").await.expect("an answer");
            console
        })
        .when("used"),
    ]
}

fn proxies() -> Vec<Case> {
    vec![
        Case::of("tokio-socks", || async {
            let proxy = serve(servers::socks5);
            Socks5Stream::connect(proxy, ("127.0.0.1", 9)).await.expect("a stream")
        }),
        Case::of("tokio-socks", || async {
            let proxy = serve(servers::socks4);
            Socks4Stream::connect(proxy, ("127.0.0.1", 9)).await.expect("a stream")
        }),
    ]
}

fn mail() -> Vec<Case> {
    let transport = |address| async move {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let transport = SmtpTransport::new(SmtpClient::new(), BufStream::new(stream));
        transport.await.expect("a transport")
    };
    vec![
        Case::of("async-smtp", move || transport(serve(servers::lines))).when("connected"),
        Case::of("async-smtp", move || async move {
            let mut transport = transport(serve(servers::lines)).await;
            transport.quit().await.expect("an end");
            transport
        })
        .when("ended"),
    ]
}

fn tables() -> Vec<Case> {
    let client = |address: std::net::SocketAddr| async move {
        ClientBuilder::new(address).connect().await.expect("a client")
    };
    let writer =
        move |address| async move { TableWriter::new(client(address).await, "a", 9).await };
    vec![
        Case::of("dolphindb", move || client(serve(servers::dolphindb))),
        Case::of("dolphindb", move || writer(serve(servers::dolphindb))).when("unused"),
        Case::of("dolphindb", move || async move {
            let mut writer = writer(serve(servers::dolphindb)).await;
            let mut row = vec![1_i32.into()];
            writer.append_row(&mut row).await.expect("a row");
            writer
        })
        .when("with a row"),
        Case::of("dolphindb", move || writer(serve(servers::dolphindb_until_insert)))
            .when("its server is gone"),
    ]
}
