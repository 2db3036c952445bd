//! The server: on a thread and a runtime of its own.

use std::{
    collections::HashMap,
    fmt, io,
    net::{self, Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _, BufReader, BufWriter},
    net::{TcpListener, TcpStream},
    runtime::{self, Runtime},
    sync::{oneshot, watch},
};

use super::protocol::{Change, Reply, Request, next_line};

/// How long to wait before accepting again, after a failure.
const BETWEEN_FAILURES: Duration = Duration::from_millis(100);

/// A server that runs. Dropped, it is told to end and not waited for; [`WatchServer::stop`] waits.
pub struct WatchServer {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    /// Dropped, it ends the server.
    _end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Every put, in order: a watch has seen so many of them, and cannot lag.
    puts: Vec<(String, String)>,
    newest: HashMap<String, Change>,
    watches: usize,
}

impl WatchServer {
    /// Starts a server on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// Where there is no thread, no port or no descriptor to be had.
    pub fn start() -> io::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(watch::Sender::new(State::default()));
        let (end, ended) = oneshot::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let shared = Arc::clone(&state);
        // The runtime is made, and ends, on its thread: that cannot be done inside another one.
        let thread = thread::Builder::new().name("watch-server".to_owned()).spawn(move || {
            let (runtime, listener) = match listen(listener) {
                Ok(listening) => listening,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(()));
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = ended => {}
                }
            });
            // With it go the connections.
            drop(runtime);
        })?;
        has_started.recv().map_err(io::Error::other)??;
        Ok(Self { address, state, _end: end, thread })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many puts it has taken.
    #[must_use]
    pub fn puts(&self) -> usize {
        self.state.borrow().puts.len()
    }

    /// How many watches are open.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.state.borrow().watches
    }

    /// Waits until what the server knows is so; asked again after every change. Works under any
    /// executor.
    pub async fn until(&self, so: impl Fn(&Self) -> bool) {
        let mut changes = self.state.subscribe();
        while !so(self) {
            // Fails only where the sender is gone, and this has it.
            let _ = changes.changed().await;
        }
    }

    /// Ends: closes every connection, and waits for its thread.
    pub fn stop(self) {
        let Self { _end, thread, .. } = self;
        drop(_end);
        // It does not panic; if it did, it has ended.
        let _ = thread.join();
    }
}

impl fmt::Debug for WatchServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchServer").field("address", &self.address).finish_non_exhaustive()
    }
}

fn listen(listener: net::TcpListener) -> io::Result<(Runtime, TcpListener)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let listener = TcpListener::from_std(listener)?;
    drop(context);
    Ok((runtime, listener))
}

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    // A client that goes, or never spoke the protocol, is not the server's trouble.
                    let _ = serve(stream, &state).await;
                });
            }
            // For want of descriptors, as a rule: a little later there may be one.
            Err(error) => {
                tracing::warn!(%error, "the watch server could not accept a connection");
                tokio::time::sleep(BETWEEN_FAILURES).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, state: &watch::Sender<State>) -> io::Result<()> {
    let (from, to) = stream.split();
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    while let Some(line) = next_line(&mut from).await? {
        let reply = match Request::parse(&line) {
            Ok(Request::Put { key, value }) => put(state, key, value),
            Ok(Request::Get { key }) => {
                let newest = state.borrow().newest.get(&key).cloned();
                newest.map_or(Reply::None, Reply::Value)
            }
            Ok(Request::Watch { key }) => {
                return tokio::select! {
                    ended = tell(&mut to, state, &key) => ended,
                    // Nothing more is expected from the client than its end.
                    _ = next_line(&mut from) => Ok(()),
                };
            }
            Err(error) => Reply::Error { reason: error.to_string() },
        };
        to.write_all(format!("{reply}\n").as_bytes()).await?;
        to.flush().await?;
    }
    Ok(())
}

fn put(state: &watch::Sender<State>, key: String, value: String) -> Reply {
    let mut revision = 0;
    state.send_modify(|state| {
        state.puts.push((key.clone(), value.clone()));
        revision = state.puts.len() as u64;
        state.newest.insert(key, Change { revision, value });
    });
    Reply::Ok { revision }
}

/// Tells a watch what its key is set to, from now on, until the client goes.
async fn tell(
    to: &mut (impl AsyncWrite + Unpin),
    state: &watch::Sender<State>,
    key: &str,
) -> io::Result<()> {
    let mut told = state.borrow().puts.len();
    let _watch = Counted::new(state);
    let mut changes = state.subscribe();
    to.write_all(format!("{}\n", Reply::Ok { revision: told as u64 }).as_bytes()).await?;
    to.flush().await?;
    loop {
        let lines: String = {
            let state = changes.borrow_and_update();
            let news = state.puts.iter().enumerate().skip(told);
            let of_key = news.filter(|(_, (put, _))| put == key).map(|(index, (_, value))| {
                let change = Change { revision: index as u64 + 1, value: value.clone() };
                format!("{}\n", Reply::Event(change))
            });
            let lines = of_key.collect();
            told = state.puts.len();
            lines
        };
        to.write_all(lines.as_bytes()).await?;
        to.flush().await?;
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// A watch that is counted for as long as it is served.
struct Counted<'a>(&'a watch::Sender<State>);

impl<'a> Counted<'a> {
    fn new(state: &'a watch::Sender<State>) -> Self {
        state.send_modify(|state| state.watches += 1);
        Self(state)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.watches -= 1);
    }
}
