//! Tests that share a client share its runtime, too: the listing of `docs/src/56-static-client.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use http_body_util::Empty;
use hyper::{Uri, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use sundown::{RuntimeCell, RuntimeOwner};

static RUNTIME: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("tests").workers(2));

static CLIENT: LazyLock<Client<HttpConnector, Empty<Bytes>>> =
    LazyLock::new(|| Client::builder(TokioExecutor::new()).build_http());

/// Runs what uses the client on the runtime of all tests.
async fn on_shared<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let task = RUNTIME.get().unwrap().spawn("test", |_stop| work).unwrap();
    task.await.unwrap()
}

#[tokio::test]
async fn the_page_is_there() {
    let status = on_shared(async { CLIENT.get(page("/").await).await.unwrap().status() }).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn another_page_is_not() {
    let status =
        on_shared(async { CLIENT.get(page("/other").await).await.unwrap().status() }).await;
    assert_eq!(status, 404);
}

#[test]
fn a_test_without_a_runtime_of_its_own() {
    let request = async { CLIENT.get(page("/").await).await.unwrap().status() };
    assert_eq!(RUNTIME.get().unwrap().block_on(request).unwrap(), 200);
}

/// A page of a server that runs as long as the tests do.
async fn page(path: &str) -> Uri {
    use axum::{Router, routing::get};
    use tokio::{net::TcpListener, sync::OnceCell};

    static SERVER: OnceCell<std::net::SocketAddr> = OnceCell::const_new();
    let server = SERVER.get_or_init(async || {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Router::new().route("/", get(async || "here"));
        tokio::spawn(async { axum::serve(listener, pages).await });
        address
    });
    format!("http://{}{path}", server.await).parse().unwrap()
}
