//! 56 static-client: a client in a static lives on runtimes that end with their tests. What is left of it fails
//! or hangs in the next test; on one runtime for all tests it does not. Page: `docs/src/56-static-client.md`.

use std::{
    net::SocketAddr,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use axum::{Router, extract::State, routing::get, serve::ListenerExt as _};
use deadpool_current::managed::{Metrics, Pool, RecycleResult};
use experiments::prelude::*;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Bytes, body::Incoming, client::conn::http1::SendRequest};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use sundown::{RuntimeCell, RuntimeOwner};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{Mutex, Notify, OnceCell},
    task::yield_now,
    time::sleep,
};

/// How long the server works on a slow answer. Both answers are the same.
const WORK: Duration = Duration::from_millis(100);
const ANSWER: &[u8] = b"done";

/// How often a test yields to its runtime, so that a connection that is done comes back to its pool.
const YIELDS: usize = 200;

/// What a static has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// hyper-util's client, which keeps connections in a pool, as reqwest's does.
    Client,
    /// A handle to one connection of hyper.
    Sender,
    /// deadpool's pool of sockets.
    Pool,
}

const KINDS: [(Kind, &str); 3] =
    [(Kind::Client, "client"), (Kind::Sender, "sender"), (Kind::Pool, "pool")];

/// How a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// As `#[tokio::test]`: on a runtime of its own.
    Own,
    /// The same, and the client is its own, too.
    OwnClient,
    /// On a runtime in a static.
    Static,
    /// On that of a `RuntimeCell`.
    Cell,
    /// As `#[tokio::test]`, and what uses the client is spawned on that of a `RuntimeCell`.
    Spawned,
}

fn main() -> ExitCode {
    let mut variants = Vec::new();
    for (kind, word) in KINDS {
        let sequential = move |scene: &Scene<'_>, how| one_after_another(scene, kind, how);
        let overlap = move |scene: &Scene<'_>, how| at_the_same_time(scene, kind, how);
        let (name, about) =
            (format!("static/sequential-{word}"), "the second test begins after it");
        let own = move |scene: &Scene<'_>| sequential(scene, How::Own);
        variants.push(match kind {
            Kind::Client => control(name, own).about(about),
            Kind::Sender | Kind::Pool => hazard(name, Failed, own).about(about),
        });
        variants.push(
            hazard(format!("static/overlap-{word}"), Failed, move |scene| overlap(scene, How::Own))
                .about("a request of the second test is under way when the first ends"),
        );
        variants.push(
            hang(format!("static/idle-{word}"), move |scene| idle(scene, kind))
                .about("the runtime of the first is kept, and nobody drives it"),
        );
        for (how, word_of_how, about) in [
            (How::OwnClient, "client-each", "each test has a client of its own"),
            (How::Static, "one-runtime", "all tests use one runtime, which is in a static"),
        ] {
            variants.push(
                control(format!("{word_of_how}/sequential-{word}"), move |scene| {
                    sequential(scene, how)
                })
                .about(about),
            );
            variants.push(
                control(format!("{word_of_how}/overlap-{word}"), move |scene| overlap(scene, how))
                    .about(about),
            );
        }
        for (how, word_of_how, about) in [
            (How::Cell, "cell", "all tests use the runtime of a `RuntimeCell`"),
            (How::Spawned, "cell-spawn", "tests have runtimes, and spawn requests on a cell's"),
        ] {
            variants.push(
                cure(format!("{word_of_how}/sequential-{word}"), move |scene| {
                    sequential(scene, how)
                })
                .about(about),
            );
            variants.push(
                cure(format!("{word_of_how}/overlap-{word}"), move |scene| overlap(scene, how))
                    .about(about),
            );
        }
    }
    Experiment::new(file!())
        .question("What becomes of a client in a static when a runtime that uses it ends?")
        .hypothesis(
            "Its connections belong to the runtime on which they were made. When that ends, a request that \
             is under way in another test fails. A request that begins later fails if the client has one \
             connection or a pool of sockets; hyper-util's client notices, and makes another connection. If \
             that runtime is kept and nobody drives it, a request hangs. With a client for each test, or one \
             runtime for all of them, nothing fails.",
        )
        .variants(variants)
        .kit_claim(
            "If all tests use the runtime of a `RuntimeCell`, directly or by `spawn`, no request fails.",
        )
        .run()
}

/// A web server with a runtime of its own.
struct Server {
    address: SocketAddr,
    /// A slow request has begun.
    begun: Arc<Notify>,
    /// How many connections were made.
    connections: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Server {
    fn start() -> TrialResult<Self> {
        let (runtime, begun) = (runtime()?, Arc::new(Notify::new()));
        let connections = Arc::new(AtomicU64::new(0));
        let made = Arc::clone(&connections);
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(move |_| {
            made.fetch_add(1, Ordering::SeqCst);
        });
        let slow = async |State(begun): State<Arc<Notify>>| {
            begun.notify_one();
            sleep(WORK).await;
            ANSWER
        };
        let pages = Router::new().route("/fast", get(async || ANSWER)).route("/slow", get(slow));
        let pages = pages.with_state(Arc::clone(&begun));
        runtime.spawn(async { axum::serve(listener, pages).await });
        Ok(Self { address, begun, connections, _runtime: runtime })
    }
}

/// What is in the static.
enum Http {
    Client(Box<Client<HttpConnector, Empty<Bytes>>>),
    Sender(Mutex<SendRequest<Empty<Bytes>>>),
    Pool(Pool<Sockets>),
}

struct Sockets(SocketAddr);

impl deadpool_current::managed::Manager for Sockets {
    type Type = TcpStream;
    type Error = std::io::Error;

