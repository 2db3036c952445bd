//! A web server of axum, and visitors that are in the middle of something.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use futures::{StreamExt as _, stream};
use lab::TrialResult;
use sundown::Stop;
use tokio::time::sleep;

/// How long the server works on an answer that it has begun.
const WORK: Duration = Duration::from_millis(100);

/// How often it sends an event.
const TICK: Duration = Duration::from_millis(10);

/// The longest that a visitor waits for anything.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a server has sent, in events and frames.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicUsize>);

impl Sent {
    fn one(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// So far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct App {
    sent: Sent,
    /// With it, streams and web sockets end by themselves.
    stop: Option<Stop>,
}

/// The pages of the server. With a stop signal its streams and web sockets listen to it, as the
/// documentation of the kit says; without one they go on for ever, as most do.
pub fn pages(sent: Sent, stop: Option<Stop>) -> Router {
    Router::new()
        .route("/work", get(work))
        .route("/events", get(events))
        .route("/socket", get(socket))
        .with_state(App { sent, stop })
}

/// An answer that is begun at once and takes a while.
async fn work(State(app): State<App>) -> Response {
    let rest = stream::once(async move {
        sleep(WORK).await;
        app.sent.one();
        "done\n"
    });
    let lines = stream::once(async { "begun\n" }).chain(rest);
    Response::new(Body::from_stream(lines.map(Ok::<_, axum::Error>)))
}

/// Server-sent events, for ever.
async fn events(State(App { sent, stop }): State<App>) -> Response {
    let ticks = stream::unfold((), move |()| {
        let sent = sent.clone();
        async move {
            sleep(TICK).await;
            sent.one();
            Some(("data: tick\n\n", ()))
        }
    });
    let until = async move {
        match stop {
            Some(stop) => stop.await,
            None => std::future::pending().await,
        }
    };
    let ticks = ticks.take_until(Box::pin(until)).map(Ok::<_, axum::Error>);
    Response::new(Body::from_stream(ticks))
}

/// A web socket that answers what it is sent.
async fn socket(State(App { sent, stop }): State<App>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let mut stop = stop;
        loop {
            let told = async {
                match &mut stop {
                    Some(stop) => stop.await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                () = told => {
                    // Says goodbye, and reads until the other has said so.
                    let _ = socket.send(Message::Close(None)).await;
                    while let Some(Ok(_)) = socket.recv().await {}
                    return;
                }
                message = socket.recv() => message,
            };
            let Some(Ok(message)) = message else { return };
            if socket.send(message).await.is_err() {
                return;
            }
            sent.one();
        }
    })
}

/// What a visitor is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Nothing: a connection that is kept alive.
    Idle,
    /// A request that the server works on.
    Request,
    /// Server-sent events.
    Events,
    /// A web socket, which the visitor uses all the time.
    Socket,
    /// A request by HTTP/2 that the server works on.
    Http2,
}

impl Visit {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Request, Self::Events, Self::Socket, Self::Http2];

    /// The word for it in the name of a variant.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Request => "request",
            Self::Events => "events",
            Self::Socket => "websocket",
            Self::Http2 => "http2",
        }
    }

    /// What the visitor is in the middle of.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Idle => "a connection is kept alive",
            Self::Request => "a request is under way",
            Self::Events => "server-sent events are under way",
            Self::Socket => "a web socket is open",
            Self::Http2 => "a request of HTTP/2 is under way",
        }
    }

    /// The one with this word.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn named(word: &str) -> TrialResult<Self> {
        let named = Self::ALL.into_iter().find(|visit| visit.word() == word);
        named.ok_or_else(|| format!("no visitor is called {word}").into())
    }

    /// Begins, and returns when the server has begun to answer. The thread returns when the server has
    /// ended the connection, and says whether that was in good order: the answer was complete, the stream
    /// was ended, goodbye was said.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or does not begin.
    pub fn begin(self, server: SocketAddr) -> TrialResult<JoinHandle<bool>> {
        match self {
            Self::Http2 => begin_http2(server),
            Self::Socket => begin_socket(server),
            _ => self.begin_http1(server),
        }
    }

    fn begin_http1(self, server: SocketAddr) -> TrialResult<JoinHandle<bool>> {
        let (page, until, last) = match self {
            Self::Events => ("/events", "data: tick", "0"),
            Self::Request => ("/work", "begun", "0"),
            _ => ("/work", "0", "0"),
        };
        let mut connection = connect(server)?;
        write!(connection, "GET {page} HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let mut lines = BufReader::new(connection).lines();
        let mut seen = Vec::new();
        while seen.last().is_none_or(|line| line != until) {
            seen.push(lines.next().ok_or("the server has hung up")??);
        }
        Ok(thread::spawn(move || {
            seen.extend(lines.map_while(Result::ok).filter(|line| !line.is_empty()));
            // The last chunk of a complete answer has no bytes.
            let is_complete =
                seen.iter().rev().find(|line| !line.is_empty()).is_some_and(|line| line == last);
            let is_done = page != "/work" || seen.iter().any(|line| line == "done");
            is_complete && is_done
        }))
    }
}

fn connect(server: SocketAddr) -> TrialResult<TcpStream> {
    let connection = TcpStream::connect(server)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// A client's frame with one byte, masked by zeros; and one that says goodbye.
const ONE_BYTE: [u8; 7] = [0x82, 0x81, 0, 0, 0, 0, 7];
const GOODBYE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

fn begin_socket(server: SocketAddr) -> TrialResult<JoinHandle<bool>> {
    let mut connection = connect(server)?;
    write!(
        connection,
        "GET /socket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        head.extend(byte);
    }
    connection.write_all(&ONE_BYTE)?;
    let mut echo = [0; 3];
    connection.read_exact(&mut echo)?;
    Ok(thread::spawn(move || {
        let mut frame = [0; 2];
        loop {
            if connection.write_all(&ONE_BYTE).is_err()
                || connection.read_exact(&mut frame).is_err()
            {
                return false;
            }
            if frame[0] == 0x88 {
                // What comes after it is of no interest.
                return connection.write_all(&GOODBYE).is_ok();
            }
            if connection.read_exact(&mut [0]).is_err() {
                return false;
            }
            thread::sleep(TICK);
        }
    }))
}

fn begin_http2(server: SocketAddr) -> TrialResult<JoinHandle<bool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut body, connection) = runtime.block_on(async {
        let connection = tokio::net::TcpStream::connect(server).await?;
        let (client, connection) = h2::client::handshake(connection).await?;
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await?;
        let request = http::Request::get(format!("http://{server}/work")).body(())?;
        let (answer, _) = client.send_request(request, true)?;
        let mut body = answer.await?.into_body();
        body.data().await.ok_or("no data")??;
        Ok::<_, Box<dyn std::error::Error>>((body, connection))
    })?;
    Ok(thread::spawn(move || {
        runtime.block_on(async {
            let rest = async {
                let mut answer = Vec::new();
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                    answer.extend_from_slice(&data);
                }
                let _ = connection.await;
                body.is_end_stream() && answer == b"done\n"
            };
            tokio::time::timeout(PATIENCE, rest).await.unwrap_or(false)
        })
    }))
}
