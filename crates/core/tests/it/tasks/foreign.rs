//! Tasks on the same runtime that were not spawned through the kit, and what a report says of them.

use std::{
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use sundown::{
    GroupReport, group::TaskGroup, latch::Latch, shutdown::NotCovered, task::BackgroundTask,
};
use tokio::task::{JoinHandle, yield_now};

use crate::fixtures::{
    PLENTY, SHORT, both_flavours, current_thread, multi_thread, obeys, until_yielding,
};

/// What an HTTP server does: its connections are tasks that nobody asks to stop.
fn serves(connections: usize) -> Vec<JoinHandle<()>> {
    (0..connections).map(|_| tokio::spawn(pending())).collect()
}

/// Drains a group until its report counts so many foreign tasks. On a busy machine Tokio may count a task
/// for a moment after it has ended.
async fn drained(group: &TaskGroup, foreign: usize) -> GroupReport {
    let deadline = Instant::now() + PLENTY;
    loop {
        let report = group.drain(PLENTY).await;
        if report.foreign == foreign || Instant::now() > deadline {
            return report;
        }
        yield_now().await;
    }
}

#[test]
fn a_report_counts_the_tasks_that_go_on() {
    both_flavours(async || {
        let service = TaskGroup::new("service");
        let is_serving = Arc::new(Latch::new());
        let told = Arc::clone(&is_serving);
        service
            .spawn("server", |stop| async move {
                let _connections = serves(20);
                told.fire();
                stop.await;
            })
            .unwrap();
        is_serving.wait().await;
        let report = drained(&service, 20).await;
        assert_eq!((report.ended, report.foreign), (1, 20), "{report}");
        let not_covered = NotCovered::ForeignTasks { alive: 20 };
        assert_eq!(report.not_covered[0], not_covered);
        let said = report.to_string();
        assert!(said.contains("`service` has ended") && said.contains("1 task ended"), "{said}");
        assert!(said.contains("not covered: 20 other tasks of the runtime"), "{said}");
        assert_eq!(report.into_result().unwrap().not_covered[0], not_covered);
    });
}

/// The control: what the group itself spawned is not counted, nor is the caller.
#[test]
fn a_report_counts_no_task_of_the_group_and_not_the_caller() {
    for runtime in [current_thread(), multi_thread()] {
        let drained = async {
            let group = TaskGroup::new("group");
            let child = group.child("child").unwrap();
            for group in [&group, &child] {
                for _ in 0..50 {
                    group.spawn("member", obeys).unwrap();
                }
            }
            let deaf = group.child("deaf").unwrap();
            deaf.spawn("deaf", |_| pending()).unwrap();
            let _ = group.drain(Duration::ZERO).await;
            drained(&group, 0).await
        };
        let report = runtime.block_on(async { tokio::spawn(drained).await.unwrap() });
        assert_eq!(report.foreign, 0, "{report}");
        assert!(
            !report.not_covered.iter().any(|not| matches!(not, NotCovered::ForeignTasks { .. }))
        );
    }
}

#[test]
fn tasks_on_every_runtime_of_the_group_are_counted() {
    let (one, other) = (current_thread(), multi_thread());
    let group = TaskGroup::new("group");
    for runtime in [&one, &other, &one] {
        group.spawn_on(runtime.handle(), "member", obeys).unwrap();
    }
    let _connections: Vec<_> = [&one, &other].map(|runtime| runtime.spawn(pending::<()>())).into();
    let report = one.block_on(drained(&group, 2));
    assert_eq!((report.ended, report.foreign), (3, 2), "{report}");
    drop((one, other));
    assert_eq!(group.drain_blocking(PLENTY).foreign, 0);
}

#[test]
fn a_background_task_says_what_goes_on() {
    both_flavours(async || {
        let task = BackgroundTask::spawn("server", |stop| async move {
            let _connections = serves(2);
            stop.await;
        })
        .unwrap();
        let begun = || tokio::runtime::Handle::current().metrics().num_alive_tasks() == 3;
        until_yielding("the connections", begun).await;
        let report = task.shutdown_within(PLENTY).await.unwrap();
        assert_eq!(report.not_covered[0], NotCovered::ForeignTasks { alive: 2 }, "{report}");
    });
}

/// A report of what has not ended counts, too.
#[test]
fn tasks_that_have_not_ended_are_told_apart_from_those_of_others() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        let let_go = Arc::new(Latch::new());
        let member = Arc::clone(&let_go);
        group.spawn("slow", |_| async move { member.wait().await }).unwrap();
        let _connections = serves(3);
        let mut patient = pin!(group.drain(PLENTY));
        assert!(patient.as_mut().now_or_never().is_none());
        let report = group.drain(SHORT).await;
        assert_eq!((report.still_running.len(), report.foreign), (1, 3), "{report}");
        let_go.fire();
        assert_eq!(patient.await.foreign, 3);
    });
}

#[test]
fn tasks_on_the_runtime_of_a_child_are_counted_by_every_group_above_it() {
    both_flavours(async || {
        let top = TaskGroup::new("top");
        let middle = top.child("middle").unwrap();
        let child = middle.child("child").unwrap();
        child.spawn("member", obeys).unwrap();
        let connections = serves(3);
        for group in [&top, &middle, &child] {
            assert_eq!(drained(group, 3).await.foreign, 3);
        }
        connections.iter().for_each(JoinHandle::abort);
        // The control.
        assert_eq!(drained(&top, 0).await.foreign, 0);
    });
}
