//! Types that the check was judged with, and not corrected.

use std::{
    io::{Read as _, Write as _},
    mem,
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use tokio::{
    io,
    sync::mpsc,
    task::{self, spawn_blocking},
    time,
};
use trials::Case;

type Row = Vec<u8>;

/// A server that treats each connection so, on threads of its own.
fn serve(treat: fn(TcpStream) -> std::io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || treat(stream));
        }
    });
    address
}

/// Says nothing.
fn silent() -> SocketAddr {
    serve(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()).map(drop))
}

/// A PostgreSQL is ready.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// Reads the length of a message of PostgreSQL's, and the rest of it.
fn body(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length).saturating_sub(4) as usize];
    stream.read_exact(&mut body)
}

/// Accepts a client of PostgreSQL, and ends.
fn postgres_once(mut stream: TcpStream) -> std::io::Result<()> {
    body(&mut stream)?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)
}

/// Says OK to everything that a client of PostgreSQL says.
fn postgres(mut stream: TcpStream) -> std::io::Result<()> {
    body(&mut stream)?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)?;
    let mut kind = [0];
    while stream.read_exact(&mut kind).is_ok() {
        body(&mut stream)?;
        if kind == *b"Q" {
            stream.write_all(b"C\0\0\0\x07OK\0")?;
            stream.write_all(READY)?;
        }
    }
    Ok(())
}

/// Says OK to every command that a client of Redis gives.
fn redis(mut stream: TcpStream) -> std::io::Result<()> {
    let mut read = [0; 4096];
    loop {
        let count = stream.read(&mut read)?;
        let commands = read[..count].iter().filter(|byte| **byte == b'*').count();
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&b"+OK\r\n".repeat(commands))?;
    }
}

async fn pool_of_postgres() -> deadpool_postgres::Pool {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(serve(postgres).port()).user("a");
    let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).build().expect("a pool");
    drop(pool.get().await.expect("a client"));
    pool
}

fn databases() -> Vec<Case> {
    let url = || format!("host=127.0.0.1 port={} user=a", serve(postgres).port());
    vec![
        Case::of("postgres", move || async move {
            let client = move || postgres_client(&url());
            spawn_blocking(client).await.expect("a client")
        })
        .when("connected"),
        Case::of("postgres", || async {
            let client = || {
                let port = serve(postgres_once).port();
                let mut client = postgres_client(&format!("host=127.0.0.1 port={port} user=a"));
                client.simple_query("").expect_err("an answer");
                client
            };
            spawn_blocking(client).await.expect("a client")
        })
        .when("its server is gone"),
        Case::of("tokio-postgres", move || async move {
            let (client, connection) =
                tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.expect("a client");
            tokio::spawn(connection);
            client
        }),
        Case::of("tokio-postgres", move || async move {
            let (client, connection) =
                tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.expect("a client");
            mem::forget(client);
            connection
        }),
        Case::of("deadpool-postgres", pool_of_postgres),
        Case::of("deadpool-postgres", || async {
            pool_of_postgres().await.get().await.expect("a client")
        }),
        Case::of("redis", || async {
            let url = format!("redis://{}", serve(redis));
            let client = redis::Client::open(url).expect("a client");
            client.get_multiplexed_async_connection().await.expect("a connection")
        }),
        Case::of("redis", || async {
            let url = format!("redis://{}", serve(redis));
            let client = redis::Client::open(url).expect("a client");
            redis::aio::ConnectionManager::new(client).await.expect("a connection")
        }),
        Case::of("ldap3", || async {
            let url = format!("ldap://{}", silent());
            spawn_blocking(move || ldap3::LdapConn::new(&url))
                .await
                .expect("a thread")
                .expect("a connection")
        }),
        Case::of("ldap3", || async {
            let (connection, ldap) = ldap3::LdapConnAsync::new(&format!("ldap://{}", silent()))
                .await
                .expect("a connection");
            tokio::spawn(connection.drive());
            ldap
        }),
    ]
}

fn postgres_client(url: &str) -> ::postgres::Client {
    ::postgres::Client::connect(url, ::postgres::NoTls).expect("a client")
}

fn network() -> Vec<Case> {
    vec![
        Case::of("tonic", || async {
            tonic::transport::Endpoint::from_static("http://127.0.0.1:9").connect_lazy()
        }),
        Case::of("axum", || async {
            axum::Router::<()>::new().route("/", axum::routing::get(|| async { "a row" }))
        }),
        Case::of("axum", || async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            axum::serve(listener, axum::Router::<()>::new())
        }),
        Case::of("h2", || async {
            let (client, server) = io::duplex(1 << 16);
            let (sender, connection) = h2::client::handshake(client).await.expect("a handshake");
            tokio::spawn(connection);
            mem::forget(server);
            let sender: h2::client::SendRequest<bytes::Bytes> = sender;
            sender
        }),
        Case::of("h2", || async {
            let (client, server) = io::duplex(1 << 16);
            let (sender, connection) = h2::client::handshake(client).await.expect("a handshake");
            mem::forget((sender, server));
            connection
        }),
        Case::of("tokio-tungstenite", || async {
            let (client, server) = io::duplex(1 << 16);
            mem::forget(server);
            let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
            tokio_tungstenite::WebSocketStream::from_raw_socket(client, role, None).await
        }),
    ]
}

fn connections() -> Vec<Case> {
    vec![
        Case::of("tokio-modbus", || async {
            let address = silent();
            let connected =
                spawn_blocking(move || tokio_modbus::client::sync::tcp::connect(address));
            connected.await.expect("a thread").expect("a connection")
        }),
        Case::of("tokio-modbus", || async {
            tokio_modbus::client::tcp::connect(silent()).await.expect("a connection")
        }),
    ]
}

fn helpers() -> Vec<Case> {
    vec![
        Case::of("flume", || async {
            let (sender, receiver) = flume::bounded::<Row>(1);
            sender.send_async(vec![1]).await.expect("sent");
            mem::forget(sender);
            receiver
        }),
        Case::of("leaky-bucket", || async {
            leaky_bucket::RateLimiter::builder().initial(1).build()
        }),
        Case::of("deadqueue", || async {
            let queue = deadqueue::limited::Queue::<Row>::new(1);
            queue.push(vec![1]).await;
            queue
        }),
        Case::of("async-scoped", || async {
            // SAFETY: the future borrows nothing, so it may outlive the scope.
            let mut scope =
                unsafe { async_scoped::TokioScope::<'static, ()>::create(Default::default()) };
            scope.spawn(async { task::yield_now().await });
            scope
        })
        .when("with a task"),
        Case::of("async-scoped", || async {
            // SAFETY: the future borrows nothing, so it may outlive the scope.
            let mut scope =
                unsafe { async_scoped::TokioScope::<'static, ()>::create(Default::default()) };
            scope.spawn(async { task::yield_now().await });
            scope.collect().await;
            scope
        })
        .when("collected"),
        Case::of("tokio-stream", || async {
            tokio_stream::wrappers::IntervalStream::new(time::interval(Duration::from_secs(9)))
        }),
        Case::of("tokio-stream", || async {
            tokio_stream::wrappers::ReceiverStream::new(mpsc::channel::<Row>(1).1)
        }),
        Case::of("tokio-stream", || async {
            let mut map = tokio_stream::StreamMap::new();
            map.insert(
                1_u8,
                tokio_stream::wrappers::ReceiverStream::new(mpsc::channel::<Row>(1).1),
            );
            map
        }),
    ]
}

fn main() -> ExitCode {
    let cases: Vec<_> =
        [databases(), network(), connections(), helpers()].into_iter().flatten().collect();
    trials::run(&cases)
}
