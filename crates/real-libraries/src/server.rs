//! A web server on plain threads: two pages, and a collector of spans.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Result;
use serde_json::Value;
use tokio::sync::Notify;

/// A server on loopback. Its threads end with the process.
pub struct Server {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    slow: Arc<Slow>,
}

/// The request for `/slow`.
struct Slow {
    has_begun: Notify,
    /// The server waits here with its answer.
    may_end: Barrier,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    spans: AtomicUsize,
}

impl Server {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, counts) = (listener.local_addr()?, Arc::<Counts>::default());
        let slow = Arc::new(Slow { has_begun: Notify::new(), may_end: Barrier::new(2) });
        let (counting, slowly) = (Arc::clone(&counts), Arc::clone(&slow));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                let (counts, slow) = (Arc::clone(&counting), Arc::clone(&slowly));
                // The client may close the connection at any time.
                thread::spawn(move || serve(connection, &counts, &slow).ok());
            }
        });
        Ok(Self { address, counts, slow })
    }

    /// The address of a page.
    pub fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until a request for `/slow` has begun.
    pub async fn slow_has_begun(&self) {
        self.slow.has_begun.notified().await;
    }

    /// Lets it be answered.
    pub fn answer_slow(&self) {
        self.slow.may_end.wait();
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// How many spans it was sent.
    pub fn spans(&self) -> usize {
        self.counts.spans.load(Ordering::SeqCst)
    }
}

/// Answers the requests of a connection until that ends.
fn serve(connection: TcpStream, counts: &Counts, slow: &Slow) -> Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        line.clear();
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        match &*path {
            "/slow" => {
                slow.has_begun.notify_one();
                slow.may_end.wait();
            }
            "/v1/traces" => {
                let spans = count_spans(&serde_json::from_slice(&body)?);
                counts.spans.fetch_add(spans, Ordering::SeqCst);
            }
            _ => {}
        }
        writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        )?;
    }
    Ok(())
}

/// How many spans are in an export of the OpenTelemetry protocol.
fn count_spans(value: &Value) -> usize {
    match value {
        Value::Object(fields) if fields.contains_key("spanId") => 1,
        Value::Object(fields) => fields.values().map(count_spans).sum(),
        Value::Array(items) => items.iter().map(count_spans).sum(),
        _ => 0,
    }
}
