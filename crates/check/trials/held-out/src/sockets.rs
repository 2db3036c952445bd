//! Clients of WebSockets and WebTransport, and what is spoken over them.

use std::{mem, net::SocketAddr};

use async_tungstenite::{WebSocketStream, tokio::TokioAdapter, tungstenite::Message};
use ezsockets::MessageStatus;
use futures_util::StreamExt as _;
use roslibrust_rosbridge::ClientHandle;
use serde_json::{Value, json};
use tokio::{
    io::{self, DuplexStream},
    net::TcpListener,
};
use trials::Case;
use waapi_rs::{SubscriptionHandle, SubscriptionHandleSync, WaapiClient, WaapiClientSync};
use wtransport::{ClientConfig, Connection, Endpoint, Identity, ServerConfig, endpoint};

use crate::thread;

pub fn cases() -> Vec<Case> {
    [plain(), declared(), robots(), sounds(), sounds_blocking(), transports(), streams()]
        .into_iter()
        .flatten()
        .collect()
}

type Socket = WebSocketStream<TokioAdapter<DuplexStream>>;

async fn socket_ends() -> (Socket, Socket) {
    let (one, other) = io::duplex(1 << 16);
    let (client, server) = tokio::join!(
        async_tungstenite::tokio::client_async("ws://localhost/", one),
        async_tungstenite::tokio::accept_async(other),
    );
    (client.expect("a handshake").0, server.expect("a handshake"))
}

fn plain() -> Vec<Case> {
    vec![
        Case::of("async-tungstenite", || async {
            let (mut client, server) = socket_ends().await;
            client.send(Message::text("a row")).await.expect("sent");
            mem::forget(server);
            client
        })
        .when("used"),
        Case::of("async-tungstenite", || async {
            let (mut client, server) = socket_ends().await;
            client.close(None).await.expect("closed");
            mem::forget(server);
            client
        })
        .when("closed"),
        Case::of("async-tungstenite", || async { socket_ends().await.0 })
            .when("its server is gone"),
    ]
}

/// A server that gives each text such an answer, if there is one.
async fn answering(answer: fn(&Value) -> Option<Value>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = async_tungstenite::tokio::accept_async(stream).await?;
                while let Some(message) = socket.next().await {
                    let text = message?.into_text()?;
                    if let Some(answer) = serde_json::from_str(&text).ok().as_ref().and_then(answer)
                    {
                        socket.send(Message::text(answer.to_string())).await?;
                    }
                }
                Ok::<_, async_tungstenite::tungstenite::Error>(())
            });
        }
    });
    address
}

struct Ignores;

#[async_trait::async_trait]
impl ezsockets::ClientExt for Ignores {
    type Call = ();

    async fn on_text(&mut self, _: ezsockets::Utf8Bytes) -> Result<(), ezsockets::Error> {
        Ok(())
    }

    async fn on_binary(&mut self, _: ezsockets::Bytes) -> Result<(), ezsockets::Error> {
        Ok(())
    }

    async fn on_call(&mut self, (): ()) -> Result<(), ezsockets::Error> {
        Ok(())
    }
}

fn declared() -> Vec<Case> {
    let connected = || async {
        let url = format!("ws://{}", answering(|_| None).await);
        let config = ezsockets::ClientConfig::new(url.as_str());
        let (client, ended) = ezsockets::connect(|_| Ignores, config).await;
        (client, tokio::spawn(ended))
    };
    vec![
        Case::of("ezsockets", move || async move {
            let (client, _) = connected().await;
            let sent = client.text("a row").expect("sent");
            while sent.status() == MessageStatus::Sending {
                tokio::task::yield_now().await;
            }
            client
        })
        .when("used"),
        Case::of("ezsockets", move || async move {
            let (client, ended) = connected().await;
            client.close(None).expect("closed");
            drop(ended.await.expect("a task"));
            client
        })
        .when("closed"),
    ]
}

fn robots() -> Vec<Case> {
    let connected = || async {
        let url = format!("ws://{}", answering(|_| None).await);
        ClientHandle::new(url).await.expect("a client")
    };
    vec![
        Case::of("roslibrust_rosbridge", connected),
        Case::of("roslibrust_rosbridge", move || async move {
            connected().await.advertise::<()>("/a").await.expect("a publisher")
        })
        .when("after its client"),
        Case::of("roslibrust_rosbridge", move || async move {
            let client = connected().await;
            let publisher = client.advertise::<()>("/a").await.expect("a publisher");
            publisher.publish(&()).await.expect("published");
            mem::forget(client);
            publisher
        })
        .when("before its client"),
        Case::of("roslibrust_rosbridge", move || async move {
            connected().await.subscribe::<()>("/a").await.expect("a subscriber")
        })
        .when("after its client"),
        Case::of("roslibrust_rosbridge", move || async move {
            let client = connected().await;
            let subscriber = client.subscribe::<()>("/a").await.expect("a subscriber");
            mem::forget(client);
            subscriber
        })
        .when("before its client"),
    ]
}

