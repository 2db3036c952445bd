//! A server of axum with a graceful shutdown.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use axum::{Router, routing::get};
use lab::TrialResult;
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    question::Question,
    subject::{Card, Subject},
};

struct Served {
    stop: Arc<Notify>,
    task: JoinHandle<std::io::Result<()>>,
    address: SocketAddr,
}

struct OfServer;

impl Subject for OfServer {
    type Live = Served;

    const CODE: &'static str = "axum-server";
    const PACKAGE: &'static str = "axum";
    const VALUE: &'static str = "the `JoinHandle` of a task that runs `axum::serve` with a graceful shutdown, and the sender of its signal";
    const CALL: &'static str = "a GET request to it from a thread, and its answer";
    const CLOSE: Result<&'static str, &'static str> =
        Ok("the signal of `with_graceful_shutdown`, and then the end of the task");
    const CLOSES_ONCE: Option<&'static str> = Some("the end of a task can be awaited once");
    const NOT_ASKED: &'static [(Question, &'static str)] =
        &[(Question::Fork, "the child would be a client, and the parent serves it")];

    async fn live() -> TrialResult<Self::Live> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stop) = (listener.local_addr()?, Arc::new(Notify::new()));
        let stopped = Arc::clone(&stop);
        let router = Router::new().route("/", get(|| async { "a row" }));
        let serve = axum::serve(listener, router);
        let serve = serve.with_graceful_shutdown(async move { stopped.notified().await });
        Ok(Served { stop, task: tokio::spawn(serve.into_future()), address })
    }

    async fn call(served: &mut Self::Live) -> TrialResult {
        let address = served.address;
        let answer = spawn_blocking(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        match answer.await??.contains("a row") {
            true => Ok(()),
            false => Err("the answer is not a row".into()),
        }
    }

    async fn close(served: &mut Self::Live) -> TrialResult {
        served.stop.notify_one();
        Ok((&mut served.task).await??)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfServer>(file!())]
}
