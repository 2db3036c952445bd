//! The events and counts of a shutdown, each behind its feature.
#![cfg(all(not(loom), feature = "metrics", feature = "tracing"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod log;

use std::{future::pending, sync::Arc, time::Duration};

use sundown::{
    evidence::Unconfirmed, group::TaskGroup, latch::Latch, limit::PLENTY, runtime::RuntimeOwner,
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

/// The keys of the last shutdown are used again, and only for the same.
#[test]
fn each_shutdown_is_counted_under_its_own_component_and_outcome() {
    let shutdowns =
        [("one", false), ("one", false), ("one", true), ("other", true), ("one", false)];
    let lines = observed(async || {
        for (name, panics) in shutdowns {
            let group = TaskGroup::new(name.to_owned());
            group.spawn("task", move |_| async move { assert!(!panics) }).unwrap();
            let _ = group.drain(PLENTY).await;
        }
    });
    let counted: Vec<_> = lines.iter().filter(|line| line.starts_with("sundown_")).collect();
    let expected = shutdowns.iter().flat_map(|(name, panics)| {
        let outcome = if *panics { "panicked" } else { "graceful" };
        [
            format!("sundown_shutdown_total{{component={name},outcome={outcome}}} +1"),
            format!("sundown_shutdown_seconds{{component={name}}} recorded"),
        ]
    });
    assert!(counted.into_iter().eq(&expected.collect::<Vec<_>>()), "{lines:?}");
}

#[test]
fn tasks_that_are_dropped_without_a_shutdown_are_named() {
    let lines = observed(async || {
        drop(BackgroundTask::spawn("forgotten", |stop| stop).unwrap());
        let group = TaskGroup::new("forgotten");
        group.spawn("member", |stop| stop).unwrap();
        drop(group);
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(line.starts_with("WARN message=dropped without a shutdown, aborting;"), "{line}");
        assert!(line.contains(r#"component="forgotten""#), "{line}");
        assert!(line.contains("observed/main.rs"), "{line}");
    }
}

#[test]
fn tasks_that_have_ended_are_dropped_silently() {
    let lines = observed(async || {
        let task = BackgroundTask::spawn("short", |_| async {}).unwrap();
        let group = TaskGroup::new("short");
        group.spawn("short", |_| async {}).unwrap();
        while !task.has_ended() || !group.is_empty() {
            tokio::task::yield_now().await;
        }
        drop((task, group));
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
fn the_outcome_of_a_close_says_what_went_wrong() {
    let limit = Duration::from_millis(50);
    let lines = observed(async || {
        let session = Session::new("held").unwrap();
        let _guard = session.guard(()).unwrap();
        session.close(Duration::ZERO).await.unwrap_err();

        let check = || Err(Unconfirmed::Unavailable("no list".to_owned()));
        let session = Session::builder("blind").evidence(check).start().unwrap();
        session.close(PLENTY).await.unwrap_err();

        struct Unlucky;
        impl Drop for Unlucky {
            fn drop(&mut self) {
                panic!("no luck");
            }
        }
        let session = Session::new("unlucky").unwrap();
        drop(session.guard(Unlucky).unwrap());
        session.close(PLENTY).await.unwrap_err();

        let owner = RuntimeOwner::builder("runtime").current_thread().start().unwrap();
        let session = Session::builder("its task").runtime(owner.clone()).start().unwrap();
        owner.spawn("unlucky", |_| async { panic!("no luck") }).unwrap().await.unwrap_err();
        session.close(PLENTY).await.unwrap_err();

        owner.restart().unwrap();
        let session = Session::builder("its thread").runtime(owner.clone()).start().unwrap();
        let latch = Arc::new(Latch::new());
        let stuck = Arc::clone(&latch);
        owner.handle().unwrap().spawn_blocking(move || assert!(stuck.wait_blocking(PLENTY)));
        session.close(limit).await.unwrap_err();
        latch.fire();
        let _ = owner.shutdown(PLENTY).await.unwrap();
    });
    let of_sessions = |line: &&String| line.contains("_total") && !line.contains("=runtime,");
    let totals: Vec<_> = lines.iter().filter(of_sessions).collect();
    assert_eq!(
        totals,
        [
            "sundown_shutdown_total{component=held,outcome=timed_out} +1",
            "sundown_shutdown_total{component=blind,outcome=unconfirmed} +1",
            "sundown_shutdown_total{component=unlucky,outcome=panicked} +1",
            "sundown_shutdown_total{component=its task,outcome=panicked} +1",
            "sundown_shutdown_total{component=its thread,outcome=timed_out} +1",
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
    assert!(line.starts_with("WARN message=dropped before a close() has confirmed"), "{line}");
    assert!(line.contains(r#"component="forgotten""#) && line.contains("values=1"), "{line}");
    assert!(line.contains("observed/main.rs"), "{line}");
}

#[test]
fn a_task_that_fails_is_an_event_at_once_and_an_outcome_at_the_end() {
    let lines = observed(async || {
        let group = TaskGroup::new("service");
        group.try_spawn("importer", |_| async { Err("disk full") }).unwrap();
        while !group.is_empty() {
            tokio::task::yield_now().await;
        }
        group.drain(PLENTY).await.into_result().unwrap_err();
    });
    let [event, shutdown, counts @ ..] = &lines[..] else { panic!("{lines:?}") };
    assert!(event.contains("WARN") && event.contains("importer"), "{event}");
    assert!(event.contains("disk full") && event.contains("main.rs:"), "{event}");
    assert!(shutdown.contains("failed"), "{shutdown}");
    assert!(counts.iter().any(|line| line.contains("component=service,outcome=failed} +1")));
}
