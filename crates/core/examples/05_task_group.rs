//! The same for a thousand tasks, or a million.
//!
//! A `JoinSet` aborts its tasks and cannot ask them; a `TaskTracker` asks and cannot abort. A group
//! asks first, aborts near its limit, counts who ended how, and names who did not. A group can have
//! child groups, which stop with it; a member can bring members of its own while the group drains.
//!
//! ```text
//! 1001 members, of which 1 is a group
//! drained: 1002 ended, 0 aborted, 0 panicked
//! uploads: 1 aborted
//! uploads: unlucky panicked: no such bucket
//! late: the group has been told to stop and takes no more tasks
//! ```

#![allow(clippy::panic, reason = "it shows what becomes of a panic")]

use std::{error::Error, future::pending, time::Duration};

use sundown::group::TaskGroup;

const LIMIT: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let connections = TaskGroup::new("connections");
    for _ in 0..1000 {
        connections.spawn("connection", |stop| stop)?;
    }
    let uploads = connections.child("uploads")?;
    println!("{} members, of which 1 is a group", connections.len());

    // One never ends, one panics, and one has something left to do when it is told to stop.
    uploads.spawn("stuck", |_stop| pending())?;
    uploads.spawn("unlucky", |stop| async {
        stop.await;
        panic!("no such bucket");
    })?;
    connections.spawn("polite", |stop| async move {
        stop.clone().await;
        // Refused to strangers by now, and not to a member.
        let _ = stop.spawn("goodbye", |_stop| async {});
    })?;

    // The child first, with a limit of its own; then all that is left.
    let of_uploads = uploads.drain(BRIEF).await;
    let report = connections.drain(LIMIT).await;
    println!(
        "drained: {} ended, {} aborted, {} panicked",
        report.ended,
        report.aborted,
        report.panicked.len()
    );
    println!("uploads: {} aborted", of_uploads.aborted);
    for unlucky in &of_uploads.panicked {
        println!("uploads: {} panicked: {}", unlucky.name, unlucky.message);
    }
    if let Err(error) = connections.spawn("late", |stop| stop) {
        println!("late: {error}");
    }
    Ok(())
}
