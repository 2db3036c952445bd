//! Sessions over a stream: several channels in one, and their ends.

use std::{mem, sync::Arc};

use fe2o3_amqp::{
    Connection, Receiver, Sender, Session,
    acceptor::{ConnectionAcceptor, LinkAcceptor, SessionAcceptor},
    connection::ConnectionHandle,
    session::SessionHandle,
};
use futures_util::StreamExt as _;
use nvim_rs::{Neovim, rpc::handler::Dummy};
use russh::{
    Channel, client,
    keys::{PrivateKey, PublicKeyOrCertificate, ssh_key::private::Ed25519Keypair},
    server,
};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};
use tokio_yamux::{Config, Control, Session as Multiplexed, StreamHandle};
use trials::Case;

pub fn cases() -> Vec<Case> {
    [multiplexed(), shells(), channels(), messages(), links(), editors()]
        .into_iter()
        .flatten()
        .collect()
}

/// An end of a session whose other end lives.
fn yamux() -> Multiplexed<DuplexStream> {
    let (one, other) = io::duplex(1 << 16);
    let mut other = Multiplexed::new_server(other, Config::default());
    tokio::spawn(async move {
        while let Some(Ok(stream)) = other.next().await {
            mem::forget(stream);
        }
    });
    Multiplexed::new_client(one, Config::default())
}

/// A session that runs in a task, as far as a stream and a handle to it.
async fn running() -> (StreamHandle, Control, tokio::task::AbortHandle) {
    let mut session = yamux();
    let mut control = session.control();
    let task = tokio::spawn(async move { while let Some(Ok(_)) = session.next().await {} });
    let stream = control.open_stream().await.expect("a stream");
    (stream, control, task.abort_handle())
}

fn multiplexed() -> Vec<Case> {
    vec![
        Case::of("tokio-yamux", || async { yamux() }).when("unused"),
        Case::of("tokio-yamux", || async {
            let mut session = yamux();
            mem::forget(session.open_stream().expect("a stream"));
            session
        })
        .when("with a stream"),
        Case::of("tokio-yamux", || async {
            let (stream, control, _) = running().await;
            mem::forget(stream);
            control
        }),
        Case::of("tokio-yamux", || async {
            let (stream, control, _) = running().await;
            mem::forget(control);
            stream
        })
        .when("open"),
        Case::of("tokio-yamux", || async {
            let (mut stream, control, _) = running().await;
            stream.write_all(b"a row").await.expect("written");
            stream.shutdown().await.expect("an end");
            mem::forget(control);
            stream
        })
        .when("shut down"),
        Case::of("tokio-yamux", || async {
            let (mut stream, control, session) = running().await;
            session.abort();
            // The end of the session ends the stream.
            let _ = stream.read_u8().await;
            mem::forget(control);
            stream
        })
        .when("its session is gone"),
    ]
}

/// Takes any server for the right one.
struct Trusts;

impl client::Handler for Trusts {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Accepts everybody, and every channel.
struct Accepts;

impl server::Handler for Accepts {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, russh::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        mem::forget(channel);
        reply.accept().await;
        Ok(())
    }
}

/// Both ends of a connection.
async fn ssh() -> (client::Handle<Trusts>, server::RunningSession<Accepts>) {
    let (one, other) = io::duplex(1 << 16);
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
    let config = Arc::new(server::Config { keys: vec![key], ..Default::default() });
    let server = tokio::spawn(server::run_stream(config, other, Accepts));
    let connects = client::connect_stream(Arc::default(), one, Trusts);
    let mut handle = connects.await.expect("a connection");
    assert!(handle.authenticate_none("a").await.expect("an answer").success(), "not accepted");
    (handle, server.await.expect("a task").expect("a session"))
}

fn shells() -> Vec<Case> {
    vec![
        Case::of("russh", || async {
            let (handle, server) = ssh().await;
            mem::forget(server);
            handle
        })
        .when("connected"),
        Case::of("russh", || async {
            let (handle, server) = ssh().await;
            handle.disconnect(russh::Disconnect::ByApplication, "", "").await.expect("an end");
            drop(server.await);
            handle
        })
        .when("disconnected"),
        Case::of("russh", || async {
            let (handle, server) = ssh().await;
            mem::forget(handle);
            server
        })
        .when("connected"),
        Case::of("russh", || async { ssh().await.1 }).when("its client is gone"),
    ]
}

async fn opened() -> (Channel<client::Msg>, client::Handle<Trusts>) {
    let (handle, server) = ssh().await;
    mem::forget(server);
    (handle.channel_open_session().await.expect("a channel"), handle)
}

