//! Stacks, peers and streams made of packets.

use std::{mem, net::SocketAddr, time::Duration};

use etherparse::{PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice, UdpHeader};
use ipstack::{IpStack, IpStackConfig, IpStackStream, IpStackTcpStream, IpStackUdpStream};
use pea2pea::{Config, Node};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use trials::Case;
use udp_stream::{UdpListener, UdpStream};

use crate::Row;

pub fn cases() -> Vec<Case> {
    [stacks(), stacked(), datagrams(), peers(), pairs()].into_iter().flatten().collect()
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

const NEAR: [u8; 4] = [10, 0, 0, 1];
const FAR: [u8; 4] = [10, 0, 0, 2];

fn udp() -> PacketBuilderStep<UdpHeader> {
    PacketBuilder::ipv4(NEAR, FAR, 64).udp(1000, 53)
}

/// A stack, the stream that a first packet opens, and the device that the packet comes from.
async fn opened(first: Row) -> (IpStack, IpStackStream, DuplexStream) {
    let (near, mut far) = io::duplex(1 << 16);
    let mut stack = IpStack::new(IpStackConfig::default(), near);
    far.write_all(&first).await.expect("written");
    let stream = stack.accept().await.expect("a stream");
    (stack, stream, far)
}

/// A connection, with its handshake if there is to be one.
async fn connected(is_open: bool) -> (IpStack, IpStackTcpStream, DuplexStream) {
    let mut first = Row::new();
    let syn = PacketBuilder::ipv4(NEAR, FAR, 64).tcp(1000, 80, 1, 1024).syn();
    syn.write(&mut first, &[]).expect("a packet");
    let (stack, stream, mut far) = opened(first).await;
    let IpStackStream::Tcp(stream) = stream else { panic!("another stream") };
    if is_open {
        let mut answer = [0; 1500];
        let length = far.read(&mut answer).await.expect("an answer");
        let answer = SlicedPacket::from_ip(&answer[..length]).expect("a packet");
        let Some(TransportSlice::Tcp(answer)) = answer.transport else { panic!("another answer") };
        let number = answer.sequence_number().wrapping_add(1);
        let mut last = Row::new();
        let ack = PacketBuilder::ipv4(NEAR, FAR, 64).tcp(1000, 80, 2, 1024).ack(number);
        ack.write(&mut last, b"a row").expect("a packet");
        far.write_all(&last).await.expect("written");
    }
    (stack, stream, far)
}

fn stacks() -> Vec<Case> {
    vec![
        Case::of("ipstack", || async {
            let (near, far) = io::duplex(1 << 16);
            mem::forget(far);
            IpStack::new(IpStackConfig::default(), near)
        })
        .when("unused"),
        Case::of("ipstack", || async {
            let (stack, stream, device) = connected(false).await;
            mem::forget((stream, device));
            stack
        })
        .when("with a stream"),
    ]
}

fn stacked() -> Vec<Case> {
    vec![
        Case::of("ipstack", || async {
            let (stack, stream, device) = connected(false).await;
            mem::forget((stack, device));
            stream
        })
        .when("opening"),
        Case::of("ipstack", || async {
            let (stack, mut stream, device) = connected(true).await;
            stream.read_u8().await.expect("a row");
            mem::forget((stack, device));
            stream
        })
        .when("open"),
        Case::of("ipstack", || async {
            let (stack, mut stream, mut device) = connected(true).await;
            stream.read_u8().await.expect("a row");
            let mut reset = Row::new();
            let packet = PacketBuilder::ipv4(NEAR, FAR, 64).tcp(1000, 80, 7, 1024).rst();
            packet.write(&mut reset, &[]).expect("a packet");
            // Its task looks at the state before each packet, and so ends at the second.
            for _ in 0..2 {
                device.write_all(&reset).await.expect("written");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            mem::forget((stack, device));
            stream
        })
        .when("reset"),
        Case::of("ipstack", || async {
            let (_, stream, device) = connected(false).await;
            mem::forget(device);
            stream
        })
        .when("after its stack"),
        Case::of("ipstack", || async {
            let (stack, stream, device) = connected(false).await;
            mem::forget((stack, device));
            IpStackStream::Tcp(stream)
        })
        .when("of TCP"),
        Case::of("ipstack", || async {
            let mut first = Row::new();
            udp().write(&mut first, b"a row").expect("a packet");
            let (stack, stream, device) = opened(first).await;
            mem::forget((stack, device));
            stream
        })
        .when("of UDP"),
        Case::of("ipstack", || async {
            let mut first = Row::new();
            udp().write(&mut first, b"a row").expect("a packet");
            let (stack, stream, device) = opened(first).await;
            mem::forget((stack, device));
            let IpStackStream::Udp(stream) = stream else { panic!("another stream") };
            let stream: IpStackUdpStream = stream;
            stream
        }),
    ]
}

async fn udp_ends() -> (UdpStream, UdpStream, UdpListener) {
    let listener = UdpListener::bind(any()).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut client = UdpStream::connect(address).await.expect("a stream");
    client.write_all(b"a row").await.expect("written");
    let (server, _) = listener.accept().await.expect("a stream");
    (client, server, listener)
}

fn datagrams() -> Vec<Case> {
    vec![
        Case::of("udp-stream", || async { UdpListener::bind(any()).await.expect("bound") })
            .when("unused"),
        Case::of("udp-stream", || async {
            let (client, server, listener) = udp_ends().await;
            mem::forget((client, server));
            listener
        })
        .when("with a stream"),
        Case::of("udp-stream", || async {
            let (client, server, listener) = udp_ends().await;
            mem::forget((server, listener));
            client
        })
        .when("of a client"),
        Case::of("udp-stream", || async {
            let (client, server, listener) = udp_ends().await;
            mem::forget((client, listener));
            server
        })
        .when("of a listener"),
        Case::of("udp-stream", || async {
            let (client, server, listener) = udp_ends().await;
            mem::forget((client, listener));
            server.shutdown();
            server
        })
        .when("shut down"),
    ]
}

/// A node that listens.
async fn peer() -> (Node, SocketAddr) {
    let node = Node::new(Config { listener_addr: Some(any()), ..Config::default() });
    let address = node.toggle_listener().await.expect("it listens").expect("an address");
    (node, address)
}

fn peers() -> Vec<Case> {
    vec![
        Case::of("pea2pea", || async { Node::new(Config::default()) }).when("unused"),
        Case::of("pea2pea", || async { peer().await.0 }).when("listens"),
        Case::of("pea2pea", || async {
            let (far, address) = peer().await;
            let (near, _) = peer().await;
            near.connect(address).await.expect("a connection");
            mem::forget(far);
            near
        })
        .when("connected"),
        Case::of("pea2pea", || async {
            let (node, _) = peer().await;
            node.shut_down().await;
            node
        })
        .when("shut down"),
    ]
}

struct Counts;

impl messages::prelude::Actor for Counts {}

fn pairs() -> Vec<Case> {
    let spawned = || messages::prelude::Context::new().spawn(Counts);
    vec![
        Case::of("messages", move || async move { spawned() }).when("alive"),
        Case::of("messages", move || async move {
            let mut address = spawned();
            address.stop().await;
            address.wait_for_stop().await;
            address
        })
        .when("stopped"),
    ]
}
