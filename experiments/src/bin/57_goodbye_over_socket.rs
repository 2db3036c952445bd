//! 57 goodbye-over-socket: a goodbye that a destructor says over a socket arrives only while the runtime of
//! the socket runs. After that a teardown runs the destructor, and the peer hears nothing. A session's hook
//! says goodbye in time. Page: `docs/src/57-goodbye-over-socket.md`.

use std::{future::pending, net::SocketAddr, sync::mpsc};

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use experiments::prelude::*;
use futures::StreamExt as _;
use sundown::{
    NotCovered, RuntimeOwner,
    runtime::State as Life,
    session::{CloseReport, Session},
    teardown::teardown_blocking,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Mutex, oneshot},
};
use tokio_tungstenite::WebSocketStream;

/// What a database is told before its connection is closed.
const QUIT: &[u8] = b"QUIT";

/// How long a runtime lets a library's tasks end by themselves. The one here never ends.
const FOREIGN: Duration = Duration::from_millis(20);

/// The kinds of connections.
const KINDS: [&str; 3] = ["quit", "websocket", "actor"];

fn main() -> ExitCode {
    let each = |name: &str| KINDS.map(|kind| format!("{name}/{kind}"));
    Experiment::new(file!())
        .question("When does a goodbye that a destructor says over a socket arrive?")
        .hypothesis(
            "Only while the runtime runs with which the socket was registered. After that the destructor \
             finds the context of another runtime, its task is polled there, and the socket's I/O driver \
             is gone: a teardown answers `Ok`, and the peer hears nothing. (A write that asks no driver \
             arrives.) With a task that is cut off, either may come first. A session says goodbye in a hook.",
        )
        .first_expected(
            "A value that a task of the session's runtime has until it is cut off never says goodbye.",
        )
        .variants(each("dropped-while").map(|name| {
            control(name, dropped_while).about("the value is dropped in its runtime, which runs")
        }))
        .variants(each("teardown-while").map(|name| {
            control(name, torn_down_while)
                .about("the value is torn down by the kit while its runtime runs")
        }))
        .variants(each("dropped-after").map(|name| {
            hazard(name, Failed, dropped_after)
                .about("its runtime is gone; it is dropped on a plain thread")
        }))
        .variants(each("other-runtime").map(|name| {
            hazard(name, Failed, dropped_in_another)
                .about("its runtime is gone; it is dropped in another, which runs on")
        }))
        .variants(each("teardown-after").map(|name| {
            hazard(name, Failed, torn_down_after)
                .about("its runtime is gone; it is torn down by the kit, which answers `Ok`")
        }))
        .variants([control("try-write-after/quit", try_write_after).about(
            "its runtime is gone; its destructor writes without asking the driver",
        )])
        .variants(each("session-held").map(|name| {
            hazard(name, Failed, |scene| in_session(scene, Holder::Thread, false))
                .about("a session with the runtime; a thread has a handle until that has ended")
        }))
        .variants([hazard("session-task/quit", seen(Failed).allowing([Clean]), |scene| {
            in_session(scene, Holder::Task, false)
        })
        .about("a session with the runtime; a task of that has a handle until it is cut off")
        .trials(40)])
        .variants(each("session").map(|name| {
            cure(name, |scene| in_session(scene, Holder::Nobody, false))
                .about("a session with the runtime; nothing has a handle")
        }))
        .variants(each("hook").map(|name| {
            cure(name, |scene| in_session(scene, Holder::Thread, true))
                .about("as in `session-held`, and a hook says goodbye")
        }))
        .variants(each("hook-task").map(|name| {
            cure(name, |scene| in_session(scene, Holder::Task, true))
                .about("as in `session-task`, and a hook says goodbye")
        }))
        .variants(each("session-held-named").map(|name| {
            cure(name, held_and_named)
                .about("as in `session-held`: the report must count the value")
        }))
        .variants(each("session-handle-named").map(|name| {
            cure(name, handle_and_named).about(
                "a session with the runtime's `Handle`; the runtime is gone first: the report must count the value",
            )
        }))
        .variants(each("teardown-after-named").map(|name| {
            cure(name, torn_down_and_named)
                .about("as in `teardown-after`: the report must not speak of success")
        }))
        .kit_claim(
            "A goodbye in a session's hook arrives, also if a task has a handle until the runtime ends. \
             Where a goodbye is lost, the report counts the value, or says that it cannot know.",
        )
        .run()
}

/// A server, and what it tells when a connection has ended: whether it was told goodbye.
struct Peer {
    address: SocketAddr,
    told: mpsc::Receiver<bool>,
    /// The server runs as long as this is there.
    _runtime: Runtime,
}

