//! Many tasks that end together, and groups within groups.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use proptest::{collection::vec, prelude::*};
use sundown::{SpawnError, group::TaskGroup};
use tokio::runtime::Runtime;

use super::deaf;
use crate::fixtures::{PLENTY, SHORT, both_flavours, current_thread, obeys, owned, until_yielding};

/// Its body panics when it is polled, and again when it is dropped.
struct PanicsTwice;

impl Future for PanicsTwice {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        panic!("the cause")
    }
}

impl Drop for PanicsTwice {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a consequence");
        }
    }
}

#[test]
fn of_a_task_that_panics_twice_the_first_panic_is_reported() {
    both_flavours(async || {
        let group = TaskGroup::new("twice");
        group.spawn("twice", |_| PanicsTwice).unwrap();
        let report = group.drain(PLENTY).await;
        let [panicked] = &*report.panicked else { panic!("{report:?}") };
        assert_eq!((panicked.message.as_str(), report.panics), ("the cause", 1));
    });
}

#[test]
fn a_group_reports_which_tasks_ended_and_how() {
    both_flavours(async || {
        let group = TaskGroup::new("mixed");
        for _ in 0..100 {
            group.spawn("listener", obeys).unwrap();
        }
        assert_eq!((group.len(), group.is_empty()), (100, false));
        group.spawn("short", |_| async {}).unwrap();
        group.spawn("unlucky", |_| async { panic!("no luck") }).unwrap();
        let (owned, is_dropped) = owned();
        group.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        group.stop();
        until_yielding("all but one", || group.len() == 1).await;
        let _ = group.drain(SHORT).await;
        let report = group.drain(PLENTY).await;
        assert_eq!((report.ended, report.aborted), (101, 1), "{report:?}");
        let [deaf] = &*report.aborted_tasks else { panic!("{report:?}") };
        assert_eq!((&*deaf.name, deaf.spawned_at.file()), ("deaf", file!()));
        assert_eq!(report.panicked[0].name, "unlucky");
        assert_eq!(report.panicked[0].message, "no luck");
        assert!(report.still_running.is_empty());
        assert!(is_dropped());
        assert!(group.is_empty());
    });
}

/// A group may run for months.
#[test]
fn the_first_64_tasks_that_were_aborted_are_named_and_all_are_counted() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        for _ in 0..100 {
            group.spawn("deaf", |_| pending()).unwrap();
        }
        group.abort();
        let report = group.drain(PLENTY).await;
        assert_eq!((report.aborted, report.aborted_tasks.len()), (100, 64), "{report}");
        let said = report.to_string();
        assert!(said.contains("100 aborted: `deaf` (spawned at") && said.contains(" and 99 more"));
        let result = report.clone().into_result().unwrap();
        assert_eq!((result.aborted, result.aborted_tasks), (100, report.aborted_tasks));
    });
}

#[test]
fn a_panic_before_the_work_is_a_future_is_collected_too() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        group.spawn("unlucky", |_| -> std::future::Ready<()> { panic!("no future") }).unwrap();
        let report = group.drain(PLENTY).await;
        assert_eq!(report.panicked[0].message, "no future");
    });
}

/// Tokio catches that panic and reports it to nobody.
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
    // Both are dropped, begun or not.
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
    let messages: Vec<_> = report.panicked.iter().map(|panicked| &*panicked.message).collect();
    assert_eq!((messages, report.aborted), (vec!["no luck"; 2], 0));
}

#[test]
fn a_stopped_group_refuses_and_counts() {
    both_flavours(async || {
        let group = TaskGroup::new("stopped");
        group.stop();
        let (owned, is_dropped) = owned();
        let refused = group.spawn("late", |stop| deaf(stop, owned));
        assert_eq!(refused, Err(SpawnError::Stopped));
        assert!(is_dropped(), "what was refused is dropped");
        assert_eq!(group.child("child").unwrap_err(), SpawnError::Stopped);
        assert_eq!(group.drain(PLENTY).await.refused, 2);
    });
}

