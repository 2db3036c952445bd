//! async-nats, with a real server and a subscriber that counts what it delivers.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use async_nats::Client;
use lab::{TrialResult, server::Kind};

use crate::{
    look, real,
    subject::{Card, Subject},
};

static DELIVERED: AtomicUsize = AtomicUsize::new(0);

/// The subject of this trial's messages: others run at the same time, with the same server.
fn subject() -> String {
    format!("census.{}", process::id())
}

/// Subscribes, without the crate that is asked, and counts what comes. The server knows the subscription when this
/// returns.
fn subscribe() -> TrialResult {
    let mut stream = TcpStream::connect(real::address(Kind::Nats)?)?;
    look::exclude(stream.local_addr()?.port());
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = format!("CONNECT {{\"verbose\":false}}\r\nSUB {} 1\r\nPING\r\n", subject());
    stream.write_all(request.as_bytes())?;
    while lines.next().ok_or("nats-server ends the subscription")?? != "PONG" {}
    thread::Builder::new().name(look::OWN.to_owned()).spawn(move || {
        for line in lines.map_while(Result::ok) {
            match line.split(' ').next() {
                Some("MSG") => drop(DELIVERED.fetch_add(1, Ordering::SeqCst)),
                Some("PING") => drop(stream.write_all(b"PONG\r\n")),
                _ => {}
            }
        }
    })?;
    Ok(())
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
        subscribe()?;
        Ok(async_nats::connect(real::address(Kind::Nats)?.to_string()).await?)
    }

    async fn call(client: &mut Self::Live) -> TrialResult {
        client.publish(subject(), "row".into()).await?;
        Ok(client.flush().await?)
    }

    async fn close(client: &mut Self::Live) -> TrialResult {
        Ok(client.drain().await?)
    }

    async fn accept(client: &mut Self::Live) -> TrialResult {
        Ok(client.publish(subject(), "row".into()).await?)
    }

    fn arrived() -> usize {
        DELIVERED.load(Ordering::SeqCst)
    }
}

pub fn cards() -> Vec<Card> {
    vec![real::with(Kind::Nats, Card::of::<OfClient>(file!()))]
}
