//! Messages between programs: NATS, mail and D-Bus.

use std::{
    mem,
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
};

use async_nats::{ConnectOptions, Event};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{self, spawn_blocking},
};
use trials::Case;

use crate::servers::{self, serve, serve_one};

pub fn cases() -> Vec<Case> {
    [nats(), rabbitmq(), zenoh(), mail(), d_bus(), d_bus_blocking()].into_iter().flatten().collect()
}

async fn nats_client() -> async_nats::Client {
    async_nats::connect(serve(servers::nats).to_string()).await.expect("a client")
}

/// A client, and what happens to it.
async fn nats_events(address: SocketAddr) -> (async_nats::Client, mpsc::UnboundedReceiver<Event>) {
    let (sender, events) = mpsc::unbounded_channel();
    let options = ConnectOptions::new().event_callback(move |event| {
        // Nobody may listen any more.
        let _ = sender.send(event);
        std::future::ready(())
    });
    (options.connect(address.to_string()).await.expect("a client"), events)
}

async fn until(wanted: Event, events: &mut mpsc::UnboundedReceiver<Event>) {
    while events.recv().await.expect("an event") != wanted {}
}

fn nats() -> Vec<Case> {
    vec![
        Case::of("async-nats", nats_client).when("connected"),
        Case::of("async-nats", || async {
            let (client, mut events) = nats_events(serve_one(servers::nats_once)).await;
            until(Event::Disconnected, &mut events).await;
            client
        })
        .when("its server is gone"),
        Case::of("async-nats", || async {
            let (client, mut events) = nats_events(serve(servers::nats)).await;
            client.drain().await.expect("drained");
            until(Event::Closed, &mut events).await;
            client
        })
        .when("drained"),
        Case::of("async-nats", || async {
            nats_client().await.subscribe("a").await.expect("a subscription")
        })
        .when("after its client"),
        Case::of("async-nats", || async {
            let client = nats_client().await;
            let subscriber = client.subscribe("a").await.expect("a subscription");
            mem::forget(client);
            subscriber
        })
        .when("before its client"),
        Case::of("async-nats", || async {
            let (client, mut events) = nats_events(serve(servers::nats)).await;
            let subscriber = client.subscribe("a").await.expect("a subscription");
            client.drain().await.expect("drained");
            until(Event::Closed, &mut events).await;
            subscriber
        })
        .when("its client is drained"),
    ]
}

async fn amqp() -> (amqprs::connection::Connection, amqprs::channel::Channel) {
    let port = serve(servers::amqp).port();
    let arguments =
        amqprs::connection::OpenConnectionArguments::new("127.0.0.1", port, "guest", "guest");
    let connection = amqprs::connection::Connection::open(&arguments).await.expect("a connection");
    let channel = connection.open_channel(None).await.expect("a channel");
    (connection, channel)
}

fn rabbitmq() -> Vec<Case> {
    vec![
        Case::of("amqprs", || async {
            let (connection, channel) = amqp().await;
            mem::forget(channel);
            connection
        })
        .when("before its channel"),
        Case::of("amqprs", || async { amqp().await.0 }).when("after its channel"),
        Case::of("amqprs", || async {
            let (connection, channel) = amqp().await;
            mem::forget(channel);
            // The task that reads may end before the answer comes: an error, and closed all the same.
            drop(connection.clone().close().await);
            connection
        })
        .when("closed"),
        Case::of("amqprs", || async {
            let (connection, channel) = amqp().await;
            mem::forget(connection);
            channel
        })
        .when("before its connection"),
        Case::of("amqprs", || async {
            let (connection, channel) = amqp().await;
            drop(connection.close().await);
            // A task sees it.
            while channel.is_open() {
                task::yield_now().await;
            }
            channel
        })
        .when("its connection is closed"),
        Case::of("amqprs", || async {
            let (connection, channel) = amqp().await;
            mem::forget(connection);
            channel.clone().close().await.expect("closed");
            channel
        })
        .when("closed"),
    ]
}

/// A session that looks for no others.
async fn zenoh_session() -> zenoh::Session {
    let mut config = zenoh::Config::default();
    for (key, value) in [("scouting/multicast/enabled", "false"), ("listen/endpoints", "[]")] {
        config.insert_json5(key, value).expect("a key");
    }
    zenoh::open(config).await.expect("a session")
}

