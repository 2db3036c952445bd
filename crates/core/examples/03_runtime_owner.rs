//! A runtime with an owner, and a shutdown that you can trust.
//!
//! `Runtime::shutdown_timeout` does not say whether it was long enough, `shutdown_background` waits for
//! nothing, and dropping a `Runtime` in async code panics (experiments 09, 10). The shutdown of a
//! `RuntimeOwner` reports what has ended and how, or what has not. It can be called again, and dropping
//! the owner never blocks.
//!
//! ```text
//! sync: everything is written
//! 1 task had to be dropped
//! not ended within 100ms, 1 thread still at work
//! ended, asked again
//! ```

use std::{error::Error, future::pending, sync::mpsc, time::Duration};

use sundown::{RuntimeOwner, ShutdownErrorKind};

const LIMIT: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let owner = RuntimeOwner::builder("client").workers(2).limit(LIMIT).start()?;
    // A task that is spawned through the owner has a name, a signal, and an answer.
    let mut synced = owner.spawn("sync", |stop| async {
        stop.await;
        "everything is written"
    })?;
    drop(owner.spawn("ignores its signal", |_stop| pending::<()>())?);
    let report = owner.shutdown_blocking(BRIEF * 10)?;
    println!("sync: {}", synced.wait_blocking(LIMIT)?);
    println!("{} task had to be dropped", report.aborted);

    owner.restart()?;
    // A query that must not be interrupted.
    let (finish, is_to_finish) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    owner.handle()?.spawn_blocking(move || {
        let _ = started.send(());
        let _ = is_to_finish.recv();
    });
    has_started.recv()?;
    let Err(error) = owner.shutdown_blocking(BRIEF) else {
        return Err("it should not end: the query runs".into());
    };
    if let ShutdownErrorKind::TimedOut = error.kind {
        let threads = error.alive.threads.len();
        println!("not ended within {BRIEF:?}, {threads} thread still at work");
    }
    drop(finish);
    let report = owner.shutdown_blocking(None)?; // keeps waiting, within the builder's limit
    println!("ended, asked again");
    assert_eq!(report.aborted, 0);
    Ok(())
}
