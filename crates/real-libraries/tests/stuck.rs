//! Where a task waits that a library keeps waiting: the report names the line of the program's own `.await`, and not one of
//! the library. The kit's own test has the futures of Tokio and of futures.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, time::Duration};

use reqwest::Client;
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use sundown::{TaskGroup, stuck};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// Longer than the test.
const LONG: Duration = Duration::from_secs(3600);

/// Reads a request, answers with a part of what it promises, or with nothing, and keeps the connection.
async fn server(part: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = connection.read(&mut [0; 1024]).await;
        connection.write_all(part.as_bytes()).await.unwrap();
        std::future::pending::<TcpStream>().await;
    });
    format!("http://{address}/")
}

/// The environment may have a proxy.
fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn reqwest_response(waits: oneshot::Sender<()>) {
    let url = server("").await;
    waits.send(()).unwrap();
    let _ = client().get(url).send().await; // reqwest_response
}

async fn reqwest_body(waits: oneshot::Sender<()>) {
    let url = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let response = client().get(url).send().await.unwrap();
    waits.send(()).unwrap();
    let _ = response.text().await; // reqwest_body
}

fn options(file: PathBuf) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(file).create_if_missing(true).busy_timeout(LONG)
}

async fn sqlx_query(waits: oneshot::Sender<()>) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = options(folder.join(format!("stuck-{}.db", std::process::id())));
    let mut one = SqliteConnection::connect_with(&file).await.unwrap();
    sqlx::query("begin exclusive").execute(&mut one).await.unwrap();
    let mut other = SqliteConnection::connect_with(&file).await.unwrap();
    waits.send(()).unwrap();
    let _ = sqlx::query("select * from sqlite_schema").fetch_all(&mut other).await; // sqlx_query
}

async fn sqlx_pool(waits: oneshot::Sender<()>) {
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(LONG);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let _held = pool.acquire().await.unwrap();
    waits.send(()).unwrap();
    let _ = sqlx::query("select 1").execute(&pool).await; // sqlx_pool
}

/// The place of the line with this mark.
fn place(mark: &str) -> String {
    let marked = |line: &str| line.ends_with(&format!("// {mark}"));
    let at = include_str!("stuck.rs").lines().position(marked).unwrap();
    format!("tests/stuck.rs:{}:", at + 1)
}

#[tokio::test]
async fn the_report_names_the_line_that_waits_for_a_library() {
    stuck::note_awaits(true);
    let group = TaskGroup::new("libraries");
    macro_rules! spawn {
        ($($name:ident)*) => { [$({
            let (sender, waits) = oneshot::channel();
            group.spawn(stringify!($name), |_| $name(sender)).unwrap();
            waits.await.unwrap();
            stringify!($name)
        }),*] };
    }
    let tasks = spawn!(reqwest_response reqwest_body sqlx_query sqlx_pool);
    // Until then a task may still be a poll away from its `.await`, which is the same line.
    let mut report = group.drain(Duration::from_millis(300)).await;
    while !group.is_empty() {
        report = group.drain(Duration::from_millis(300)).await;
    }
    let wrong: Vec<_> = tasks
        .into_iter()
        .filter(|name| {
            let task = report.aborted_tasks.iter().find(|task| task.name == *name);
            let places = task.and_then(|task| task.awaits.as_ref()).map(|it| it.places());
            !places.is_some_and(|it| matches!(it, [only] if only.contains(&place(name))))
        })
        .collect();
    println!("{} of {} right", tasks.len() - wrong.len(), tasks.len());
    assert!(wrong.is_empty(), "{wrong:?}: {report}");
}
