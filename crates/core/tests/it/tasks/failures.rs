//! Tasks of a group that return an error.

use std::{
    error::Error as _,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sundown::{MemberFailed, ShutdownErrorKind, Stop, group::TaskGroup};

use crate::fixtures::{PLENTY, both_flavours, current_thread};

#[test]
fn the_first_failure_is_the_error_of_the_answer() {
    current_thread().block_on(async {
        let group = TaskGroup::new("service");
        for error in ["first", "second"] {
            group.try_spawn(error, move |_| async move { Err(error) }).unwrap();
            while !group.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        group.try_spawn("good", |_| async { Ok::<_, String>(()) }).unwrap();
        let report = group.drain(PLENTY).await;
        assert_eq!((report.ended, report.failures), (3, 2));
        assert!(report.to_string().contains("3 tasks ended, 2 failed"), "{report}");
        let error = report.into_result().unwrap_err();
        assert!(error.report.is_some(), "everything has ended");
        let ShutdownErrorKind::Failed(failed) = &error.kind else { panic!("{error}") };
        let failed = failed.downcast_ref::<MemberFailed>().unwrap();
        assert_eq!((&*failed.name, failed.error.to_string()), ("first", "first".to_owned()));
        assert!(failed.spawned_at.file().ends_with("failures.rs"));
        assert!(error.to_string().contains("`first` (spawned at "), "{error}");
        assert!(error.source().is_none());
    });
}

#[test]
fn a_failure_or_a_panic_stops_the_group_if_that_is_asked_for_and_not_otherwise() {
    both_flavours(async || {
        for (stops, panics) in [(true, true), (true, false), (false, true), (false, false)] {
            let group = TaskGroup::new("service");
            let group = if stops { group.stop_on_failure() } else { group };
            let stopped = Arc::new(AtomicUsize::new(0));
            for _ in 0..10 {
                let stopped = Arc::clone(&stopped);
                let work = |stop: Stop| async move {
                    stop.await;
                    stopped.fetch_add(1, Ordering::SeqCst);
                };
                group.spawn("other", work).unwrap();
            }
            let fails = move |_| async move {
                assert!(!panics, "as it was told");
                Err("failed")
            };
            group.try_spawn("fails", fails).unwrap();
            let left = if stops { 0 } else { 10 };
            while group.len() > left {
                tokio::task::yield_now().await;
            }
            assert_eq!(group.stop_signal().is_raised(), stops);
            assert_eq!(stopped.load(Ordering::SeqCst), 10 - left);
            let report = group.drain(PLENTY).await;
            assert_eq!((report.panics, report.failures), (panics.into(), (!panics).into()));
            assert!(report.into_result().is_err());
        }
    });
}

/// An error whose destructor uses the group that it comes from.
struct Uses(Arc<TaskGroup>);

impl Drop for Uses {
    fn drop(&mut self) {
        self.0.stop();
        assert!(self.0.drain_blocking(std::time::Duration::ZERO).failures > 0);
    }
}

impl fmt::Debug for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uses")
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it uses the group")
    }
}

impl std::error::Error for Uses {}

#[test]
fn the_destructor_of_a_later_error_runs_under_no_lock() {
    let runtime = current_thread();
    let group = Arc::new(TaskGroup::new("service"));
    for _ in 0..2 {
        let error = Uses(Arc::clone(&group));
        group.try_spawn_on(runtime.handle(), "fails", |_| async { Err(error) }).unwrap();
    }
    let report = runtime.block_on(group.drain(PLENTY));
    assert_eq!((report.failures, report.panics), (2, 0));
}
