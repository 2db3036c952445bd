//! The client: tasks that the caller does not see drive its connections.

use std::{fmt, io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
};

/// A client. Clones share one connection. A task on the runtime drives it, and ends when the last clone
/// is dropped. Operations may be in flight side by side: they are answered in order.
///
/// ```
/// use mock_sdk::watch::{WatchClient, WatchServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = WatchServer::start()?;
/// let client = WatchClient::connect(server.address()).await?;
/// let mut watch = client.watch("key").await?;
/// assert_eq!(client.put("key", "value").await?, 1);
/// assert_eq!(watch.next().await.as_deref(), Some("value"));
/// server.stop();
/// assert!(client.put("key", "value").await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WatchClient {
    address: SocketAddr,
    requests: mpsc::UnboundedSender<Request>,
}

struct Request {
    line: String,
    answer: oneshot::Sender<io::Result<u64>>,
}

/// A watch of one key, on a connection of its own. Ends when it is dropped.
#[derive(Debug)]
pub struct Watch(mpsc::UnboundedReceiver<String>);

/// A connection.
struct Connection {
    reader: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl WatchClient {
    /// Connects. Must be called in the context of a Tokio runtime with its I/O driver enabled, which
    /// then drives the connection.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut connection = Connection::open(address).await?;
        let (requests, mut receiver) = mpsc::unbounded_channel::<Request>();
        tokio::spawn(async move {
            while let Some(Request { line, answer }) = receiver.recv().await {
                let answered = connection.ask(&line).await;
                let over = answered.is_err();
                // The caller may have given up.
                let _ = answer.send(answered);
                if over {
                    return;
                }
            }
        });
        Ok(Self { address, requests })
    }

    /// Sets a key, and returns the number of the change.
    ///
    /// # Errors
    ///
    /// If the connection, or the runtime that drives it, has ended: the key may have been set then.
    pub async fn put(&self, key: &str, value: &str) -> io::Result<u64> {
        let (answer, answered) = oneshot::channel();
        let request = Request { line: format!("PUT {key} {value}\n"), answer };
        self.requests.send(request).map_err(|_| disconnected())?;
        answered.await.map_err(|_| disconnected())?
    }

    /// Watches a key: the watch receives the value of every later put, in order.
    ///
    /// # Errors
    ///
    /// As [`WatchClient::connect`], and if the connection ends before the server has answered.
    pub async fn watch(&self, key: &str) -> io::Result<Watch> {
        let mut connection = Connection::open(self.address).await?;
        connection.ask(&format!("WATCH {key}\n")).await?;
        let Connection { mut reader, writer } = connection;
        let (sender, changes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Dropped, it would tell the server that the client is gone.
            let _writer = writer;
            loop {
                tokio::select! {
                    value = reader.next_line() => match value {
                        Ok(Some(value)) => drop(sender.send(value)),
                        _ => return,
                    },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Watch(changes))
    }
}

impl Watch {
    /// The next value. `None` when the connection, or the runtime that drives it, has ended. Dropping
    /// the future loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let (reader, writer) = TcpStream::connect(address).await?.into_split();
        Ok(Self { reader: BufReader::new(reader).lines(), writer })
    }

    /// Sends a line, and returns the revision in the answer.
    async fn ask(&mut self, line: &str) -> io::Result<u64> {
        self.writer.write_all(line.as_bytes()).await?;
        let answer = self.reader.next_line().await?.ok_or_else(disconnected)?;
        let revision = answer.strip_prefix("OK ").and_then(|revision| revision.parse().ok());
        revision.ok_or_else(|| io::Error::other(format!("the server answered `{answer}`")))
    }
}

fn disconnected() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the connection ended before an answer came; connect again",
    )
}

impl fmt::Debug for WatchClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchClient").field("address", &self.address).finish_non_exhaustive()
    }
}
