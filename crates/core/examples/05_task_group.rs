//! The same for a thousand tasks, or a million.
//!
//! A `JoinSet` aborts its tasks and cannot ask them to stop; a `TaskTracker` asks and cannot abort. A
//! group asks first, aborts near its limit, counts how its tasks ended, and names those that did not.
//!
//! ```text
//! 1001 members, of which 1 is a group
//! uploads: 1 aborted
//! uploads: unlucky panicked: no such bucket
//! connections: 1002 ended, 1 aborted, 1 panicked
//! late: the group has been told to stop and takes no more tasks
//! ```

#![allow(clippy::panic, reason = "it shows what becomes of a panic")]

use std::{error::Error, future::pending, time::Duration};

use sundown::TaskGroup;

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
        // By now the group refuses tasks from outside, but not from a member.
        let _ = stop.spawn("goodbye", |_stop| async {});
    })?;

    // The child first, with a limit of its own. Then everything. That report counts the child's tasks, too.
    let report = uploads.drain(BRIEF).await;
    println!("uploads: {} aborted", report.aborted);
    for unlucky in &report.panicked {
        println!("uploads: {} panicked: {}", unlucky.name, unlucky.message);
    }
    let report = connections.drain(LIMIT).await;
    let (ended, aborted, panicked) = (report.ended, report.aborted, report.panicked.len());
    println!("connections: {ended} ended, {aborted} aborted, {panicked} panicked");
    if let Err(error) = connections.spawn("late", |stop| stop) {
        println!("late: {error}");
    }
    Ok(())
}
