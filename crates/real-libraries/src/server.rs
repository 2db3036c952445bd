//! A web server on plain threads: two pages, and a collector of spans.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::PLENTY;

/// How long it works on `/slow`.
const WORK: Duration = Duration::from_millis(100);

/// A server on loopback. Its threads end with the process.
pub struct Server {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    /// Receives when a request for `/slow` has begun.
    begun: Mutex<mpsc::Receiver<()>>,
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
        let (begins, begun) = mpsc::channel();
        let counting = Arc::clone(&counts);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                let (counts, begins) = (Arc::clone(&counting), begins.clone());
                // The client may close the connection at any time.
                thread::spawn(move || serve(connection, &counts, &begins).ok());
            }
        });
        Ok(Self { address, counts, begun: Mutex::new(begun) })
    }

    /// The address of a page.
    pub fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until a request for `/slow` has begun.
    pub fn wait_until_slow(&self) -> Result<()> {
        let begun = self.begun.lock().map_err(|_| anyhow::anyhow!("a test panicked"))?;
        begun.recv_timeout(PLENTY).context("no slow request has begun")
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
fn serve(connection: TcpStream, counts: &Counts, begins: &mpsc::Sender<()>) -> Result<()> {
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
                begins.send(())?;
                thread::sleep(WORK);
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
