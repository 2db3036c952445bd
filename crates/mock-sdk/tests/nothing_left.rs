//! A whole life of server, runtime and client leaves the process as it was. Alone in its binary,
//! because it counts all threads and all descriptors of the process.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use mock_sdk::{
    client::Client,
    homeserver::{Endpoint, Fault, Homeserver},
    store::Generation,
    sync::SyncService,
};
use sundown::evidence::open_files;
use tokio::runtime::Builder;

#[derive(Debug, PartialEq)]
struct Census {
    threads: usize,
    descriptors: usize,
}

fn census() -> Census {
    let count = |directory: &str| fs::read_dir(directory).unwrap().count();
    Census { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
}

/// Waits for a census to come out so. A thread that was joined is listed a moment longer.
fn comes_to(expected: &Census) {
    let began = Instant::now();
    while census() != *expected && began.elapsed() < Duration::from_secs(30) {
        thread::yield_now();
    }
    assert_eq!(census(), *expected);
}

fn life(generation: Generation) {
    let directory = tempfile::tempdir().unwrap();
    let server = Homeserver::start().unwrap();
    server.add_user("me", "secret");
    server.add_room("!a:example.org", "A room");
    server.fail_next(Endpoint::Versions, Fault::never());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let builder = Client::builder(&server.url(), directory.path()).generation(generation);
        let client = builder.build().await.unwrap();
        client.matrix_auth().login("me", "secret").await.unwrap();
        let sync = SyncService::new(client.clone());
        sync.start().unwrap();
        server.until(|server| server.count(Endpoint::Sync) == 2).await;
        let room = client.room("!a:example.org").await.unwrap().unwrap();
        room.send("hello").await.unwrap();
        server.until(|server| server.messages("!a:example.org").len() == 1).await;
        // In the midst of life there is more of everything.
        assert!(!open_files(directory.path()).unwrap().is_empty());
        sync.stop().await;
        client.matrix_auth().logout().await.unwrap();
        client.close().await.unwrap();
        assert!(open_files(directory.path()).unwrap().is_empty());
    });
    drop(runtime);
    assert!(server.tokens().is_empty());
    server.stop();
}

#[test]
fn a_proper_end_leaves_no_thread_and_no_descriptor() {
    // The first time starts what is started once in a process.
    life(Generation::Old);
    let before = census();
    for generation in [Generation::ALL; 5].into_iter().flatten() {
        life(generation);
        comes_to(&before);
    }
    // And the census sees what is left.
    let server = Homeserver::start().unwrap();
    let now = census();
    assert!(now.threads > before.threads && now.descriptors > before.descriptors, "{now:?}");
    server.stop();
    comes_to(&before);
}