impl Peer {
    fn start(kind: &str) -> TrialResult<Self> {
        let (tell, told) = mpsc::channel();
        let runtime = runtime()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        if kind == "websocket" {
            let pages = Router::new().route("/", get(socket)).with_state(tell);
            runtime.spawn(async { axum::serve(listener, pages).await });
        } else {
            runtime.spawn(async move {
                while let Ok((mut connection, _)) = listener.accept().await {
                    let tell = tell.clone();
                    tokio::spawn(async move {
                        let mut heard = Vec::new();
                        let _ = connection.read_to_end(&mut heard).await;
                        let _ = tell.send(heard == QUIT);
                    });
                }
            });
        }
        Ok(Self { address, told, _runtime: runtime })
    }

    /// What it heard of the connection, once that has ended.
    fn heard(&self, scene: &Scene<'_>) -> TrialResult<bool> {
        let heard = self.told.recv_timeout(PLENTY)?;
        scene.record("goodbyes_heard", u64::from(heard));
        Ok(heard)
    }

    fn must_have_heard(&self, scene: &Scene<'_>) -> TrialResult {
        let heard = self.heard(scene)?;
        scene.check("the peer is told goodbye", heard);
        Ok(())
    }
}

/// A web socket that reads until it ends.
async fn socket(State(tell): State<mpsc::Sender<bool>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let mut heard = false;
        while let Some(Ok(message)) = socket.recv().await {
            heard |= matches!(message, Message::Close(_));
        }
        let _ = tell.send(heard);
    })
}

/// A connection, as a client of a database, of a web socket or of a message broker has it.
enum Connection {
    /// The socket itself.
    Quit(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
    /// The socket is in a task, and this asks the task to say goodbye.
    Actor(oneshot::Sender<oneshot::Sender<()>>),
}

impl Connection {
    async fn open(kind: &str, address: SocketAddr) -> TrialResult<Self> {
        let mut stream = TcpStream::connect(address).await?;
        Ok(match kind {
            "websocket" => {
                let url = format!("ws://{address}/");
                let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
                Self::WebSocket(Box::new(socket))
            }
            "actor" => {
                let (ask, asked) = oneshot::channel::<oneshot::Sender<()>>();
                tokio::spawn(async move {
                    if let Ok(answer) = asked.await
                        && stream.write_all(QUIT).await.is_ok()
                        && stream.shutdown().await.is_ok()
                    {
                        let _ = answer.send(());
                    }
                });
                Self::Actor(ask)
            }
            _ => Self::Quit(stream),
        })
    }

    async fn goodbye(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        match self {
            Self::Quit(mut stream) => {
                stream.write_all(QUIT).await?;
                stream.shutdown().await?;
            }
            Self::WebSocket(mut socket) => {
                socket.close(None).await?;
                // Until the other has said so, too.
                while let Some(message) = socket.next().await {
                    message?;
                }
            }
            Self::Actor(ask) => {
                let (answer, answered) = oneshot::channel();
                ask.send(answer).map_err(|_| "its task is gone")?;
                answered.await?;
            }
        }
        Ok(())
    }
}

/// A client whose destructor says goodbye in a task, if there is a runtime, as mysql_async's does.
struct Client(Mutex<Option<Connection>>);

impl Client {
    async fn open(kind: &str, address: SocketAddr) -> TrialResult<Self> {
        Ok(Self(Mutex::new(Some(Connection::open(kind, address).await?))))
    }

