//! Several callers that wait for the same tasks, each with a limit of its own.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use sundown::{
    group::TaskGroup,
    latch::Latch,
    runtime::RuntimeOwner,
    shutdown::{ShutdownErrorKind, ShutdownReport},
    stop::Stop,
    task::BackgroundTask,
};

use super::deaf;
use crate::fixtures::{PLENTY, SHORT, both_flavours, owned, until_yielding};

/// Ends some time after it was asked to.
async fn ends_when(stop: Stop, let_go: Arc<Latch>) {
    stop.await;
    let_go.wait().await;
}

#[test]
fn a_short_limit_aborts_nothing_while_a_patient_caller_waits() {
    both_flavours(async || {
        let (group, let_go) = (TaskGroup::new("group"), Arc::new(Latch::new()));
        let member = Arc::clone(&let_go);
        group.spawn("slow", |stop| ends_when(stop, member)).unwrap();
        let mut patient = pin!(group.drain(PLENTY));
        assert!(patient.as_mut().now_or_never().is_none());
        for limit in [SHORT, Duration::ZERO] {
            let hurried = group.drain(limit).await;
            assert_eq!((hurried.aborted, hurried.still_running.len()), (0, 1), "{hurried:?}");
            assert!(hurried.left_to_another);
            let error = hurried.into_result().unwrap_err();
            assert!(
                matches!(error.kind, ShutdownErrorKind::TimedOut) && error.alive.left_to_another
            );
            assert!(error.to_string().contains("another caller has given more time"), "{error}");
        }
        let_go.fire();
        let report = patient.await;
        assert_eq!((report.ended, report.aborted, report.left_to_another), (1, 0, false));
    });
}

/// The control: without the patient caller the same limit aborts.
#[test]
fn a_short_limit_aborts_when_nobody_else_waits() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        group.spawn("deaf", |stop| deaf(stop, Arc::default())).unwrap();
        {
            // One that has gone away counts no more.
            let mut gone = pin!(group.drain(PLENTY));
            assert!(gone.as_mut().now_or_never().is_none());
        }
        let report = group.drain(SHORT).await;
        assert!(!report.left_to_another);
        assert_eq!(group.drain(PLENTY).await.aborted, 1);
    });
}

#[test]
fn a_patient_caller_that_goes_away_leaves_the_abort_to_the_next_call() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        let (owned, is_dropped) = owned();
        group.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        {
            let mut patient = pin!(group.drain(PLENTY));
            assert!(patient.as_mut().now_or_never().is_none());
            assert!(group.drain(SHORT).await.left_to_another);
        }
        assert!(!is_dropped());
        let _ = group.drain(SHORT).await;
        until_yielding("the abort", &is_dropped).await;
    });
}

#[test]
fn each_caller_of_a_background_task_has_a_limit_of_its_own() {
    both_flavours(async || {
        let let_go = Arc::new(Latch::new());
        let task = Arc::clone(&let_go);
        let task = BackgroundTask::spawn("slow", |stop| ends_when(stop, task)).unwrap();
        let mut patient = pin!(task.shutdown());
        assert!(patient.as_mut().now_or_never().is_none());
        let error = task.shutdown_within(SHORT).await.unwrap_err();
        assert!(error.alive.left_to_another, "{error}");
        let_go.fire();
        let ShutdownReport { aborted, .. } = patient.await.unwrap();
        assert_eq!(aborted, 0);
    });
}

#[test]
fn each_caller_of_a_runtimes_shutdown_has_a_limit_of_its_own() {
    let owner = RuntimeOwner::builder("runtime").current_thread().start().unwrap();
    let let_go = Arc::new(Latch::new());
    let task = Arc::clone(&let_go);
    drop(owner.spawn("slow", |stop| ends_when(stop, task)).unwrap());
    futures::executor::block_on(async {
        let mut patient = pin!(owner.shutdown(PLENTY));
        assert!(patient.as_mut().now_or_never().is_none());
        let error = owner.shutdown(SHORT).await.unwrap_err();
        assert!(error.alive.left_to_another, "{error}");
        let_go.fire();
        assert_eq!(patient.await.unwrap().aborted, 0);
    });
}

#[test]
fn a_short_drain_of_a_parent_spares_the_child_that_somebody_drains_patiently() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let [spared, other] = ["spared", "other"].map(|name| parent.child(name).unwrap());
        let let_go = Arc::new(Latch::new());
        let slow = Arc::clone(&let_go);
        spared.spawn("slow", |stop| ends_when(stop, slow)).unwrap();
        for group in [&parent, &other] {
            group.spawn("deaf", |stop| deaf(stop, Arc::default())).unwrap();
        }
        let mut patient = pin!(spared.drain(PLENTY));
        assert!(patient.as_mut().now_or_never().is_none());
        let hurried = parent.drain(SHORT).await;
        assert!(hurried.left_to_another, "{hurried:?}");
        until_yielding("the abort of the others", || parent.len() == 1 && other.is_empty()).await;
        assert_eq!(spared.len(), 1);
        let_go.fire();
        assert_eq!(patient.await.aborted, 0);
        // Its own, and that of the other child.
        assert_eq!(parent.drain(PLENTY).await.aborted, 2);
    });
}

#[test]
fn what_was_spared_is_aborted_by_the_next_call() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        child.spawn("deaf", |stop| deaf(stop, Arc::default())).unwrap();
        {
            let mut patient = pin!(child.drain(PLENTY));
            assert!(patient.as_mut().now_or_never().is_none());
            assert!(parent.drain(SHORT).await.left_to_another);
        }
        let _ = parent.drain(SHORT).await;
        assert_eq!(child.drain(PLENTY).await.aborted, 1);
    });
}

#[test]
fn a_short_drain_of_a_child_leaves_the_time_that_its_parent_has() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let let_go = Arc::new(Latch::new());
        let slow = Arc::clone(&let_go);
        child.spawn("slow", |stop| ends_when(stop, slow)).unwrap();
        let mut patient = pin!(parent.drain(PLENTY));
        assert!(patient.as_mut().now_or_never().is_none());
        assert!(child.drain(SHORT).await.left_to_another);
        let_go.fire();
        assert!(patient.await.still_running.is_empty());
        assert_eq!(child.drain(PLENTY).await.ended, 1);
    });
}
