//! Connections, clients and servers of protocols of the network.

use std::{mem, net::SocketAddr};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use jsonrpsee_core::{client::ClientT as _, params::ArrayParams};
use tokio::{
    io::{self, DuplexStream},
    task::spawn_blocking,
};
use tokio_modbus::client::{Reader, sync};
use trials::Case;

use crate::servers::{self, serve};

pub fn cases() -> Vec<Case> {
    [http(), http2(), websocket(), modbus(), names(), json_rpc(), tarpc(), quic(), ftp()]
        .into_iter()
        .flatten()
        .collect()
}

fn http() -> Vec<Case> {
    let endpoint = |address| {
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address")
    };
    vec![
        Case::of("tonic", move || async move { endpoint(serve(servers::silent)).connect_lazy() })
            .when("unused"),
        Case::of("tonic", move || async move {
            endpoint(serve(servers::silent)).connect().await.expect("a channel")
        })
        .when("connected"),
        Case::of("axum", || async {
            axum::Router::<()>::new().route("/", axum::routing::get(|| async { "a row" }))
        }),
        Case::of("axum", || async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            axum::serve(listener, axum::Router::<()>::new())
        }),
    ]
}

type Sender = h2::client::SendRequest<bytes::Bytes>;

async fn h2() -> (Sender, h2::client::Connection<DuplexStream>, DuplexStream) {
    let (client, server) = io::duplex(1 << 16);
    let (sender, connection) = h2::client::handshake(client).await.expect("a handshake");
    (sender, connection, server)
}

fn http2() -> Vec<Case> {
    vec![
        Case::of("h2", || async {
            let (sender, connection, server) = h2().await;
            tokio::spawn(connection);
            mem::forget(server);
            sender
        })
        .when("connected"),
        Case::of("h2", || async {
            let (sender, connection, server) = h2().await;
            drop(server);
            drop(connection.await);
            sender
        })
        .when("its server is gone"),
        Case::of("h2", || async {
            let (sender, connection, server) = h2().await;
            mem::forget((sender, server));
            connection
        })
        .when("before what sends"),
        Case::of("h2", || async {
            let (sender, connection, server) = h2().await;
            mem::forget(server);
            drop(sender);
            connection
        })
        .when("after what sends"),
    ]
}

fn websocket() -> Vec<Case> {
    use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};
    let connected = || async {
        let (client, server) = io::duplex(1 << 16);
        mem::forget(server);
        WebSocketStream::from_raw_socket(client, Role::Client, None).await
    };
    vec![
        Case::of("tokio-tungstenite", connected).when("connected"),
        Case::of("tokio-tungstenite", move || async move {
            let mut socket = connected().await;
            socket.close(None).await.expect("closed");
            socket
        })
        .when("closed"),
    ]
}

fn modbus() -> Vec<Case> {
    let blocking = |address| sync::tcp::connect(address).expect("a connection");
    let connected = |address| async move {
        tokio_modbus::client::tcp::connect(address).await.expect("a connection")
    };
    vec![
        Case::of("tokio-modbus", move || async move {
            spawn_blocking(move || blocking(serve(servers::silent))).await.expect("a thread")
        })
        .when("connected"),
        Case::of("tokio-modbus", move || async move {
            let asked = spawn_blocking(move || {
                let mut context = blocking(serve(servers::gone));
                sync::Reader::read_coils(&mut context, 0, 1).expect_err("an answer");
                context
            });
            asked.await.expect("a thread")
        })
        .when("its server is gone"),
        Case::of("tokio-modbus", move || connected(serve(servers::silent))).when("connected"),
        Case::of("tokio-modbus", move || async move {
            let mut context = connected(serve(servers::gone)).await;
            Reader::read_coils(&mut context, 0, 1).await.expect_err("an answer");
            context
        })
        .when("its server is gone"),
    ]
}

fn names() -> Vec<Case> {
    let resolver = || {
        let server = servers::names();
        let port = server.port();
        let mut server = NameServerConfig::udp(server.ip());
        server.connections.iter_mut().for_each(|it| it.port = port);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let provider = TokioRuntimeProvider::default();
        TokioResolver::builder_with_config(config, provider).build().expect("a resolver")
    };
    vec![
        Case::of("hickory-resolver", move || async move { resolver() }).when("unused"),
        Case::of("hickory-resolver", move || async move {
            let resolver = resolver();
            resolver.lookup_ip("a.example.").await.expect_err("a name");
            resolver
        })
        .when("used"),
    ]
}

