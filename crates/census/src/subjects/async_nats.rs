//! async-nats, with a server that counts what is published.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_nats::Client;
use lab::TrialResult;

use crate::{
    server,
    subject::{Card, Subject},
};

static PUBLISHED: AtomicUsize = AtomicUsize::new(0);

/// What a client of NATS needs to hear.
fn nats(mut stream: TcpStream) -> io::Result<()> {
    const INFO: &[u8] = b"INFO {\"server_id\":\"census\",\"server_name\":\"census\",\"version\":\"2.12.0\",\"proto\":1,\"max_payload\":1048576,\"headers\":true,\"host\":\"127.0.0.1\",\"port\":4222,\"go\":\"\",\"client_id\":1}\r\n";
    stream.write_all(INFO)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.split_whitespace().next() {
            Some("PING") => stream.write_all(b"PONG\r\n")?,
            Some("PUB") => {
                PUBLISHED.fetch_add(1, Ordering::SeqCst);
                lines.read_line(&mut line)?;
            }
            _ => {}
        }
    }
}

struct OfClient;

impl Subject for OfClient {
    type Live = Client;

    const CODE: &'static str = "async-nats-client";
    const PACKAGE: &'static str = "async-nats";
    const VALUE: &'static str = "a `Client`";
    const CALL: &'static str = "a message is published, and flushed";
    const CLOSE: Result<&'static str, &'static str> = Ok("Client::drain");
    const ACCEPTS: Result<&'static str, &'static str> = Ok("messages, which a task sends");

    async fn live() -> TrialResult<Self::Live> {
        Ok(async_nats::connect(server::serve(nats)?.to_string()).await?)
    }

    async fn call(client: &mut Self::Live) -> TrialResult {
        client.publish("a", "row".into()).await?;
        Ok(client.flush().await?)
    }

    async fn close(client: &mut Self::Live) -> TrialResult {
        Ok(client.drain().await?)
    }

    async fn accept(client: &mut Self::Live) -> TrialResult {
        Ok(client.publish("a", "row".into()).await?)
    }

    fn arrived() -> usize {
        PUBLISHED.load(Ordering::SeqCst)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfClient>(file!())]
}
