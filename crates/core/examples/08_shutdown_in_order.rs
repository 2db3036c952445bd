//! The end of a program: a list of components, in order, within one limit.
//!
//! First those that use others, then those that are used. If one fails, the others still get their turn.
//! The limit is for all of them: what comes after it has passed is dropped and not waited for.
//!
//! ```text
//! requests: ended, 0 dropped
//! `indexer` has ended, and indexer panicked
//! session: ended, 0 dropped
//! runtime: ended, 0 dropped
//! ```

#![allow(clippy::panic, reason = "it shows what becomes of a panic")]

use std::{error::Error, time::Duration};

use futures::executor::block_on;
use sundown::{
    BackgroundTask, GracefulShutdown, RuntimeOwner, Session, ShutdownErrorKind, TaskGroup,
    shutdown_in_order,
};

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = RuntimeOwner::builder("runtime").workers(1).start()?;
    let session = Session::new("session")?;
    let client = session.guard(Client)?;

    let requests = TaskGroup::new("requests");
    requests.spawn_on(&runtime.handle()?, "request", |stop| async {
        let _client = client; // dropped with the task, wherever that is
        stop.await;
    })?;
    let indexer = BackgroundTask::spawn_on(&runtime.handle()?, "indexer", |stop| async {
        stop.await;
        panic!("the index is broken");
    });

    let in_order: [&dyn GracefulShutdown; 4] = [&requests, &indexer, &session, &runtime];
    // Limits need no runtime, so any executor will do.
    for result in block_on(shutdown_in_order(in_order, Duration::from_secs(10))) {
        match result {
            Ok(report) => println!("{}: ended, {} dropped", report.component, report.aborted),
            Err(error) => match error.kind {
                ShutdownErrorKind::Panicked(panicked) => {
                    println!("`{}` has ended, and {} panicked", error.component, panicked[0].name);
                }
                _ => return Err(error.into()),
            },
        }
    }
    Ok(())
}

/// A client whose destructor needs a runtime.
struct Client;

impl Drop for Client {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| {});
    }
}
