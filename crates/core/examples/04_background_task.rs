//! A background task that cannot leak: asked to stop, dropped if that does not help.
//!
//! The usual pattern, a flag, a channel and a join handle behind a lock, answers a second caller too
//! early, blocks workers, and loses its fallback when a shutdown is given up half-way (experiments 41
//! to 43). Here every caller waits for the real end of the task, a shutdown that is dropped loses
//! nothing, a panic comes back as an error, and the last handle aborts whatever still runs.
//!
//! ```text
//! counter: ended by itself, and has counted
//! deaf: the first caller gave up, the second saw the end, 1 aborted
//! broken: broken has ended, and it panicked: out of luck
//! forgotten: its future was dropped with the last handle
//! ```

#![allow(clippy::panic, reason = "it shows what becomes of a panic")]

use std::{error::Error, future::pending, time::Duration};

use sundown::{
    limit::within,
    oneshot,
    shutdown::{ShutdownError, ShutdownErrorKind},
    task::BackgroundTask,
};

const LIMIT: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (confirm, counting) = oneshot::channel();
    let counter = BackgroundTask::spawn("counter", |mut stop| async move {
        let (mut turns, mut confirm) = (0_u64, Some(confirm));
        loop {
            tokio::select! {
                () = &mut stop => break turns,
                () = tokio::task::yield_now() => turns += 1,
            }
            if let Some(confirm) = confirm.take() {
                let _ = confirm.send(());
            }
        }
    })?;
    counting.await?;
    if counter.finish(LIMIT).await?.is_some_and(|turns| turns > 0) {
        println!("counter: ended by itself, and has counted");
    }

    let deaf = BackgroundTask::spawn("deaf", |_stop| pending::<()>())?;
    let other = deaf.clone();
    let given_up = within(BRIEF, deaf.shutdown()).await.is_none();
    let report = other.shutdown_within(BRIEF).await?;
    if given_up && deaf.has_ended() {
        let aborted = report.aborted;
        println!("deaf: the first caller gave up, the second saw the end, {aborted} aborted");
    }

    // The standard library reports the panic on standard error, as it does any other.
    let broken = BackgroundTask::spawn("broken", |stop| async {
        stop.await;
        panic!("out of luck");
    })?;
    match broken.shutdown_within(LIMIT).await {
        Err(ShutdownError { component, kind: ShutdownErrorKind::Panicked(panicked), .. }) => {
            let message = &panicked[0].message;
            println!("broken: {component} has ended, and it panicked: {message}");
        }
        other => return Err(format!("not as expected: {other:?}").into()),
    }

    // What its future owns goes with the future: the sender, and the receiver is told.
    let (confirm, gone) = oneshot::channel::<()>();
    let forgotten = BackgroundTask::spawn("forgotten", |_stop| async {
        let _confirm = confirm;
        pending::<()>().await;
    })?;
    drop(forgotten); // with a warning, for who listens to `tracing`
    if within(LIMIT, gone).await.is_some_and(|answer| answer.is_err()) {
        println!("forgotten: its future was dropped with the last handle");
    }
    Ok(())
}
