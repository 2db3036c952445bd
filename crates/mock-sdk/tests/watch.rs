//! The watch server and its client, over real TCP.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use mock_sdk::watch::{BadLine, Change, WatchClient, WatchError, WatchServer};
use tokio::{runtime::Builder, task::JoinSet, time::timeout};

const PLENTY: Duration = Duration::from_secs(30);

async fn connected() -> (WatchServer, WatchClient) {
    let server = WatchServer::start().unwrap();
    let client = WatchClient::connect(server.address()).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn what_was_put_is_got_and_told_to_those_who_watch_it() {
    let (server, client) = connected().await;
    assert_eq!(client.get("a").await.unwrap(), None);
    assert_eq!(client.put("a", "before").await.unwrap(), 1);
    let mut watch = client.watch("a").await.unwrap();
    assert_eq!(watch.key(), "a");
    client.put("b", "elsewhere").await.unwrap();
    client.put("a", "one").await.unwrap();
    client.put("a", "").await.unwrap();
    let change = |revision, value: &str| Change { revision, value: value.to_owned() };
    assert_eq!(client.get("a").await.unwrap(), Some(change(4, "")));
    assert_eq!(timeout(PLENTY, watch.next()).await.unwrap(), Some(change(3, "one")));
    assert_eq!(timeout(PLENTY, watch.next()).await.unwrap(), Some(change(4, "")));
    server.stop();
}

#[tokio::test]
async fn fifty_puts_at_once_and_three_watches_lose_nothing() {
    let (server, client) = connected().await;
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(client.watch("key").await.unwrap());
    }
    assert_eq!(server.watches(), 3);
    let mut puts = JoinSet::new();
    for number in 0..50 {
        let client = client.clone();
        puts.spawn(async move { client.put("key", &number.to_string()).await.unwrap() });
    }
    let mut revisions = puts.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=50).collect::<Vec<u64>>());
    for watch in &mut watches {
        for revision in 1..=50 {
            assert_eq!(timeout(PLENTY, watch.next()).await.unwrap().unwrap().revision, revision);
        }
    }
    assert_eq!(server.puts(), 50);
}

#[tokio::test]
async fn a_watch_that_is_dropped_is_over_on_the_server_too() {
    let (server, client) = connected().await;
    let watch = client.watch("key").await.unwrap();
    assert_eq!(server.watches(), 1);
    drop(watch);
    timeout(PLENTY, server.until(|server| server.watches() == 0)).await.unwrap();
}

#[test]
fn when_the_clients_runtime_goes_its_watches_and_its_operations_end() {
    let server = WatchServer::start().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build().unwrap();
    let (client, mut watch) = runtime.block_on(async {
        let client = WatchClient::connect(server.address()).await.unwrap();
        let watch = client.watch("key").await.unwrap();
        (client, watch)
    });
    runtime.shutdown_background();
    let other = Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        assert_eq!(timeout(PLENTY, watch.next()).await.unwrap(), None);
        let put = timeout(PLENTY, client.put("key", "value")).await.unwrap();
        assert!(matches!(put, Err(WatchError::Disconnected)), "{put:?}");
        timeout(PLENTY, server.until(|server| server.watches() == 0)).await.unwrap();
    });
    server.stop();
}

#[tokio::test]
async fn a_server_that_ends_ends_what_waits_for_it() {
    let (server, client) = connected().await;
    let mut watch = client.watch("key").await.unwrap();
    let address = server.address();
    server.stop();
    assert_eq!(timeout(PLENTY, watch.next()).await.unwrap(), None);
    assert!(matches!(client.put("key", "value").await, Err(WatchError::Disconnected)));
    assert!(matches!(client.get("key").await, Err(WatchError::Disconnected)));
    let refused = WatchClient::connect(address).await.unwrap_err();
    assert!(refused.to_string().contains(&address.to_string()), "{refused}");
}

#[tokio::test]
async fn what_the_protocol_cannot_say_is_refused_before_it_is_sent() {
    let (server, client) = connected().await;
    for (key, value) in [("two words", "value"), ("", "value"), ("key", "two\nlines")] {
        let refused = client.put(key, value).await;
        assert!(
            matches!(refused, Err(WatchError::BadLine(BadLine::NotOne { .. }))),
            "{key:?} {value:?}: {refused:?}"
        );
    }
    assert!(client.watch("two words").await.is_err());
    assert_eq!((server.puts(), server.watches()), (0, 0));
    client.put("key", "the client is as good as before").await.unwrap();
}

#[test]
fn the_server_answers_nonsense_with_an_error_and_hangs_up_on_a_line_without_end() {
    let server = WatchServer::start().unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    stream.write_all(b"HELLO\nPUT key value\r\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ERROR \"HELLO\" is no line of the protocol");
    assert_eq!(lines.next().unwrap().unwrap(), "OK 1");
    let _ = stream.write_all(&vec![b'x'; 200_000]);
    assert!(matches!(lines.next(), None | Some(Err(_))));
    // And goes on for everybody else.
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let client = runtime.block_on(WatchClient::connect(server.address())).unwrap();
    assert_eq!(runtime.block_on(client.get("key")).unwrap().unwrap().value, "value");
    server.stop();
}