    /// Says goodbye, and waits until that is done.
    async fn goodbye(&self) {
        if let Some(connection) = self.0.lock().await.take() {
            let _ = connection.goodbye().await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(connection) = self.0.get_mut().take()
            && let Ok(handle) = Handle::try_current()
        {
            handle.spawn(connection.goodbye());
        }
    }
}

/// A peer, a client of it, and the runtime on which that was made.
fn connected(scene: &Scene<'_>) -> TrialResult<(Peer, Runtime, Client)> {
    let (peer, runtime) = (Peer::start(scene.case())?, runtime()?);
    let client = runtime.block_on(Client::open(scene.case(), peer.address))?;
    Ok((peer, runtime, client))
}

fn dropped_while(scene: &Scene<'_>) -> TrialResult {
    let (peer, runtime, client) = connected(scene)?;
    runtime.block_on(async { drop(client) });
    peer.must_have_heard(scene)
}

fn torn_down_while(scene: &Scene<'_>) -> TrialResult {
    let (peer, _runtime, client) = connected(scene)?;
    let _ = teardown_blocking(client, PLENTY).map_err(|error| error.to_string())?;
    peer.must_have_heard(scene)
}

fn dropped_after(scene: &Scene<'_>) -> TrialResult {
    let (peer, runtime, client) = connected(scene)?;
    drop(runtime);
    drop(client);
    peer.must_have_heard(scene)
}

fn dropped_in_another(scene: &Scene<'_>) -> TrialResult {
    let (peer, own, client) = connected(scene)?;
    drop(own);
    let another = runtime()?;
    another.block_on(async { drop(client) });
    peer.must_have_heard(scene)
}

fn torn_down_after(scene: &Scene<'_>) -> TrialResult {
    let (peer, runtime, client) = connected(scene)?;
    drop(runtime);
    let report = teardown_blocking(client, PLENTY).map_err(|error| error.to_string())?;
    scene.record("tasks_that_ended", report.tasks);
    peer.must_have_heard(scene)
}

fn torn_down_and_named(scene: &Scene<'_>) -> TrialResult {
    let (peer, runtime, client) = connected(scene)?;
    drop(runtime);
    let report = teardown_blocking(client, PLENTY).map_err(|error| error.to_string())?;
    scene.check("the goodbye is lost", !peer.heard(scene)?);
    let is_named = report.not_covered.contains(&NotCovered::Success);
    scene.check("the report does not speak of success", is_named);
    Ok(())
}

/// A socket whose destructor writes at once.
struct Writes(TcpStream);

impl Drop for Writes {
    fn drop(&mut self) {
        let _ = self.0.try_write(QUIT);
    }
}

fn try_write_after(scene: &Scene<'_>) -> TrialResult {
    let (peer, runtime) = (Peer::start(scene.case())?, runtime()?);
    let socket = Writes(runtime.block_on(TcpStream::connect(peer.address))?);
    drop(runtime);
    drop(socket);
    peer.must_have_heard(scene)
}

/// Who has a handle when the session is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    /// A task of the session's runtime, which never ends by itself.
    Task,
    /// A thread, until the session's runtime has ended.
    Thread,
}

/// Closes a session with a client, and returns how many values the report counts that outlived the runtime.
fn close(scene: &Scene<'_>, peer: &Peer, holder: Holder, has_hook: bool) -> TrialResult<usize> {
    let owner = RuntimeOwner::builder("sdk").workers(2).foreign_time(FOREIGN).start()?;
    let session = Session::builder("sdk").runtime(owner.clone()).start()?;
    let client = owner.block_on(Client::open(scene.case(), peer.address))??;
    let client = session.guard(client)?;
    if has_hook {
        session.before_close_with(&client, async |client| client.goodbye().await)?;
    }
    match holder {
        Holder::Nobody => drop(client),
        Holder::Task => drop(owner.handle()?.spawn(async move {
            let _held = client;
            pending::<()>().await;
        })),
        Holder::Thread => drop(thread::spawn(move || {
            while owner.stats().state != Life::Ended {
                thread::sleep(Duration::from_millis(1));
            }
            drop(client);
        })),
    }
    let report = session.close_blocking(PLENTY)?;
    let outlived = outlived(&report);
    scene.record("values_that_outlived_the_runtime", outlived);
    Ok(outlived)
}

fn in_session(scene: &Scene<'_>, holder: Holder, has_hook: bool) -> TrialResult {
    let peer = Peer::start(scene.case())?;
    let outlived = close(scene, &peer, holder, has_hook)?;
    let expected = usize::from(holder != Holder::Nobody);
    if has_hook || holder == Holder::Nobody {
        scene.check("the report counts what outlived the runtime", outlived == expected);
    }
    peer.must_have_heard(scene)
}

fn held_and_named(scene: &Scene<'_>) -> TrialResult {
    let peer = Peer::start(scene.case())?;
    let outlived = close(scene, &peer, Holder::Thread, false)?;
    scene.check("the goodbye is lost", !peer.heard(scene)?);
    scene.check("the report counts the value", outlived == 1);
    Ok(())
}

fn handle_and_named(scene: &Scene<'_>) -> TrialResult {
    let (peer, runtime, client) = connected(scene)?;
    let session = Session::builder("sdk").runtime(runtime.handle()).start()?;
    let client = session.guard(client)?;
    drop(runtime);
    drop(client);
    let report = session.close_blocking(PLENTY)?;
    scene.check("the goodbye is lost", !peer.heard(scene)?);
    scene.check("the report counts the value", outlived(&report) == 1);
    Ok(())
}

/// How many values the report counts that outlived the runtime.
fn outlived(report: &CloseReport) -> usize {
    let count = |what: &NotCovered| match what {
        NotCovered::OutlivedRuntime { values } => Some(*values),
        _ => None,
    };
    report.not_covered.iter().find_map(count).unwrap_or(0)
}
