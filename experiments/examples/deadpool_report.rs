//! The program of `docs/src/upstream-report.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "as a report shows it")]

use deadpool_runtime_current as deadpool_runtime;
use deadpool_sync_current as deadpool_sync;

// ANCHOR: report
use std::{env, thread};

use deadpool_runtime::Runtime;
use deadpool_sync::SyncWrapper;

struct Connection; // closing one may block
impl Drop for Connection {
    fn drop(&mut self) {
        println!("closed on {:?}", thread::current().name());
    }
}

async fn open() -> SyncWrapper<Connection> {
    SyncWrapper::new(Runtime::Tokio1, || Ok::<_, ()>(Connection)).await.unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let pool = runtime.block_on(async { [open().await, open().await] });
    let handle = runtime.handle().clone();
    match env::args().nth(1).as_deref() {
        Some("outside") => drop(pool), // aborts, although the runtime is alive
        Some("inside") => {
            let _context = handle.enter();
            drop(pool); // clean
        }
        Some("inside-down") => {
            runtime.shutdown_background();
            let _context = handle.enter();
            drop(pool); // clean, although the runtime is down
        }
        _ => panic!("outside, inside or inside-down?"),
    }
}
// ANCHOR_END: report