fn json_rpc() -> Vec<Case> {
    let client = || async {
        let url = servers::http(r#"{"jsonrpc":"2.0","id":0,"result":1}"#).await;
        jsonrpsee_http_client::HttpClient::builder().build(url).expect("a client")
    };
    vec![
        Case::of("jsonrpsee-http-client", client).when("unused"),
        Case::of("jsonrpsee-http-client", move || async move {
            let client = client().await;
            let _: u8 = client.request("a", ArrayParams::new()).await.expect("an answer");
            client
        })
        .when("used"),
        Case::of("jsonrpsee-ws-client", || async {
            let (client, server) = json_rpc_over_websocket().await;
            mem::forget(server);
            client
        })
        .when("connected"),
        Case::of("jsonrpsee-ws-client", || async {
            let (client, server) = json_rpc_over_websocket().await;
            drop(server);
            client.on_disconnect().await;
            client
        })
        .when("its server is gone"),
    ]
}

type WebSocket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

async fn json_rpc_over_websocket() -> (jsonrpsee_ws_client::WsClient, WebSocket) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let accepted = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        tokio_tungstenite::accept_async(stream).await.expect("a handshake")
    });
    let client = jsonrpsee_ws_client::WsClientBuilder::new().build(url).await;
    (client.expect("a client"), accepted.await.expect("a server"))
}

#[tarpc::service]
trait World {
    async fn hello() -> u8;
}

#[derive(Clone)]
struct Server;

impl World for Server {
    async fn hello(self, _: tarpc::context::Context) -> u8 {
        1
    }
}

fn tarpc() -> Vec<Case> {
    use futures_util::StreamExt as _;
    use tarpc::server::{BaseChannel, Channel as _};
    vec![
        Case::of("tarpc", || async {
            let (client, server) = tarpc::transport::channel::unbounded();
            let requests = BaseChannel::with_defaults(server).execute(Server.serve());
            tokio::spawn(requests.for_each_concurrent(None, |answers| answers));
            let client = WorldClient::new(tarpc::client::Config::default(), client).spawn();
            client.hello(tarpc::context::current()).await.expect("an answer");
            client
        })
        .when("connected"),
        Case::of("tarpc", || async {
            let (client, server) = tarpc::transport::channel::unbounded();
            let client = WorldClient::new(tarpc::client::Config::default(), client).spawn();
            drop(server);
            client.hello(tarpc::context::current()).await.expect_err("an answer");
            client
        })
        .when("its server is gone"),
    ]
}

/// A client's endpoint, its connection, and that of the server. The runtime of the value has the server.
async fn quinn() -> (quinn::Endpoint, quinn::Connection, quinn::Connection) {
    let signed =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = signed.cert.der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let config = quinn::ServerConfig::with_single_cert(vec![certificate], key.into());
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = quinn::Endpoint::server(config.expect("a key"), here).expect("a server");
    let address = server.local_addr().expect("an address");
    let accepted = tokio::spawn(async move {
        let accepted = server.accept().await.expect("a client").await;
        mem::forget(server);
        accepted.expect("a connection")
    });
    let endpoint = quinn::Endpoint::client(here).expect("an endpoint");
    let config = quinn::ClientConfig::with_root_certificates(roots.into()).expect("a verifier");
    let connecting = endpoint.connect_with(config, address, "localhost").expect("a connection");
    let connection = connecting.await.expect("a connection");
    (endpoint, connection, accepted.await.expect("a server"))
}

fn quic() -> Vec<Case> {
    vec![
        Case::of("quinn", || async {
            quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("an endpoint")
        })
        .when("unused"),
        Case::of("quinn", || async {
            let (endpoint, connection, server) = quinn().await;
            mem::forget((connection, server));
            endpoint
        })
        .when("before its connection"),
        Case::of("quinn", || async {
            let (endpoint, connection, server) = quinn().await;
            mem::forget(server);
            drop(connection);
            endpoint
        })
        .when("after its connection"),
        Case::of("quinn", || async {
            let (endpoint, connection, server) = quinn().await;
            mem::forget((connection, server));
            endpoint.close(0_u32.into(), b"");
            endpoint.wait_idle().await;
            endpoint
        })
        .when("closed"),
        Case::of("quinn", || async {
            let (endpoint, connection, server) = quinn().await;
            mem::forget((endpoint, server));
            connection
        })
        .when("before its endpoint"),
        Case::of("quinn", || async {
            let (endpoint, connection, server) = quinn().await;
            mem::forget(server);
            drop(endpoint);
            connection
        })
        .when("after its endpoint"),
        Case::of("quinn", || async {
            let (endpoint, connection, server) = quinn().await;
            mem::forget(endpoint);
            server.close(0_u32.into(), b"");
            connection.closed().await;
            mem::forget(server);
            connection
        })
        .when("closed by its server"),
    ]
}

fn ftp() -> Vec<Case> {
    let connected = |treat| async move {
        suppaftp::tokio::AsyncFtpStream::connect(serve(treat)).await.expect("a connection")
    };
    vec![
        Case::of("suppaftp", move || connected(servers::lines)).when("connected"),
        Case::of("suppaftp", move || async move {
            let mut connection = connected(servers::lines_once).await;
            connection.noop().await.expect_err("an answer");
            connection
        })
        .when("its server is gone"),
    ]
}