fn channels() -> Vec<Case> {
    vec![
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            mem::forget(handle);
            channel
        })
        .when("before its handle"),
        Case::of("russh", || async { opened().await.0 }).when("after its handle"),
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            channel.close().await.expect("closed");
            mem::forget(handle);
            channel
        })
        .when("closed"),
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            mem::forget(handle);
            channel.into_stream()
        })
        .when("unused"),
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            mem::forget(handle);
            let mut stream = channel.into_stream();
            stream.write_all(b"a row").await.expect("written");
            stream
        })
        .when("used"),
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            mem::forget(handle);
            let mut stream = channel.into_stream();
            stream.shutdown().await.expect("an end");
            stream
        })
        .when("shut down"),
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            let (read, write) = channel.split();
            mem::forget((handle, write));
            read
        }),
        Case::of("russh", || async {
            let (channel, handle) = opened().await;
            let (read, write) = channel.split();
            mem::forget((handle, read));
            write
        }),
    ]
}

/// A connection of AMQP 1.0, and a session on it. What accepted both lives on.
async fn amqp() -> (ConnectionHandle<()>, SessionHandle<()>) {
    let (one, other) = io::duplex(1 << 16);
    tokio::spawn(async move {
        let acceptor = ConnectionAcceptor::new("a server");
        let mut connection = acceptor.accept(other).await.expect("a connection");
        let accepted = SessionAcceptor::new().accept(&mut connection).await;
        let mut session = accepted.expect("a session");
        while let Ok(link) = LinkAcceptor::new().accept(&mut session).await {
            mem::forget(link);
        }
        mem::forget((connection, session));
    });
    let opened = Connection::builder().container_id("a client").open_with_stream(one).await;
    let mut connection = opened.expect("a connection");
    let session = Session::begin(&mut connection).await.expect("a session");
    (connection, session)
}

fn messages() -> Vec<Case> {
    vec![
        Case::of("fe2o3-amqp", || async {
            let (connection, session) = amqp().await;
            mem::forget(session);
            connection
        })
        .when("before its session"),
        Case::of("fe2o3-amqp", || async { amqp().await.0 }).when("after its session"),
        Case::of("fe2o3-amqp", || async {
            let (mut connection, mut session) = amqp().await;
            let _ = session.end().await; // with an error if its peer is fast, and ended all the same
            connection.close().await.expect("closed");
            connection
        })
        .when("closed"),
        Case::of("fe2o3-amqp", || async {
            let (connection, session) = amqp().await;
            mem::forget(connection);
            session
        })
        .when("before its connection"),
        Case::of("fe2o3-amqp", || async { amqp().await.1 }).when("after its connection"),
        Case::of("fe2o3-amqp", || async {
            let (connection, mut session) = amqp().await;
            let _ = session.end().await; // with an error if its peer is fast, and ended all the same
            mem::forget(connection);
            session
        })
        .when("ended"),
    ]
}

fn links() -> Vec<Case> {
    vec![
        Case::of("fe2o3-amqp", || async {
            let (connection, mut session) = amqp().await;
            let sender = Sender::attach(&mut session, "a", "b").await.expect("a link");
            mem::forget((connection, session));
            sender
        })
        .when("before its session"),
        Case::of("fe2o3-amqp", || async {
            let (connection, mut session) = amqp().await;
            let sender = Sender::attach(&mut session, "a", "b").await.expect("a link");
            let _ = session.end().await; // with an error if its peer is fast, and ended all the same
            mem::forget(connection);
            sender
        })
        .when("its session has ended"),
        Case::of("fe2o3-amqp", || async {
            let (connection, mut session) = amqp().await;
            let receiver = Receiver::attach(&mut session, "a", "b").await.expect("a link");
            mem::forget((connection, session));
            receiver
        })
        .when("before its session"),
        Case::of("fe2o3-amqp", || async {
            let (connection, mut session) = amqp().await;
            let receiver = Receiver::attach(&mut session, "a", "b").await.expect("a link");
            let _ = session.end().await; // with an error if its peer is fast, and ended all the same
            mem::forget(connection);
            receiver
        })
        .when("its session has ended"),
    ]
}

fn editors() -> Vec<Case> {
    let editor = || {
        let (one, other) = io::duplex(1 << 16);
        let (read, write) = io::split(one);
        let (editor, runs) = Neovim::new(read.compat(), write.compat_write(), Dummy::new());
        (editor, runs, other)
    };
    vec![
        Case::of("nvim-rs", move || async move {
            let (editor, runs, other) = editor();
            tokio::spawn(runs);
            mem::forget(other);
            editor
        })
        .when("connected"),
        Case::of("nvim-rs", move || async move {
            let (editor, runs, other) = editor();
            drop(other);
            drop(runs.await);
            editor
        })
        .when("its process is gone"),
    ]
}
