//! The end of a program: a list of things, in order, within one limit.
//!
//! Everything of the kit that can be shut down is a `GracefulShutdown`. A list of them goes down one
//! after another: first those who use, then those who are used. One that fails does not keep the
//! others from their turn, and the limit is for all together: what comes after it has passed is
//! dropped without being waited for. Each says what became of it.
//!
//! ```text
//! requests: ended, 0 dropped
//! indexer has ended, and indexer panicked
//! session: ended, 0 dropped
//! runtime: ended, 0 dropped
//! ```

#![allow(clippy::panic, reason = "it shows what becomes of a panic")]

use std::{error::Error, time::Duration};

use futures::executor::block_on;
use sundown::{
    group::TaskGroup,
    runtime::RuntimeOwner,
    session::Session,
    shutdown::{GracefulShutdown, ShutdownError, ShutdownErrorKind, shutdown_in_order},
    task::BackgroundTask,
};

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = RuntimeOwner::builder("runtime").workers(1).start()?;
    let session = Session::new("session")?;
    let client = session.guard(Client)?;

    let requests = TaskGroup::new("requests");
    requests.spawn_on(&runtime.handle()?, "request", |stop| async {
        let _client = client; // goes with the task, wherever that is dropped
        stop.await;
    })?;
    let indexer = BackgroundTask::spawn_on(&runtime.handle()?, "indexer", |stop| async {
        stop.await;
        panic!("the index is broken");
    });

    let in_order: [&dyn GracefulShutdown; 4] = [&requests, &indexer, &session, &runtime];
    // Limits need no runtime: any executor will do, this one or that of the host.
    for result in block_on(shutdown_in_order(in_order, Duration::from_secs(10))) {
        match result {
            Ok(report) => println!("{}: ended, {} dropped", report.component, report.aborted),
            Err(ShutdownError {
                component, kind: ShutdownErrorKind::Panicked(panicked), ..
            }) => {
                println!("{component} has ended, and {} panicked", panicked[0].name);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Something whose destructor needs a runtime, which by then is nobody's concern.
struct Client;

impl Drop for Client {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| {});
    }
}