#[test]
fn a_child_group_is_told_what_its_parent_is_told_and_waited_for() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let grandchild = child.child("grandchild").unwrap();
        grandchild.spawn("listener", obeys).unwrap();
        let (owned, is_dropped) = owned();
        grandchild.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        parent.stop();
        until_yielding("the listener", || grandchild.len() == 1).await;
        assert_eq!(grandchild.spawn("late", |_| async {}), Err(SpawnError::Stopped));
        let _ = parent.drain(SHORT).await;
        let report = parent.drain(PLENTY).await;
        assert!(report.still_running.is_empty() && is_dropped(), "{report:?}");
        let report = grandchild.drain(PLENTY).await;
        assert_eq!((report.ended, report.aborted, report.refused), (1, 1, 1));
    });
}

#[test]
fn how_a_task_below_a_child_group_ended_is_in_each_report_above() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let grandchild = child.child("grandchild").unwrap();
        grandchild.spawn("unlucky", |_| async { panic!("no luck") }).unwrap();
        grandchild.try_spawn("writer", |_| async { Err("disk full") }).unwrap();
        until_yielding("both", || grandchild.is_empty()).await;
        grandchild.spawn("deaf", |_| pending()).unwrap();
        grandchild.abort();
        drop(grandchild.drain(PLENTY).await);
        for group in [&child, &parent] {
            let report = group.drain(PLENTY).await;
            assert_eq!((report.panics, report.failures, report.aborted), (1, 1, 1), "{report}");
            assert_eq!(&*report.panicked[0].name, "unlucky");
            assert_eq!(&*report.first_failure.unwrap().name, "writer");
            assert_eq!(&*report.aborted_tasks[0].name, "deaf");
        }
    });
}

#[test]
fn a_child_group_that_is_drained_alone_leaves_its_parent_open() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        for _ in 0..3 {
            let child = parent.child("child").unwrap();
            child.spawn("listener", obeys).unwrap();
            assert_eq!(child.drain(PLENTY).await.ended, 1);
            parent.spawn("listener", obeys).unwrap();
        }
        // Its own, and those of its children.
        assert_eq!(parent.drain(PLENTY).await.ended, 6);
    });
}

#[test]
fn a_stop_asks_parent_and_child_at_the_same_time_and_a_drain_of_the_child_comes_first() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        // Each ends only when the other was asked, too.
        let both = Arc::new(tokio::sync::Barrier::new(2));
        for group in [&parent, &child] {
            let both = Arc::clone(&both);
            let meets = async move |stop: sundown::Stop| {
                stop.await;
                both.wait().await;
            };
            group.spawn("meets the other", meets).unwrap();
        }
        assert_eq!(parent.drain(PLENTY).await.aborted, 0);
        assert_eq!(child.drain(PLENTY).await.ended, 1);

        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        for group in [&parent, &child] {
            group.spawn("listener", obeys).unwrap();
        }
        assert_eq!(child.drain(PLENTY).await.ended, 1);
        assert!(!parent.stop_signal().is_raised() && parent.len() == 1);
        assert_eq!(parent.drain(PLENTY).await.ended, 2);
    });
}

/// On a thread of two megabytes of stack, in a build without optimizations.
#[test]
fn groups_may_nest_a_hundred_thousand_deep() {
    const DEPTH: usize = 100_000;
    both_flavours(async || {
        let mut groups = vec![TaskGroup::new("root")];
        for _ in 0..DEPTH {
            groups.push(groups[groups.len() - 1].child("child").unwrap());
        }
        groups[DEPTH].spawn("listener", obeys).unwrap();
        groups[DEPTH / 2].spawn("deaf", |stop| deaf(stop, Arc::default())).unwrap();
        groups[0].stop();
        until_yielding("all below the deaf one", || groups[DEPTH / 2].len() == 1).await;
        groups[0].abort();
        assert!(groups[0].drain(PLENTY).await.still_running.is_empty());
        let last = groups.pop().unwrap();
        drop(groups);
        // And with it the chain of its parents.
        drop(last);
    });
}