fn zenoh() -> Vec<Case> {
    vec![
        Case::of("zenoh", zenoh_session).when("open"),
        Case::of("zenoh", || async {
            let session = zenoh_session().await;
            session.clone().close().await.expect("closed");
            session
        })
        .when("closed"),
    ]
}

fn smtp(address: SocketAddr) -> AsyncSmtpTransport<Tokio1Executor> {
    let host = address.ip().to_string();
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(address.port()).build()
}

async fn smtp_used() -> AsyncSmtpTransport<Tokio1Executor> {
    let transport = smtp(serve(servers::lines));
    assert!(transport.test_connection().await.expect("a connection"));
    // A task gives the connection back to the pool. The other one looks after the pool.
    while Handle::current().metrics().num_alive_tasks() > 1 {
        task::yield_now().await;
    }
    transport
}

fn mail() -> Vec<Case> {
    vec![
        Case::of("lettre", || async { smtp(serve(servers::lines)) }).when("unused"),
        Case::of("lettre", smtp_used).when("with an idle connection"),
        Case::of("lettre", || async {
            let transport = smtp_used().await;
            transport.shutdown().await;
            transport
        })
        .when("shut down"),
    ]
}

/// Two connections to each other.
async fn zbus() -> (zbus::Connection, zbus::Connection) {
    let (one, other) = UnixStream::pair().expect("sockets");
    let build = |stream| zbus::connection::Builder::unix_stream(stream).p2p();
    let server = build(other).server(zbus::Guid::generate()).build();
    let (connection, server) = tokio::join!(build(one).build(), server);
    (connection.expect("a connection"), server.expect("a server"))
}

fn d_bus() -> Vec<Case> {
    vec![
        Case::of("zbus 6", || async {
            let (connection, server) = zbus().await;
            mem::forget(server);
            connection
        })
        .when("connected"),
        Case::of("zbus 6", || async {
            let (connection, server) = zbus().await;
            server.close().await.expect("closed");
            connection.closed().await;
            connection
        })
        .when("its peer is gone"),
        Case::of("zbus 6", || async {
            let (connection, server) = zbus().await;
            mem::forget(server);
            connection.clone().close().await.expect("closed");
            connection
        })
        .when("closed"),
        Case::of("zbus 6", || async {
            let (connection, server) = zbus().await;
            mem::forget(server);
            zbus::MessageStream::from(&connection)
        })
        .when("after its connection"),
        Case::of("zbus 6", || async {
            let (connection, server) = zbus().await;
            mem::forget((server, connection.clone()));
            zbus::MessageStream::from(&connection)
        })
        .when("before its connection"),
    ]
}

/// A blocking connection, and its peer on the runtime of the value. Version 6 has no blocking interface.
async fn zbus_blocking() -> (zbus_5::blocking::Connection, zbus::Connection) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a listener");
    let connect = spawn_blocking(move || {
        let address = format!("unix:path={}", path.display());
        let builder = zbus_5::blocking::connection::Builder::address(&*address);
        builder.expect("an address").p2p().build().expect("a connection")
    });
    let (stream, _) =
        spawn_blocking(move || listener.accept()).await.expect("a thread").expect("a client");
    let server = zbus::connection::Builder::unix_stream(stream).p2p();
    let server = server.server(zbus::Guid::generate()).build().await.expect("a server");
    (connect.await.expect("a thread"), server)
}

fn d_bus_blocking() -> Vec<Case> {
    vec![
        Case::of("zbus 5", || async {
            let (connection, server) = zbus_blocking().await;
            mem::forget(server);
            connection
        })
        .when("connected"),
        Case::of("zbus 5", || async {
            let (connection, server) = zbus_blocking().await;
            server.close().await.expect("closed");
            connection
        })
        .when("its peer is gone"),
        Case::of("zbus 5", || async {
            let (connection, server) = zbus_blocking().await;
            mem::forget(server);
            let closed = spawn_blocking(move || {
                connection.clone().close().expect("closed");
                connection
            });
            closed.await.expect("a thread")
        })
        .when("closed"),
    ]
}
