//! Many tasks that end together, and groups within groups.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use sundown::{group::TaskGroup, stop::Stop, task::SpawnError};
use tokio::runtime::{Builder, Runtime};

use crate::{PLENTY, SHORT, both_flavours, deaf, told, until_yielding};

#[test]
fn a_group_reports_who_ended_and_how() {
    both_flavours(async || {
        let group = TaskGroup::new("mixed");
        for _ in 0..100 {
            group.spawn("listener", |stop| stop).unwrap();
        }
        group.spawn("short", |_| async {}).unwrap();
        group.spawn("unlucky", |_| async { panic!("no luck") }).unwrap();
        let (owned, dropped) = told();
        group.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        group.stop();
        until_yielding(|| group.len() == 1).await;
        let _ = group.drain(SHORT).await;
        let report = group.drain(PLENTY).await;
        assert_eq!((report.ended, report.aborted), (101, 1), "{report:?}");
        assert_eq!(report.panicked[0].name, "unlucky");
        assert_eq!(report.panicked[0].message, "no luck");
        assert!(report.still_running.is_empty());
        assert!(dropped.load(Ordering::SeqCst));
        assert!(group.is_empty());
    });
}

#[test]
fn a_member_whose_work_panics_before_it_is_a_future_is_no_different() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        group.spawn("unlucky", |_| -> std::future::Ready<()> { panic!("no future") }).unwrap();
        let report = group.drain(PLENTY).await;
        assert_eq!(report.panicked[0].message, "no future");
    });
}

/// Tokio catches that panic and keeps it to itself.
#[test]
fn a_panic_of_a_member_that_its_runtime_drops_is_collected() {
    struct Unlucky;
    impl Drop for Unlucky {
        fn drop(&mut self) {
            panic!("no luck");
        }
    }
    let group = TaskGroup::new("dropped");
    let runtime = Runtime::new().unwrap();
    // Both are dropped, whether they have begun or not.
    for _ in 0..2 {
        let unlucky = Unlucky;
        let spawned = group.spawn_on(runtime.handle(), "unlucky", |_| async move {
            let _unlucky = unlucky;
            pending().await
        });
        spawned.unwrap();
    }
    drop(runtime);
    let report = group.drain_blocking(PLENTY);
    assert!(report.still_running.is_empty(), "{report:?}");
    let said: Vec<_> = report.panicked.iter().map(|panicked| &*panicked.message).collect();
    assert_eq!((said, report.aborted), (vec!["no luck"; 2], 0));
}

#[test]
fn a_stopped_group_refuses_and_counts() {
    both_flavours(async || {
        let group = TaskGroup::new("stopped");
        group.stop();
        let (owned, dropped) = told();
        let refused = group.spawn("late", |stop| deaf(stop, owned));
        assert_eq!(refused, Err(SpawnError::Stopped));
        assert!(dropped.load(Ordering::SeqCst), "what was refused is dropped");
        assert_eq!(group.child("child").unwrap_err(), SpawnError::Stopped);
        assert_eq!(group.drain(PLENTY).await.refused, 2);
    });
}

#[test]
fn members_may_bring_members_while_the_group_drains() {
    both_flavours(async || {
        let group = TaskGroup::new("generations");
        let born = Arc::new(AtomicUsize::new(0));
        fn beget(stop: &Stop, born: Arc<AtomicUsize>, left: usize) {
            let child = move |stop: Stop| async move {
                born.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if left > 0 {
                    beget(&stop, Arc::clone(&born), left - 1);
                }
            };
            stop.spawn("descendant", child).unwrap();
        }
        let first = Arc::clone(&born);
        group
            .spawn("ancestor", |mut stop| async move {
                (&mut stop).await;
                beget(&stop, first, 9);
            })
            .unwrap();
        let report = group.drain(PLENTY).await;
        assert_eq!((report.ended, born.load(Ordering::SeqCst)), (11, 10));
    });
}

#[test]
fn a_child_group_is_told_what_its_parent_is_told_and_is_waited_for() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let grandchild = child.child("grandchild").unwrap();
        let (owned, dropped) = told();
        grandchild
            .spawn("listener", |stop| async move {
                let _owned = owned;
                stop.await;
            })
            .unwrap();
        let report = parent.drain(PLENTY).await;
        assert!(report.still_running.is_empty(), "{report:?}");
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(grandchild.spawn("late", |_| async {}), Err(SpawnError::Stopped));
    });
}

#[test]
fn a_child_group_that_is_drained_alone_leaves_its_parent_open() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        for _ in 0..3 {
            let child = parent.child("child").unwrap();
            child.spawn("listener", |stop| stop).unwrap();
            assert_eq!(child.drain(PLENTY).await.ended, 1);
            parent.spawn("listener", |stop| stop).unwrap();
        }
        assert_eq!(parent.drain(PLENTY).await.ended, 3);
    });
}

#[test]
fn an_abort_reaches_the_deaf_members_of_a_child() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let (owned, dropped) = told();
        child.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        let _ = parent.drain(SHORT).await;
        let report = parent.drain(PLENTY).await;
        assert!(report.still_running.is_empty(), "{report:?}");
        assert!(dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn dropping_a_group_aborts_what_is_left() {
    both_flavours(async || {
        let group = TaskGroup::new("dropped");
        let (owned, dropped) = told();
        group.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        drop(group);
        until_yielding(|| dropped.load(Ordering::SeqCst)).await;
    });
}

#[test]
fn a_group_is_drained_from_a_plain_thread() {
    let runtime = Runtime::new().unwrap();
    let group = TaskGroup::new("plain");
    for _ in 0..10 {
        group.spawn_on(runtime.handle(), "listener", |stop| stop).unwrap();
    }
    assert_eq!(group.drain_blocking(PLENTY).ended, 10);
}

#[test]
fn spawning_races_with_stopping_and_everybody_is_accounted_for() {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for _ in 0..50 {
        let group = TaskGroup::new("racing");
        let accepted: usize = thread::scope(|scope| {
            let spawners: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let _context = runtime.enter();
                        (0..100).filter(|_| group.spawn("member", |stop| stop).is_ok()).count()
                    })
                })
                .collect();
            scope.spawn(|| group.stop());
            spawners.into_iter().map(|spawner| spawner.join().unwrap()).sum()
        });
        let report = group.drain_blocking(PLENTY);
        assert_eq!(report.ended, accepted);
        assert_eq!(report.refused, 400 - accepted);
    }
}