#[test]
fn a_group_keeps_the_first_panics_and_counts_all() {
    both_flavours(async || {
        let group = TaskGroup::new("requests");
        for request in 0..200 {
            let spawned = group.spawn("request", move |_| async move {
                panic!("{request}{}", "!".repeat(100_000));
            });
            spawned.unwrap();
            until_yielding("the panic", || group.is_empty()).await;
        }
        let report = group.drain(PLENTY).await;
        assert_eq!((report.panics, report.panicked.len()), (200, 64));
        assert!(report.panicked[63].message.starts_with("63!"), "the first ones");
        assert!(report.panicked.iter().all(|panicked| panicked.message.len() <= 4096));
        assert!(report.into_result().is_err());
    });
}

#[test]
fn dropping_a_group_aborts_what_is_left() {
    both_flavours(async || {
        let group = TaskGroup::new("dropped");
        let (owned, is_dropped) = owned();
        group.spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        drop(group);
        until_yielding("the abort", is_dropped).await;
    });
}

#[test]
fn a_group_is_drained_from_a_plain_thread() {
    let runtime = Runtime::new().unwrap();
    let group = TaskGroup::new("plain");
    for _ in 0..10 {
        group.spawn_on(runtime.handle(), "listener", obeys).unwrap();
    }
    assert_eq!(group.drain_blocking(PLENTY).ended, 10);
}

#[derive(Clone, Copy, Debug)]
enum GroupOperation {
    Listener,
    Deaf,
    Unlucky,
    Short,
    /// A member that spawns another when it is told to stop.
    Parent,
    /// A listener in a child group.
    InChild,
    /// Lets the tasks run for a turn.
    Yield,
    Stop,
    Abort,
}

fn group_operation() -> impl Strategy<Value = GroupOperation> {
    prop_oneof![
        4 => Just(GroupOperation::Listener),
        2 => Just(GroupOperation::Deaf),
        2 => Just(GroupOperation::Unlucky),
        2 => Just(GroupOperation::Short),
        2 => Just(GroupOperation::Parent),
        1 => Just(GroupOperation::InChild),
        3 => Just(GroupOperation::Yield),
        1 => Just(GroupOperation::Stop),
        1 => Just(GroupOperation::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A task that was accepted has ended, was aborted, or panicked, and nothing is left.
    #[test]
    fn every_task_of_a_group_is_accounted_for(operations in vec(group_operation(), 0..40)) {
        let runtime = current_thread();
        let (report, accepted, refused) = runtime.block_on(async {
            let group = TaskGroup::new("group");
            let spawned_late = Arc::new(AtomicUsize::new(0));
            let (mut accepted, mut refused) = (0, 0);
            let mut children = Vec::new();
            for operation in operations {
                let spawned = match operation {
                    GroupOperation::Listener => group.spawn("listener", obeys),
                    GroupOperation::Deaf => group.spawn("deaf", |_| pending()),
                    GroupOperation::Unlucky => group.spawn("unlucky", |_| async { panic!("!") }),
                    GroupOperation::Short => group.spawn("short", |_| async {}),
                    GroupOperation::Parent => {
                        let spawned_late = Arc::clone(&spawned_late);
                        group.spawn("parent", |mut stop| async move {
                            (&mut stop).await;
                            spawned_late.fetch_add(1, Ordering::Relaxed);
                            stop.spawn("child", obeys).unwrap();
                        })
                    }
                    GroupOperation::InChild => {
                        match group.child("child") {
                            Ok(child) => {
                                child.spawn("listener", obeys).unwrap();
                                accepted += 1;
                                children.push(child);
                            }
                            Err(_) => refused += 1,
                        }
                        continue;
                    }
                    GroupOperation::Yield => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    GroupOperation::Stop => {
                        group.stop();
                        continue;
                    }
                    GroupOperation::Abort => {
                        group.abort();
                        continue;
                    }
                };
                match spawned {
                    Ok(()) => accepted += 1,
                    Err(_) => refused += 1,
                }
            }
            // The deaf must be aborted, and there is no need to wait for the limit.
            group.stop();
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            group.abort();
            let report = group.drain(PLENTY).await;
            (report, accepted + spawned_late.load(Ordering::Relaxed), refused)
        });
        prop_assert!(report.still_running.is_empty(), "{:?}", report);
        prop_assert_eq!(report.ended + report.aborted + report.panicked.len(), accepted);
        prop_assert_eq!(report.refused, refused);
        prop_assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    }
}
