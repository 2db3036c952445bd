//! The server: on a thread and a runtime of its own.

use std::{
    fmt, io,
    net::{self, Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{oneshot, watch},
    time::sleep,
};

/// How long to wait before accepting again after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Every put, in order: a watch counts how many of them it has seen, and so it cannot lag.
type Puts = Vec<(String, String)>;

/// A running server. If it is dropped, it is told to end and not waited for; [`WatchServer::stop`] waits.
pub struct WatchServer {
    address: SocketAddr,
    puts: Arc<watch::Sender<Puts>>,
    /// Dropped, it ends the server.
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl WatchServer {
    /// Starts a server on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If there is no thread, port or descriptor left.
    pub fn start() -> io::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let puts = Arc::new(watch::Sender::new(Puts::new()));
        let (end, ended) = oneshot::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let state = Arc::clone(&puts);
        // The runtime is made and dropped on its thread: inside another runtime it cannot be dropped.
        let thread = thread::Builder::new().name("watch-server".to_owned()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(()));
            runtime.block_on(async {
                tokio::select! {
                    _ = accept(listener, state) => {}
                    _ = ended => {}
                }
            });
        })?;
        has_started.recv().map_err(io::Error::other)??;
        Ok(Self { address, puts, end, thread })
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many puts it has taken.
    #[must_use]
    pub fn puts(&self) -> usize {
        self.puts.borrow().len()
    }

    /// Ends the server: closes every connection, and waits for its thread.
    pub fn stop(self) {
        let Self { end, thread, .. } = self;
        drop(end);
        // If it panicked, it has ended too.
        let _ = thread.join();
    }
}

impl fmt::Debug for WatchServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchServer").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept(listener: net::TcpListener, puts: Arc<watch::Sender<Puts>>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let puts = Arc::clone(&puts);
                tokio::spawn(async move {
                    // If a client goes, or does not keep to the protocol, its connection ends.
                    let _ = serve(stream, &puts).await;
                });
            }
            // Usually there are no descriptors left. Later there may be one.
            Err(error) => {
                tracing::warn!(%error, "the watch server could not accept a connection");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, puts: &watch::Sender<Puts>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("PUT"), Some(key), Some(value)) => {
                let mut revision = 0;
                puts.send_modify(|puts| {
                    puts.push((key.to_owned(), value.to_owned()));
                    revision = puts.len();
                });
                writer.write_all(format!("OK {revision}\n").as_bytes()).await?;
            }
            (Some("WATCH"), Some(key), None) => {
                let mut changes = puts.subscribe();
                let mut seen = changes.borrow().len();
                let mut news = format!("OK {seen}\n");
                loop {
                    writer.write_all(news.as_bytes()).await?;
                    tokio::select! {
                        changed = changes.changed() => changed.map_err(io::Error::other)?,
                        // From here on the client sends nothing but its end.
                        _ = lines.next_line() => return Ok(()),
                    }
                    let puts = changes.borrow_and_update();
                    let new = puts.iter().skip(seen).filter(|(put, _)| put == key);
                    news = new.map(|(_, value)| format!("{value}\n")).collect();
                    seen = puts.len();
                }
            }
            _ => writer.write_all(b"ERROR unknown request\n").await?,
        }
    }
    Ok(())
}
