//! The client: its connections are driven by tasks that the caller does not see.

use std::{fmt, io, net::SocketAddr};

use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::{mpsc, oneshot},
};

use super::protocol::{BadLine, Change, Reply, Request, next_line};

/// Why an operation came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// No connection to the server.
    #[error("no connection to {address}: {source}; is the server running?")]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The connection has ended, or the runtime that drives it: whether what was asked has been done
    /// is not known.
    #[error("the connection has ended before an answer came; connect again")]
    Disconnected,
    /// What was asked cannot be written in the protocol, or what was answered is not of it.
    #[error(transparent)]
    BadLine(#[from] BadLine),
    /// The server refused.
    #[error("the server refused: {reason}")]
    Refused {
        /// Why, in its words.
        reason: String,
    },
}

/// A client. Clones share one connection, which a task on the runtime drives; it ends when the last
/// clone is dropped. Operations may be under way side by side: they are answered in order.
///
/// ```
/// use mock_sdk::watch::{WatchClient, WatchServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = WatchServer::start()?;
/// let client = WatchClient::connect(server.address()).await?;
/// let mut watch = client.watch("key").await?;
/// client.put("key", "value").await?;
/// assert_eq!(watch.next().await.map(|change| change.value).as_deref(), Some("value"));
/// server.stop();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WatchClient {
    address: SocketAddr,
    asked: mpsc::UnboundedSender<Asked>,
}

struct Asked {
    request: Request,
    answer: oneshot::Sender<Result<Reply, WatchError>>,
}

/// A watch of one key, on a connection of its own. Ends when it is dropped.
pub struct Watch {
    key: String,
    changes: mpsc::UnboundedReceiver<Change>,
}

impl WatchClient {
    /// Connects. Must be called in the context of a Tokio runtime with its I/O driver enabled, which
    /// then drives the connection.
    ///
    /// # Errors
    ///
    /// [`WatchError::Unreachable`].
    pub async fn connect(address: SocketAddr) -> Result<Self, WatchError> {
        let stream = connect(address).await?;
        let (asked, to_ask) = mpsc::unbounded_channel();
        tokio::spawn(drive(stream, to_ask));
        Ok(Self { address, asked })
    }

    /// Sets a key, and returns the number of the change.
    ///
    /// # Errors
    ///
    /// [`WatchError`]; after [`WatchError::Disconnected`] it may have been set.
    pub async fn put(&self, key: &str, value: &str) -> Result<u64, WatchError> {
        let request = Request::Put { key: key.to_owned(), value: value.to_owned() };
        match self.ask(request).await? {
            Reply::Ok { revision } => Ok(revision),
            other => Err(unexpected(other)),
        }
    }

    /// What a key was last set to. `None` where it never was.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub async fn get(&self, key: &str) -> Result<Option<Change>, WatchError> {
        match self.ask(Request::Get { key: key.to_owned() }).await? {
            Reply::Value(change) => Ok(Some(change)),
            Reply::None => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Watches a key: every put after this has returned is told, in order.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub async fn watch(&self, key: &str) -> Result<Watch, WatchError> {
        let request = Request::Watch { key: key.to_owned() };
        request.check()?;
        let stream = connect(self.address).await?;
        let (from, mut to) = stream.into_split();
        let mut from = BufReader::new(from);
        write(&mut to, &request).await?;
        match read(&mut from).await? {
            Reply::Ok { .. } => {}
            other => return Err(unexpected(other)),
        }
        let (tell, changes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Held so that the connection stays open both ways.
            let _to = to;
            loop {
                tokio::select! {
                    reply = read(&mut from) => {
                        let Ok(Reply::Event(change)) = reply else { return };
                        // Where nobody listens any more, the other branch is ready.
                        let _ = tell.send(change);
                    }
                    () = tell.closed() => return,
                }
            }
        });
        Ok(Watch { key: key.to_owned(), changes })
    }

    async fn ask(&self, request: Request) -> Result<Reply, WatchError> {
        request.check()?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked { request, answer };
        self.asked.send(asked).map_err(|_| WatchError::Disconnected)?;
        answered.await.map_err(|_| WatchError::Disconnected)?
    }
}

impl Watch {
    /// The next change. `None` when the connection, or the runtime that drives it, has ended.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for WatchClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchClient").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("key", &self.key).finish_non_exhaustive()
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, WatchError> {
    TcpStream::connect(address).await.map_err(|source| WatchError::Unreachable { address, source })
}

/// The task that drives a connection, until the last client is gone or the server is. Whoever still
/// waits then finds the answer's sender dropped.
async fn drive(stream: TcpStream, mut to_ask: mpsc::UnboundedReceiver<Asked>) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    while let Some(Asked { request, answer }) = to_ask.recv().await {
        let reply = match write(&mut to, &request).await {
            Ok(()) => read(&mut from).await,
            Err(error) => Err(error),
        };
        let over = matches!(reply, Err(WatchError::Disconnected));
        // Who asked may have given up.
        let _ = answer.send(reply);
        if over {
            return;
        }
    }
}

async fn write(to: &mut OwnedWriteHalf, request: &Request) -> Result<(), WatchError> {
    let line = format!("{request}\n");
    to.write_all(line.as_bytes()).await.map_err(|_| WatchError::Disconnected)
}

async fn read(from: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Result<Reply, WatchError> {
    let line = next_line(from).await.map_err(|_| WatchError::Disconnected)?;
    Ok(Reply::parse(&line.ok_or(WatchError::Disconnected)?)?)
}

fn unexpected(reply: Reply) -> WatchError {
    match reply {
        Reply::Error { reason } => WatchError::Refused { reason },
        other => BadLine::Unknown { line: other.to_string() }.into(),
    }
}