    async fn create(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.0).await
    }

    async fn recycle(&self, _: &mut TcpStream, _: &Metrics) -> RecycleResult<std::io::Error> {
        Ok(())
    }
}

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

impl Http {
    async fn open(kind: Kind, server: SocketAddr) -> Answer<Self> {
        Ok(match kind {
            Kind::Client => {
                Self::Client(Box::new(Client::builder(TokioExecutor::new()).build_http()))
            }
            Kind::Sender => {
                let socket = TokioIo::new(TcpStream::connect(server).await?);
                let (sender, connection) = hyper::client::conn::http1::handshake(socket).await?;
                tokio::spawn(connection);
                Self::Sender(Mutex::new(sender))
            }
            Kind::Pool => Self::Pool(Pool::builder(Sockets(server)).max_size(1).build()?),
        })
    }

    /// Gets a page.
    async fn get(&self, server: SocketAddr, page: &str) -> Answer<()> {
        let request = |uri: String| Request::get(uri).header("host", "x").body(Empty::new());
        let answer: Response<Incoming> = match self {
            Self::Client(client) => {
                client.request(request(format!("http://{server}{page}"))?).await?
            }
            Self::Sender(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request(page.to_owned())?).await?
            }
            Self::Pool(pool) => {
                let mut socket = pool.get().await?;
                return get_by(&mut socket, page).await;
            }
        };
        complete(&answer.into_body().collect().await?.to_bytes())
    }
}

async fn get_by(socket: &mut TcpStream, page: &str) -> Answer<()> {
    socket.write_all(format!("GET {page} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(ANSWER) && socket.read_buf(&mut answer).await? > 0 {}
    complete(&answer)
}

fn complete(answer: &[u8]) -> Answer<()> {
    if answer.ends_with(ANSWER) { Ok(()) } else { Err("the answer is not complete".into()) }
}

static CLIENT: OnceCell<Http> = OnceCell::const_new();
static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| runtime().ok());
static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("tests").workers(2));

/// A test's client.
enum Used {
    Static(&'static Http),
    Own(Box<Http>),
}

impl Used {
    async fn by(how: How, kind: Kind, server: SocketAddr) -> Answer<Self> {
        Ok(match how {
            How::OwnClient => Self::Own(Box::new(Http::open(kind, server).await?)),
            _ => Self::Static(CLIENT.get_or_try_init(|| Http::open(kind, server)).await?),
        })
    }

    async fn get(&self, server: SocketAddr, page: &str) -> Answer<()> {
        match self {
            Self::Static(http) => http.get(server, page).await,
            Self::Own(http) => http.get(server, page).await,
        }
    }
}

/// Runs a test, and ends its runtime if it has one.
fn test<F>(how: How, body: F) -> Answer<()>
where
    F: Future<Output = Answer<()>> + Send + 'static,
{
    let own = || Builder::new_current_thread().enable_all().build();
    match how {
        How::Own | How::OwnClient => own()?.block_on(body),
        How::Static => RUNTIME.as_ref().ok_or("no runtime")?.block_on(body),
        How::Cell => CELL.get()?.block_on(body)?,
        How::Spawned => own()?.block_on(async { CELL.get()?.spawn("test", |_| body)?.await? }),
    }
}

fn judge(scene: &Scene<'_>, server: &Server, answer: Answer<()>) {
    scene.record("connections", server.connections.load(Ordering::SeqCst));
    if let Err(error) = &answer {
        let mut last: &dyn Error = &**error;
        while let Some(source) = last.source() {
            last = source;
        }
        scene.record("the_second_test_fails_with", last.to_string());
    }
    scene.check("the second test gets its answer", answer.is_ok());
}

fn one_after_another(scene: &Scene<'_>, kind: Kind, how: How) -> TrialResult {
    let server = Server::start()?;
    let at = server.address;
    let body = move || async move { Used::by(how, kind, at).await?.get(at, "/fast").await };
    test(how, body()).map_err(|error| error.to_string())?;
    judge(scene, &server, test(how, body()));
    if (how, kind) == (How::Own, Kind::Client) {
        let made = server.connections.load(Ordering::SeqCst);
        scene.check("the client has made another connection", made == 2);
    }
    Ok(())
}

fn at_the_same_time(scene: &Scene<'_>, kind: Kind, how: How) -> TrialResult {
    let server = Server::start()?;
    let (at, begun) = (server.address, Arc::clone(&server.begun));
    let (tell, ready) = mpsc::channel();
    let first = thread::spawn(move || {
        let body = async move {
            Used::by(how, kind, at).await?.get(at, "/fast").await?;
            for _ in 0..YIELDS {
                yield_now().await;
            }
            tell.send(())?;
            begun.notified().await;
            Ok(())
        };
        test(how, body).map_err(|error| error.to_string())
    });
    ready.recv_timeout(PLENTY)?;
    let second = async move { Used::by(how, kind, at).await?.get(at, "/slow").await };
    judge(scene, &server, test(how, second));
    first.join().map_err(|_| "the first test panicked")??;
    Ok(())
}

fn idle(scene: &Scene<'_>, kind: Kind) -> TrialResult {
    let server = Server::start()?;
    let at = server.address;
    let body = move || async move { Used::by(How::Own, kind, at).await?.get(at, "/fast").await };
    let first = Builder::new_current_thread().enable_all().build()?;
    let yields = async {
        body().await?;
        for _ in 0..YIELDS {
            yield_now().await;
        }
        Ok(())
    };
    first.block_on(yields).map_err(|error: Box<dyn Error + Send + Sync>| error.to_string())?;
    judge(scene, &server, test(How::Own, body()));
    drop(first);
    Ok(())
}
