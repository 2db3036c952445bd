//! Connections over UDP, and Linux's own sockets.

use std::{mem, net::SocketAddr, time::Duration};

use coap::request::{Method, RequestBuilder};
use futures_util::StreamExt as _;
use librqbit_utp::{UtpSocketUdp, UtpStream};
use rust_raknet::{RaknetListener, RaknetSocket, Reliability, blocking};
use srt_tokio::{SrtIncoming, SrtListener, SrtSocket};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UdpSocket,
};
use tokio_kcp::{KcpConfig, KcpListener, KcpStream};
use trials::Case;

use crate::thread;

pub fn cases() -> Vec<Case> {
    [kcp(), utp(), srt(), raknet(), raknet_blocking(), coap(), netlink()]
        .into_iter()
        .flatten()
        .collect()
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn kcp_client(address: SocketAddr) -> KcpStream {
    KcpStream::connect(&KcpConfig::default(), address).await.expect("a connection")
}

/// Both ends of a connection that was used, and what listens.
async fn kcp_ends() -> (KcpStream, KcpStream, KcpListener) {
    let mut listener = KcpListener::bind(KcpConfig::default(), any()).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut client = kcp_client(address).await;
    client.write_all(b"a").await.expect("written");
    client.flush().await.expect("written");
    let (mut server, _) = listener.accept().await.expect("a connection");
    server.read_u8().await.expect("a row");
    (client, server, listener)
}

fn kcp() -> Vec<Case> {
    vec![
        Case::of("tokio_kcp", || kcp_client(any())).when("unused"),
        Case::of("tokio_kcp", || async {
            let (client, server, listener) = kcp_ends().await;
            mem::forget((server, listener));
            client
        })
        .when("used"),
        Case::of("tokio_kcp", || async {
            let (client, server, listener) = kcp_ends().await;
            mem::forget((client, listener));
            server
        })
        .when("of a listener"),
        Case::of("tokio_kcp", || async {
            KcpListener::bind(KcpConfig::default(), any()).await.expect("bound")
        })
        .when("unused"),
        Case::of("tokio_kcp", || async {
            let (client, server, listener) = kcp_ends().await;
            mem::forget((client, server));
            listener
        })
        .when("with a connection"),
    ]
}

type UtpSocket = std::sync::Arc<UtpSocketUdp>;

async fn utp_ends() -> (UtpStream, UtpSocket, (UtpStream, UtpSocket)) {
    let client = UtpSocketUdp::new_udp(any()).await.expect("a socket");
    let server = UtpSocketUdp::new_udp(any()).await.expect("a socket");
    let (connected, accepted) = tokio::join!(client.connect(server.bind_addr()), server.accept());
    (connected.expect("a stream"), client, (accepted.expect("a stream"), server))
}

fn utp() -> Vec<Case> {
    vec![
        Case::of("librqbit-utp", || async {
            UtpSocketUdp::new_udp(any()).await.expect("a socket")
        })
        .when("unused"),
        Case::of("librqbit-utp", || async {
            let (stream, socket, server) = utp_ends().await;
            mem::forget((stream, server));
            socket
        })
        .when("before its stream"),
        Case::of("librqbit-utp", || async {
            let (stream, socket, server) = utp_ends().await;
            mem::forget((socket, server));
            stream
        })
        .when("before its socket"),
        Case::of("librqbit-utp", || async {
            let (stream, socket, server) = utp_ends().await;
            drop(socket);
            mem::forget(server);
            stream
        })
        .when("after its socket"),
        Case::of("librqbit-utp", || async {
            let (stream, socket, server) = utp_ends().await;
            let (read, mut write) = stream.split();
            write.write_all(b"a row").await.expect("written");
            mem::forget((read, socket, server));
            write
        })
        .when("with a row"),
        Case::of("librqbit-utp", || async {
            let (stream, socket, server) = utp_ends().await;
            let (read, mut write) = stream.split();
            write.shutdown().await.expect("an end");
            mem::forget((read, socket, server));
            write
        })
        .when("shut down"),
        Case::of("librqbit-utp", || async {
            let (stream, socket, server) = utp_ends().await;
            let (read, write) = stream.split();
            mem::forget((write, socket, server));
            read
        }),
    ]
}

async fn srt_bound() -> (SrtListener, SrtIncoming, SocketAddr) {
    let socket = UdpSocket::bind(any()).await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    let bound = SrtListener::builder().socket(socket).bind(address).await;
    let (listener, incoming) = bound.expect("a listener");
    (listener, incoming, address)
}

/// Both ends of a connection, and what listens.
async fn srt_ends() -> (SrtSocket, SrtSocket, (SrtListener, SrtIncoming)) {
    let (listener, mut incoming, address) = srt_bound().await;
    let accepted = async {
        let request = incoming.incoming().next().await.expect("a request");
        request.accept(None).await.expect("a connection")
    };
    let socket = UdpSocket::bind(any()).await.expect("a socket");
    let called = SrtSocket::builder().socket(socket).call(address, None);
    let (client, server) = tokio::join!(called, accepted);
    (client.expect("a connection"), server, (listener, incoming))
}

fn srt() -> Vec<Case> {
    vec![
        Case::of("srt-tokio", || async {
            let (client, server, listener) = srt_ends().await;
            mem::forget((server, listener));
            client
        })
        .when("connected"),
        Case::of("srt-tokio", || async {
            let (mut client, server, listener) = srt_ends().await;
            client.close_and_finish().await.expect("an end");
            mem::forget((server, listener));
            client
        })
        .when("closed"),
        Case::of("srt-tokio", || async {
            let (client, server, listener) = srt_ends().await;
            mem::forget((client, listener));
            server
        })
        .when("of a listener"),
        Case::of("srt-tokio", || async {
            let (listener, incoming, _) = srt_bound().await;
            mem::forget(incoming);
            listener
        })
        .when("unused"),
        Case::of("srt-tokio", || async {
            let (client, server, (listener, incoming)) = srt_ends().await;
            mem::forget((client, server, incoming));
            listener
        })
        .when("with a connection"),
        Case::of("srt-tokio", || async {
            let (listener, incoming, _) = srt_bound().await;
            mem::forget(listener);
            incoming
        }),
    ]
}

/// Both ends of a connection, and what listens.
async fn raknet_ends() -> (RaknetSocket, RaknetSocket, RaknetListener) {
    let mut listener = RaknetListener::bind(&any()).await.expect("bound");
    listener.listen().await;
    let address = listener.local_addr().expect("an address");
    let (client, server) = tokio::join!(RaknetSocket::connect(&address), listener.accept());
    (client.expect("a connection"), server.expect("a connection"), listener)
}

fn raknet() -> Vec<Case> {
    vec![
        Case::of("rust-raknet", || async {
            let (client, server, listener) = raknet_ends().await;
            client.send(&[0xfe, 1], Reliability::Reliable).await.expect("sent");
            mem::forget((server, listener));
            client
        })
        .when("connected"),
        Case::of("rust-raknet", || async {
            let (client, server, listener) = raknet_ends().await;
            client.close().await.expect("closed");
            mem::forget((server, listener));
            client
        })
        .when("closed"),
        Case::of("rust-raknet", || async {
            let (client, server, listener) = raknet_ends().await;
            mem::forget((client, listener));
            server
        })
        .when("of a listener"),
        Case::of("rust-raknet", || async { RaknetListener::bind(&any()).await.expect("bound") })
            .when("unused"),
        Case::of("rust-raknet", || async {
            let (client, server, listener) = raknet_ends().await;
            mem::forget((client, server));
            listener
        })
        .when("with a connection"),
        Case::of("rust-raknet", || async {
            let (client, server, mut listener) = raknet_ends().await;
            mem::forget((client, server));
            listener.close().await.expect("closed");
            listener
        })
        .when("closed"),
    ]
}

type BlockingEnds = (blocking::RaknetSocket, blocking::RaknetListener, blocking::RaknetRuntime);

fn raknet_blocking() -> Vec<Case> {
    let runtime = || blocking::RaknetRuntime::new().expect("a runtime");
    let ends = move || -> BlockingEnds {
        let runtime = runtime();
        let mut listener = runtime.bind(&any()).expect("bound");
        listener.listen().expect("it listens");
        let address = listener.local_addr().expect("an address");
        let socket = runtime.connect_timeout(&address, Duration::from_secs(9));
        (socket.expect("a connection"), listener, runtime)
    };
    vec![
        Case::of("rust-raknet", move || thread(runtime)).when("unused"),
        Case::of("rust-raknet", move || async move {
            let (socket, listener, runtime) = thread(ends).await;
            mem::forget((socket, listener));
            runtime
        })
        .when("before its socket"),
        Case::of("rust-raknet", move || async move {
            let (socket, listener, runtime) = thread(ends).await;
            mem::forget((listener, runtime));
            socket
        })
        .when("before its runtime"),
        Case::of("rust-raknet", move || {
            thread(move || {
                let far = runtime();
                let mut listener = far.bind(&any()).expect("bound");
                listener.listen().expect("it listens");
                let address = listener.local_addr().expect("an address");
                mem::forget((listener, far));
                runtime().connect_timeout(&address, Duration::from_secs(9)).expect("a connection")
            })
        })
        .when("after its runtime"),
        Case::of("rust-raknet", move || thread(move || runtime().bind(&any()).expect("bound")))
            .when("after its runtime"),
    ]
}

fn coap() -> Vec<Case> {
    let client = || async {
        let client = coap::UdpCoAPClient::new("127.0.0.1:9").await;
        client.expect("a client")
    };
    vec![
        Case::of("coap", client).when("unused"),
        Case::of("coap", move || async move {
            let client = client().await;
            let request = RequestBuilder::new("/a", Method::Get).build();
            mem::forget(client.create_receiver_for(&request).await);
            client
        })
        .when("with a receiver"),
        Case::of("coap", move || async move {
            let client = client().await;
            let request = RequestBuilder::new("/a", Method::Get).token(Some(vec![1])).build();
            let receiver = client.create_receiver_for(&request).await;
            mem::forget(client);
            receiver
        })
        .when("before its client"),
        Case::of("coap", move || async move {
            let request = RequestBuilder::new("/a", Method::Get).token(Some(vec![1])).build();
            client().await.create_receiver_for(&request).await
        })
        .when("after its client"),
        Case::of("coap", || async { coap::Server::new_udp("127.0.0.1:0").expect("bound") }),
    ]
}

fn netlink() -> Vec<Case> {
    vec![
        Case::of("genetlink", || async {
            let (connection, handle, messages) = genetlink::new_connection().expect("a socket");
            tokio::spawn(connection);
            mem::forget(messages);
            handle
        })
        .when("connected"),
        Case::of("genetlink", || async { genetlink::new_connection().expect("a socket").1 })
            .when("its connection is gone"),
    ]
}
