//! A background task that cannot leak: asked to stop, and dropped if that does not help.
//!
//! Every caller waits for the real end of the task. A shutdown that is dropped loses nothing, a panic
//! comes back as an error, and the last handle aborts what still runs. The usual pattern of a flag, a
//! channel and a join handle fails at each of these (experiments 41 to 43).
//!
//! ```text
//! polite: returned 7
//! deaf: the first caller gave up, the second saw the end, 1 aborted
//! `broken` has ended, and it panicked: out of luck
//! forgotten: dropped with its last handle
//! ```

#![allow(clippy::panic, reason = "it shows what becomes of a panic")]

use std::{error::Error, future::pending, time::Duration};

use sundown::{BackgroundTask, ShutdownErrorKind, oneshot, within};

const LIMIT: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let polite = BackgroundTask::spawn("polite", |stop| async {
        stop.await;
        7
    })?;
    println!("polite: returned {}", polite.finish(LIMIT).await?.ok_or("it was aborted")?);

    let deaf = BackgroundTask::spawn("deaf", |_stop| pending::<()>())?;
    let other = deaf.clone();
    assert!(within(BRIEF, deaf.shutdown()).await.is_none(), "the first caller gives up");
    let aborted = other.shutdown_within(BRIEF * 50).await?.aborted;
    println!("deaf: the first caller gave up, the second saw the end, {aborted} aborted");

    // The standard library reports the panic on standard error, like any other.
    let broken = BackgroundTask::spawn("broken", |stop| async {
        stop.await;
        panic!("out of luck");
    })?;
    let Err(error) = broken.shutdown_within(LIMIT).await else {
        return Err("it should not end: it panics".into());
    };
    if let ShutdownErrorKind::Panicked(panicked) = error.kind {
        println!("`{}` has ended, and it panicked: {}", error.component, panicked[0].message);
    }

    // The sender is dropped with the task, and then the receiver is ready.
    let (sender, gone) = oneshot::channel::<()>();
    let forgotten = BackgroundTask::spawn("forgotten", |_stop| async {
        let _sender = sender;
        pending::<()>().await;
    })?;
    drop(forgotten); // with a warning, by `tracing`
    if within(LIMIT, gone).await.is_some_and(|answer| answer.is_err()) {
        println!("forgotten: dropped with its last handle");
    }
    Ok(())
}
