//! The events and counts of a shutdown, each behind its feature.
#![cfg(all(not(loom), feature = "metrics", feature = "tracing"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod log;

use std::{future::pending, time::Duration};

use sundown::{
    evidence::Unconfirmed, group::TaskGroup, limit::PLENTY, runtime::RuntimeOwner,
    session::Session, task::BackgroundTask,
};
use tokio::runtime::Builder;

/// The events and counts of some code on a runtime of one thread.
fn observed(code: impl AsyncFnOnce()) -> Vec<String> {
    log::observed("sundown", || Builder::new_current_thread().build().unwrap().block_on(code()))
}

#[test]
fn a_graceful_shutdown_is_an_event_and_a_count() {
    let lines = observed(async || {
        let task = BackgroundTask::spawn("sync", |stop| stop).unwrap();
        let _ = task.shutdown_within(PLENTY).await.unwrap();
    });
    assert_eq!(
        lines,
        [
            r#"DEBUG message=shut down component="sync" outcome="graceful""#,
            "sundown_shutdown_total{component=sync,outcome=graceful} +1",
            "sundown_shutdown_seconds{component=sync} recorded",
        ]
    );
}

#[test]
fn an_abort_and_a_panic_have_outcomes_of_their_own() {
    let lines = observed(async || {
        let group = TaskGroup::new("deaf");
        group.spawn("deaf", |_| pending()).unwrap();
        group.abort();
        let _ = group.drain(PLENTY).await;
        let group = TaskGroup::new("unlucky");
        group.spawn("unlucky", |_| async { panic!("no luck") }).unwrap();
        let _ = group.drain(PLENTY).await;
    });
    let totals: Vec<_> = lines.iter().filter(|line| line.contains("_total")).collect();
    assert_eq!(
        totals,
        [
            "sundown_shutdown_total{component=deaf,outcome=aborted} +1",
            "sundown_shutdown_total{component=unlucky,outcome=panicked} +1",
        ]
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("WARN")).count(), 2, "{lines:?}");
}

#[test]
fn a_task_that_is_dropped_without_a_shutdown_is_named() {
    let lines = observed(async || {
        drop(BackgroundTask::spawn("forgotten", |stop| stop).unwrap());
    });
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with("WARN message=dropped without a shutdown, aborting;"), "{line}");
    assert!(line.contains(r#"component="forgotten""#), "{line}");
    assert!(line.contains("observed/main.rs"), "{line}");
}

#[test]
fn a_task_that_has_ended_is_dropped_silently() {
    let lines = observed(async || {
        let task = BackgroundTask::spawn("short", |_| async {}).unwrap();
        while !task.has_ended() {
            tokio::task::yield_now().await;
        }
        drop(task);
    });
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn the_shutdown_of_a_runtime_is_an_event_and_a_count_and_a_dropped_one_is_named() {
    let lines = observed(async || {
        let owner = RuntimeOwner::builder("matrix").current_thread().start().unwrap();
        drop(owner.spawn("sync", |stop| stop));
        let _ = owner.shutdown(PLENTY).await.unwrap();
        drop(owner);
        let forgotten = RuntimeOwner::builder("forgotten").current_thread().start().unwrap();
        drop(forgotten.spawn("sync", |stop| stop));
        drop(forgotten);
    });
    let [event, total, seconds, dropped] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(event, r#"DEBUG message=shut down component="matrix" outcome="graceful""#);
    assert_eq!(total, "sundown_shutdown_total{component=matrix,outcome=graceful} +1");
    assert_eq!(seconds, "sundown_shutdown_seconds{component=matrix} recorded");
    assert!(dropped.starts_with("WARN message=dropped without a shutdown"), "{dropped}");
    assert!(dropped.contains(r#"component="forgotten""#), "{dropped}");
    assert!(dropped.contains("at_work=1") && dropped.contains("observed/main.rs"), "{dropped}");
}

#[test]
fn a_session_that_closes_is_an_event_and_a_count_and_its_end_is_silent() {
    let lines = observed(async || {
        let session = Session::new("matrix").unwrap();
        drop(session.guard(()).unwrap());
        let _ = session.close(PLENTY).await.unwrap();
    });
    assert_eq!(
        lines,
        [
            r#"DEBUG message=shut down component="matrix" outcome="graceful""#,
            "sundown_shutdown_total{component=matrix,outcome=graceful} +1",
            "sundown_shutdown_seconds{component=matrix} recorded",
        ]
    );
}

#[test]
fn a_session_that_is_held_or_not_confirmed_has_an_outcome_of_its_own() {
    let lines = observed(async || {
        let session = Session::new("held").unwrap();
        let _guard = session.guard(()).unwrap();
        session.close(Duration::ZERO).await.unwrap_err();
        let check = || Err(Unconfirmed::Unavailable("no list".to_owned()));
        let session = Session::builder("blind").evidence(check).start().unwrap();
        session.close(PLENTY).await.unwrap_err();
    });
    let totals: Vec<_> = lines.iter().filter(|line| line.contains("_total")).collect();
    assert_eq!(
        totals,
        [
            "sundown_shutdown_total{component=held,outcome=timed_out} +1",
            "sundown_shutdown_total{component=blind,outcome=unconfirmed} +1",
        ]
    );
}

#[test]
fn a_session_that_is_dropped_unclosed_is_named() {
    let lines = observed(async || {
        let session = Session::new("forgotten").unwrap();
        let _guard = session.guard(()).unwrap();
        drop(session.clone());
        drop(session);
    });
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with("WARN message=dropped without being closed"), "{line}");
    assert!(line.contains(r#"component="forgotten""#) && line.contains("values=1"), "{line}");
    assert!(line.contains("observed/main.rs"), "{line}");
}
