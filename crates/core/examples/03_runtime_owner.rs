//! A runtime that somebody owns, and a shutdown that can be believed.
//!
//! `Runtime::shutdown_timeout` does not say whether it was long enough, `shutdown_background` waits
//! for nothing, and dropping a `Runtime` in async code panics (experiments 09 and 10). A
//! `RuntimeOwner` keeps its runtime on a thread of its own: `shutdown` returns what has ended and
//! how, or what has not and by which name; it can be called again; and dropping the owner never
//! blocks. Three shutdowns: one of a task that heeds its signal and one that is deaf to it, one that
//! blocking work holds up, and one in async code.
//!
//! ```text
//! sync said: everything is written
//! deaf was dropped: whatever it should have said will not come
//! 1 task had to be dropped
//! generation 2: not ended within 100ms, 1 thread still at work
//! generation 2: ended, asked again
//! generation 3: ended, awaited on another runtime
//! ```

use std::{error::Error, future::pending, sync::mpsc, time::Duration};

use sundown::{
    runtime::RuntimeOwner,
    shutdown::{ShutdownError, ShutdownErrorKind},
};
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let owner = RuntimeOwner::builder("client").workers(2).limit(LIMIT).start()?;

    // Spawned through the owner, a task has a name, a signal, and an answer.
    let mut synced = owner.spawn("sync", |stop| async {
        stop.await;
        "everything is written"
    })?;
    let mut deaf = owner.spawn("deaf", |_stop| pending::<()>())?;
    // The deaf task is dropped when this limit comes near: there is no need to wait for long.
    let report = owner.shutdown_blocking(BRIEF)?;
    println!("sync said: {}", synced.wait_blocking(LIMIT)?);
    if deaf.wait_blocking(LIMIT).is_err() {
        println!("deaf was dropped: whatever it should have said will not come");
    }
    println!("{} task had to be dropped", report.aborted);

    owner.restart()?;
    // A query that is not to be interrupted.
    let (finish, is_to_finish) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    owner.handle()?.spawn_blocking(move || {
        let _ = started.send(());
        let _ = is_to_finish.recv();
    });
    has_started.recv()?;
    match owner.shutdown_blocking(BRIEF) {
        Err(ShutdownError { kind: ShutdownErrorKind::TimedOut, alive, .. }) => {
            let threads = alive.threads.len();
            println!("generation 2: not ended within {BRIEF:?}, {threads} thread still at work");
        }
        other => return Err(format!("not as expected: {other:?}").into()),
    }
    drop(finish);
    let _ = owner.shutdown_blocking(None)?; // waits on, within the builder's limit
    println!("generation 2: ended, asked again");

    owner.restart()?;
    Runtime::new()?.block_on(async {
        let _ = owner.shutdown(LIMIT).await?;
        println!("generation {}: ended, awaited on another runtime", owner.stats().generation);
        drop(owner); // a `Runtime` would panic here
        Ok(())
    })
}
