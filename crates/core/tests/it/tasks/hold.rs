//! Members of a group that are not tasks.

use std::{thread, time::Duration};

use sundown::{SpawnError, group::TaskGroup};

use crate::fixtures::{PLENTY, SHORT, current_thread};

#[test]
fn a_group_waits_for_what_is_held_and_counts_it_as_ended() {
    let group = TaskGroup::new("requests");
    let (held, other) = (group.hold("GET /a").unwrap(), group.hold("GET /b").unwrap());
    drop(other);
    assert_eq!(group.len(), 1);
    let lets_go = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        drop(held);
    });
    let report = group.drain_blocking(PLENTY);
    assert_eq!((report.ended, report.aborted, report.still_running.len()), (2, 0, 0));
    lets_go.join().unwrap();
}

#[test]
fn what_is_held_cannot_be_aborted_and_is_named() {
    let group = TaskGroup::new("requests");
    let held = group.hold("GET /events").unwrap();
    let report = group.drain_blocking(SHORT);
    assert_eq!((report.still_running.len(), &*report.still_running[0].name), (1, "GET /events"));
    assert!(report.into_result().is_err());
    drop(held);
    let report = group.drain_blocking(PLENTY);
    // It was asked to stop, and has not ended before the abort.
    assert_eq!((report.ended, report.aborted, report.still_running.len()), (0, 1, 0));
    assert_eq!(report.aborted_tasks[0].name, "GET /events");
}

#[test]
fn a_group_that_stops_lets_only_its_members_hold_a_place() {
    let runtime = current_thread();
    let group = TaskGroup::new("requests");
    let member = |stop: sundown::Stop| async move {
        let mut told = stop.clone();
        (&mut told).await;
        drop(stop.hold("GET /late").unwrap());
    };
    group.spawn_on(runtime.handle(), "member", member).unwrap();
    let signal = group.stop_signal();
    group.stop();
    assert_eq!(group.hold("GET /refused").unwrap_err(), SpawnError::Stopped);
    let report = runtime.block_on(group.drain(PLENTY));
    assert_eq!((report.ended, report.refused), (2, 1));
    assert_eq!(signal.hold("GET /too-late").unwrap_err(), SpawnError::Stopped);
}