/// What a router of WAMP answers to who says hello, wants to subscribe, does not want any more, or says goodbye.
fn router(said: &Value) -> Option<Value> {
    let request = &said[1];
    match said[0].as_u64()? {
        1 => Some(json!([2, 1, {}])),
        6 => Some(json!([6, {}, "wamp.close.goodbye_and_out"])),
        32 => Some(json!([33, request, 1])),
        34 => Some(json!([35, request])),
        _ => None,
    }
}

async fn subscribed() -> (WaapiClient, SubscriptionHandle) {
    let url = format!("ws://{}", answering(router).await);
    let client = WaapiClient::connect_with_url(&url).await.expect("a client");
    let subscription = client.subscribe("a", None, drop).await.expect("a subscription");
    (client, subscription)
}

fn sounds() -> Vec<Case> {
    vec![
        Case::of("waapi-rs", || async {
            let (client, subscription) = subscribed().await;
            mem::forget(subscription);
            client
        })
        .when("before its subscription"),
        Case::of("waapi-rs", || async { subscribed().await.0 }).when("after its subscription"),
        Case::of("waapi-rs", || async {
            let (client, subscription) = subscribed().await;
            mem::forget(client);
            subscription
        })
        .when("before its client"),
        Case::of("waapi-rs", || async { subscribed().await.1 }).when("after its client"),
    ]
}

async fn subscribed_blocking() -> (WaapiClientSync, SubscriptionHandleSync) {
    let url = format!("ws://{}", answering(router).await);
    thread(move || {
        let client = WaapiClientSync::connect_with_url(&url).expect("a client");
        let subscription = client.subscribe("a", None, drop).expect("a subscription");
        (client, subscription)
    })
    .await
}

/// The client itself is not here. In async code, its destructor leaves it to a thread to use its runtime a last time,
/// and panics only if that thread is the faster one.
fn sounds_blocking() -> Vec<Case> {
    vec![
        Case::of("waapi-rs", || async {
            let (client, subscription) = subscribed_blocking().await;
            mem::forget(client);
            subscription
        })
        .when("before its client"),
        Case::of("waapi-rs", || async {
            let (client, subscription) = subscribed_blocking().await;
            thread(|| drop(client)).await;
            subscription
        })
        .when("after its client"),
    ]
}

type Ends = (Endpoint<endpoint::endpoint_side::Client>, Endpoint<endpoint::endpoint_side::Server>);

/// Both ends of a session of WebTransport, and their endpoints.
async fn session() -> (Connection, Connection, Ends) {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let identity = Identity::self_signed(["localhost"]).expect("a certificate");
    let config = ServerConfig::builder().with_bind_address(address).with_identity(identity);
    let server = Endpoint::server(config.build()).expect("an endpoint");
    let config = ClientConfig::builder().with_bind_address(address).with_no_cert_validation();
    let client = Endpoint::client(config.build()).expect("an endpoint");
    let url = format!("https://{}/", server.local_addr().expect("an address"));
    let accepts = async {
        let request = server.accept().await.await.expect("a session");
        request.accept().await.expect("a session")
    };
    let (connected, accepted) = tokio::join!(client.connect(url), accepts);
    (connected.expect("a session"), accepted, (client, server))
}

fn transports() -> Vec<Case> {
    vec![
        Case::of("wtransport", || async {
            let (connection, accepted, (client, server)) = session().await;
            mem::forget((connection, accepted, server));
            client
        })
        .when("before its session"),
        Case::of("wtransport", || async {
            let (connection, accepted, (client, server)) = session().await;
            drop(connection);
            mem::forget((accepted, server));
            client
        })
        .when("after its session"),
        Case::of("wtransport", || async {
            let (connection, accepted, (client, server)) = session().await;
            mem::forget((connection, accepted, client));
            server
        }),
        Case::of("wtransport", || async {
            let (connection, accepted, ends) = session().await;
            mem::forget((accepted, ends));
            connection
        })
        .when("before its endpoint"),
        Case::of("wtransport", || async {
            let (connection, accepted, (client, server)) = session().await;
            drop(client);
            mem::forget((accepted, server));
            connection
        })
        .when("after its endpoint"),
    ]
}

fn streams() -> Vec<Case> {
    let opened = || async {
        let (connection, accepted, ends) = session().await;
        let opening = connection.open_bi().await.expect("a stream");
        let (mut sends, receives) = opening.await.expect("a stream");
        sends.write_all(b"a row").await.expect("written");
        mem::forget((connection, accepted, ends));
        (sends, receives)
    };
    vec![
        Case::of("wtransport", move || async move {
            let (sends, receives) = opened().await;
            mem::forget(receives);
            sends
        })
        .when("with a row"),
        Case::of("wtransport", move || async move {
            let (mut sends, receives) = opened().await;
            sends.finish().await.expect("an end");
            mem::forget(receives);
            sends
        })
        .when("finished"),
        Case::of("wtransport", move || async move {
            let (sends, receives) = opened().await;
            mem::forget(sends);
            receives
        }),
    ]
}
