//! Background tasks and groups, on real runtimes of both flavours. Nothing here waits by sleeping.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod both;
mod group;
mod signal;
mod task;
mod told;

use std::{
    future::pending,
    time::{Duration, Instant},
};

use sundown::stop::Stop;
use tokio::runtime::Builder;
use told::{Told, told};

/// Far longer than anything here takes, on a machine that may be busy.
const PLENTY: Duration = Duration::from_secs(60);

/// So short that what does not listen is told to abort. Whether the abort takes effect within the
/// limit is up to the machine; that it takes effect is not.
const SHORT: Duration = Duration::from_millis(20);

fn both_flavours(test: impl AsyncFn()) {
    Builder::new_current_thread().build().unwrap().block_on(test());
    // The test itself runs on the calling thread, and what it spawns on the workers.
    Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(test());
}

/// A task that does not listen to its signal, and owns something.
async fn deaf(_stop: Stop, _owned: Told) {
    pending::<()>().await;
}

async fn until_yielding(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PLENTY);
        tokio::task::yield_now().await;
    }
}
