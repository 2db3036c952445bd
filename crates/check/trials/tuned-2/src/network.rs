//! Clients, servers and channels of protocols of the network.

use std::{env, fs, mem, net::SocketAddr, process, time::Duration};

use interprocess::local_socket::{
    GenericFilePath, ListenerOptions, ToFsName as _, tokio::prelude::*,
};
use rmcp::ServiceExt as _;
use tokio::{
    io::{self, DuplexStream},
    runtime::Handle,
    task::spawn_blocking,
};
use trials::Case;
use zeromq::{Socket as _, SocketRecv as _, SocketSend as _};

use crate::{
    Row,
    servers::{self, serve},
};

pub fn cases() -> Vec<Case> {
    [
        rabbitmq(),
        jobs(),
        zeromq(),
        remoc(),
        sftp(),
        openssh(),
        mail(),
        music(),
        cameras(),
        names(),
        sockets(),
        contexts(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn lapin() -> (lapin::Connection, lapin::Channel) {
    let url = format!("amqp://{}/%2f", serve(servers::amqp));
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
    let connection = connection.await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

fn rabbitmq() -> Vec<Case> {
    vec![
        Case::of("lapin", || async {
            let (connection, channel) = lapin().await;
            mem::forget(channel);
            connection
        })
        .when("before its channel"),
        Case::of("lapin", || async { lapin().await.0 }).when("after its channel"),
        Case::of("lapin", || async {
            let (connection, channel) = lapin().await;
            mem::forget(channel);
            connection.close(200, "".into()).await.expect("closed");
            connection
        })
        .when("closed"),
        Case::of("lapin", || async {
            let (connection, channel) = lapin().await;
            mem::forget(connection);
            channel
        })
        .when("before its connection"),
        Case::of("lapin", || async { lapin().await.1 }).when("after its connection"),
        Case::of("lapin", || async {
            let (connection, channel) = lapin().await;
            mem::forget(connection);
            channel.close(200, "".into()).await.expect("closed");
            channel
        })
        .when("closed"),
    ]
}

/// A client of Faktory whose server is gone is not here: its destructor panics everywhere if it notices.
fn jobs() -> Vec<Case> {
    let client = || async {
        let url = format!("tcp://{}", serve(servers::faktory));
        faktory::Client::connect_to(&url).await.expect("a client")
    };
    vec![
        Case::of("faktory", client).when("unused"),
        Case::of("faktory", move || async move {
            let mut client = client().await;
            client.enqueue(faktory::Job::new("a", vec!["a row"])).await.expect("enqueued");
            client
        })
        .when("used"),
        Case::of("faktory", || async {
            let url = format!("tcp://{}", serve(servers::faktory));
            let worker = faktory::Worker::builder::<io::Error>()
                .register_fn("a", async |_: faktory::Job| Ok(()));
            worker.connect_to(&url).await.expect("a worker")
        }),
    ]
}

fn zeromq() -> Vec<Case> {
    let publisher = || async {
        let mut socket = zeromq::PubSocket::new();
        let endpoint = socket.bind("tcp://127.0.0.1:0").await.expect("bound");
        (socket, endpoint.to_string())
    };
    vec![
        Case::of("zeromq", move || async move { publisher().await.0 }).when("without a peer"),
        Case::of("zeromq", move || async move {
            let (publisher, endpoint) = publisher().await;
            let mut subscriber = zeromq::SubSocket::new();
            subscriber.connect(&endpoint).await.expect("connected");
            mem::forget(subscriber);
            publisher
        })
        .when("with a peer"),
        Case::of("zeromq", move || async move {
            let (publisher, endpoint) = publisher().await;
            let mut subscriber = zeromq::SubSocket::new();
            subscriber.connect(&endpoint).await.expect("connected");
            subscriber.subscribe("").await.expect("subscribed");
            mem::forget(publisher);
            subscriber
        })
        .when("connected"),
        Case::of("zeromq", move || async move {
            let (publisher, endpoint) = publisher().await;
            let mut subscriber = zeromq::SubSocket::new();
            subscriber.connect(&endpoint).await.expect("connected");
            drop(publisher);
            subscriber
        })
        .when("its peer is gone"),
        Case::of("zeromq", || async {
            let mut answers = zeromq::RepSocket::new();
            let endpoint = answers.bind("tcp://127.0.0.1:0").await.expect("bound").to_string();
            let mut asks = zeromq::ReqSocket::new();
            asks.connect(&endpoint).await.expect("connected");
            asks.send("a".into()).await.expect("sent");
            answers.recv().await.expect("a question");
            mem::forget(answers);
            asks
        })
        .when("waits for an answer"),
        Case::of("zeromq", || async {
            let mut answers = zeromq::RepSocket::new();
            let endpoint = answers.bind("tcp://127.0.0.1:0").await.expect("bound").to_string();
            let mut asks = zeromq::ReqSocket::new();
            asks.connect(&endpoint).await.expect("connected");
            asks.send("a".into()).await.expect("sent");
            answers.recv().await.expect("a question");
            mem::forget(asks);
            answers
        })
        .when("owes an answer"),
        Case::of("zeromq", || async { zeromq::DealerSocket::new() }).when("unused"),
        Case::of("zeromq", || async {
            let mut socket = zeromq::DealerSocket::new();
            socket.bind("tcp://127.0.0.1:0").await.expect("bound");
            socket
        })
        .when("bound"),
    ]
}

use remoc::rch;

type Ends<T> = (rch::base::Sender<T>, rch::base::Receiver<T>);

/// A sender, and a receiver at the other end of the connection.
async fn remote<T: remoc::RemoteSend>() -> Ends<T> {
    let (one, other) = io::duplex(1 << 16);
    let (read, write) = io::split(one);
    let sender = tokio::spawn(async move {
        let (connection, sender, receiver) = remoc::Connect::io::<_, _, T, (), remoc::codec::Json>(
            remoc::Cfg::default(),
            read,
            write,
        )
        .await
        .expect("a connection");
        tokio::spawn(connection);
        mem::forget(receiver);
        sender
    });
    let (read, write) = io::split(other);
    let (connection, back, receiver) =
        remoc::Connect::io::<_, _, (), T, remoc::codec::Json>(remoc::Cfg::default(), read, write)
            .await
            .expect("a connection");
    tokio::spawn(connection);
    mem::forget(back);
    (sender.await.expect("a sender"), receiver)
}

/// The sender of a channel that came over a connection, and its receiver at the other end.
async fn carried()
-> (rch::mpsc::Sender<Row>, rch::mpsc::Receiver<Row>, Ends<rch::mpsc::Sender<Row>>) {
    let (mut sender, mut receiver) = remote().await;
    let (channel, rows) = rch::mpsc::channel();
    sender.send(channel).await.expect("sent");
    let channel = receiver.recv().await.expect("received").expect("a channel");
    (channel, rows, (sender, receiver))
}

fn remoc() -> Vec<Case> {
    vec![
        Case::of("remoc", || async {
            let (sender, receiver) = remote::<Row>().await;
            mem::forget(receiver);
            sender
        })
        .when("connected"),
        Case::of("remoc", || async {
            let (mut sender, receiver) = remote::<Row>().await;
            sender.send(vec![1]).await.expect("sent");
            mem::forget(receiver);
            sender
        })
        .when("used"),
        Case::of("remoc", || async { remote::<Row>().await.0 }).when("its receiver is gone"),
        Case::of("remoc", || async {
            let (sender, receiver) = remote::<Row>().await;
            mem::forget(sender);
            receiver
        })
        .when("connected"),
        Case::of("remoc", || async {
            let (mut sender, mut receiver) = remote::<Row>().await;
            sender.send(vec![1]).await.expect("sent");
            receiver.recv().await.expect("received");
            mem::forget(sender);
            receiver
        })
        .when("used"),
        Case::of("remoc", || async { remote::<Row>().await.1 }).when("its sender is gone"),
        Case::of("remoc", || async {
            let (channel, rows, ends) = carried().await;
            mem::forget((rows, ends));
            channel
        })
        .when("far from its receiver"),
        Case::of("remoc", || async {
            let (channel, rows) = rch::mpsc::channel::<Row, remoc::codec::Json>();
            mem::forget(rows);
            channel
        })
        .when("beside its receiver"),
        Case::of("remoc", || async {
            let (channel, rows, ends) = carried().await;
            channel.send(vec![1]).await.expect("sent");
            mem::forget((channel, ends));
            rows
        })
        .when("far from its sender"),
        Case::of("remoc", || async {
            let (channel, rows) = rch::mpsc::channel::<Row, remoc::codec::Json>();
            channel.send(vec![1]).await.expect("sent");
            mem::forget(channel);
            rows
        })
        .when("beside its sender"),
        Case::of("remoc", || async {
            let (sender, receiver) = rch::watch::channel::<Row, remoc::codec::Json>(Row::new());
            mem::forget(receiver);
            sender
        }),
    ]
}

/// Opens every file, and closes it.
struct Files;

impl russh_sftp::server::Handler for Files {
    type Error = russh_sftp::protocol::StatusCode;

    fn unimplemented(&self) -> Self::Error {
        russh_sftp::protocol::StatusCode::OpUnsupported
    }

    async fn open(
        &mut self,
        id: u32,
        _: String,
        _: russh_sftp::protocol::OpenFlags,
        _: russh_sftp::protocol::FileAttributes,
    ) -> Result<russh_sftp::protocol::Handle, Self::Error> {
        Ok(russh_sftp::protocol::Handle { id, handle: "a".to_owned() })
    }

    async fn close(
        &mut self,
        id: u32,
        _: String,
    ) -> Result<russh_sftp::protocol::Status, Self::Error> {
        Ok(russh_sftp::protocol::Status {
            id,
            status_code: russh_sftp::protocol::StatusCode::Ok,
            error_message: String::new(),
            language_tag: String::new(),
        })
    }
}

/// The client's end of a connection to a server of SFTP.
async fn files() -> DuplexStream {
    let (client, server) = io::duplex(1 << 16);
    russh_sftp::server::run(server, Files).await;
    client
}

async fn russh_sftp() -> (russh_sftp::client::SftpSession, russh_sftp::client::fs::File) {
    let session = russh_sftp::client::SftpSession::new(files().await).await.expect("a session");
    let file = session.open("a").await.expect("a file");
    (session, file)
}

fn sftp() -> Vec<Case> {
    vec![
        Case::of("russh-sftp", || async {
            let (session, file) = russh_sftp().await;
            mem::forget(file);
            session
        })
        .when("open"),
        Case::of("russh-sftp", || async {
            let (session, file) = russh_sftp().await;
            drop(file);
            session.close().await.expect("closed");
            session
        })
        .when("closed"),
        Case::of("russh-sftp", || async {
            let (session, file) = russh_sftp().await;
            mem::forget(session);
            file
        })
        .when("before its session"),
        Case::of("russh-sftp", || async { russh_sftp().await.1 }).when("after its session"),
    ]
}

async fn openssh_sftp() -> (openssh_sftp_client::Sftp, openssh_sftp_client::file::File) {
    let (read, write) = io::split(files().await);
    let options = openssh_sftp_client::SftpOptions::default();
    let session = openssh_sftp_client::Sftp::new(write, read, options).await.expect("a session");
    let file = session.open("a").await.expect("a file");
    (session, file)
}

fn openssh() -> Vec<Case> {
    vec![
        Case::of("openssh-sftp-client", || async {
            let (session, file) = openssh_sftp().await;
            mem::forget(file);
            session
        }),
        Case::of("openssh-sftp-client", || async {
            let (session, file) = openssh_sftp().await;
            mem::forget(session);
            file
        })
        .when("before its session"),
        Case::of("openssh-sftp-client", || async { openssh_sftp().await.1 })
            .when("after its session"),
        Case::of("openssh-sftp-client", || async {
            let (session, file) = openssh_sftp().await;
            mem::forget((session, file.clone()));
            file
        })
        .when("before its clone"),
        Case::of("openssh-sftp-client", || async {
            let (session, file) = openssh_sftp().await;
            let file: openssh_sftp_client::file::TokioCompatFile = file.into();
            mem::forget(session);
            Box::pin(file)
        }),
    ]
}

async fn imap() -> async_imap::Client<DuplexStream> {
    let (client, server) = io::duplex(1 << 16);
    tokio::spawn(servers::imap(server, usize::MAX));
    async_imap::Client::new(client)
}

async fn imap_session() -> async_imap::Session<DuplexStream> {
    let mut client = imap().await;
    client.read_response().await.expect("read").expect("a greeting");
    client.login("a", "a").await.map_err(|(error, _)| error).expect("a session")
}

fn mail() -> Vec<Case> {
    vec![
        Case::of("async-imap", imap),
        Case::of("async-imap", imap_session).when("logged in"),
        Case::of("async-imap", || async {
            let mut session = imap_session().await;
            session.logout().await.expect("logged out");
            session
        })
        .when("logged out"),
        Case::of("async-imap", || async { imap_session().await.idle() }),
    ]
}

fn music() -> Vec<Case> {
    let connect = |treat| async move {
        let stream = tokio::net::TcpStream::connect(serve(treat)).await.expect("a stream");
        mpd_client::Client::connect(stream).await.expect("a client")
    };
    vec![
        Case::of("mpd_client", move || async move {
            let (client, events) = connect(servers::mpd).await;
            mem::forget(events);
            client
        })
        .when("connected"),
        Case::of("mpd_client", move || async move {
            let (client, mut events) = connect(servers::mpd_once).await;
            while events.next().await.is_some() {}
            client
        })
        .when("its server is gone"),
    ]
}

use retina::client::{
    Demuxed, Described, PlayOptions, Playing, Session, SessionOptions, SetupOptions, TeardownPolicy,
};

async fn described(teardown: TeardownPolicy) -> Session<Described> {
    let url = format!("rtsp://{}/a", serve(servers::rtsp)).parse().expect("an address");
    let options = SessionOptions::default().teardown(teardown);
    Session::describe(url, options).await.expect("a description")
}

async fn set_up(teardown: TeardownPolicy) -> Session<Described> {
    let mut session = described(teardown).await;
    session.setup(0, SetupOptions::default()).await.expect("set up");
    session
}

async fn playing(teardown: TeardownPolicy) -> Session<Playing> {
    set_up(teardown).await.play(PlayOptions::default()).await.expect("playing")
}

async fn demuxed(teardown: TeardownPolicy) -> Demuxed {
    playing(teardown).await.demuxed().expect("frames")
}

fn cameras() -> Vec<Case> {
    vec![
        Case::of("retina", || described(TeardownPolicy::Auto)).when("described"),
        Case::of("retina", || set_up(TeardownPolicy::Auto)).when("set up"),
        Case::of("retina", || set_up(TeardownPolicy::Never)).when("does not say goodbye"),
        Case::of("retina", || playing(TeardownPolicy::Auto)).when("says goodbye"),
        Case::of("retina", || playing(TeardownPolicy::Never)).when("does not say goodbye"),
        Case::of("retina", || demuxed(TeardownPolicy::Auto)).when("says goodbye"),
        Case::of("retina", || demuxed(TeardownPolicy::Never)).when("does not say goodbye"),
    ]
}

fn names() -> Vec<Case> {
    use libmdns::Responder;
    let on_thread = || async { spawn_blocking(Responder::new).await.expect("a responder") };
    let in_task = || Responder::spawn(&Handle::current()).expect("a responder");
    let register = |responder: &Responder| responder.register("_a._tcp", "a", 9, &[]);
    vec![
        Case::of("libmdns", on_thread).when("on a thread"),
        Case::of("libmdns", move || async move { in_task() }).when("in a task"),
        Case::of("libmdns", move || async move { register(&in_task()) })
            .when("after its responder"),
        Case::of("libmdns", move || async move {
            let responder = in_task();
            let service = register(&responder);
            mem::forget(responder);
            service
        })
        .when("before its responder"),
    ]
}

fn sockets() -> Vec<Case> {
    let path = || env::temp_dir().join(format!("sundown-trials-{}", process::id()));
    let listening = move || {
        let name = path().to_fs_name::<GenericFilePath>().expect("a name");
        ListenerOptions::new().name(name).create_tokio().expect("a listener")
    };
    vec![
        Case::of("interprocess", move || async move { listening() }),
        Case::of("interprocess", move || async move {
            let listener = listening();
            let name = path().to_fs_name::<GenericFilePath>().expect("a name");
            let stream = LocalSocketStream::connect(name).await.expect("a stream");
            // Nobody removes the file any more.
            fs::remove_file(path()).expect("a socket");
            mem::forget(listener);
            stream
        }),
        Case::of("rtnetlink", || async {
            let (connection, handle, messages) = rtnetlink::new_connection().expect("a socket");
            tokio::spawn(connection);
            mem::forget(messages);
            handle
        })
        .when("connected"),
        Case::of("rtnetlink", || async {
            let (connection, handle, messages) = rtnetlink::new_connection().expect("a socket");
            mem::forget(messages);
            drop(connection);
            handle
        })
        .when("its connection is gone"),
        Case::of("rtnetlink", || async {
            let (connection, handle, messages) = rtnetlink::new_connection().expect("a socket");
            mem::forget((handle, messages));
            connection
        }),
    ]
}

struct Tools;

impl rmcp::ServerHandler for Tools {}

/// A client and a server of the Model Context Protocol.
async fn mcp() -> (
    rmcp::service::RunningService<rmcp::RoleClient, ()>,
    rmcp::service::RunningService<rmcp::RoleServer, Tools>,
) {
    let (client, server) = io::duplex(1 << 16);
    let server = tokio::spawn(Tools.serve(server));
    let client = ().serve(client).await.expect("a client");
    (client, server.await.expect("a task").expect("a server"))
}

fn contexts() -> Vec<Case> {
    vec![
        Case::of("rmcp", || async {
            let (client, server) = mcp().await;
            mem::forget(server);
            client
        })
        .when("connected"),
        Case::of("rmcp", || async {
            let (mut client, server) = mcp().await;
            mem::forget(server);
            client.close().await.expect("closed");
            client
        })
        .when("closed"),
        Case::of("rmcp", || async {
            let (client, server) = mcp().await;
            mem::forget(client);
            server
        })
        .when("connected"),
        Case::of("rmcp", || async {
            let (client, server) = mcp().await;
            drop(client);
            // The client's task ends its end.
            while !server.is_transport_closed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server
        })
        .when("its client is gone"),
        Case::of("rmcp", || async {
            let mut sleep = tokio::process::Command::new("sleep");
            sleep.arg("9");
            rmcp::transport::TokioChildProcess::new(sleep).expect("a child")
        }),
    ]
}

/// An address that is free.
pub fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
