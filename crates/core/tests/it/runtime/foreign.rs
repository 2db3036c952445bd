//! Foreign tasks: those that were not spawned through the kit.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    NotCovered, ShutdownErrorKind, ShutdownReport,
    runtime::{RuntimeOwner, State},
    shutdown::CutOff,
};
use tokio::sync::oneshot;

use super::on_both_flavours;
use crate::fixtures::{PLENTY, SHORT, obeys, owned, stuck, until};

#[test]
fn foreign_tasks_that_are_cut_off_are_counted_apart_from_the_kits_own() {
    on_both_flavours("apart", |builder| {
        let owner = builder.start().unwrap();
        let handle = owner.handle().unwrap();
        for _ in 0..3 {
            handle.spawn(pending::<()>());
        }
        drop(owner.spawn("listens", obeys));
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!((report.aborted, report.foreign), (0, 3), "{report}");
        assert_ne!(report.cut_off, CutOff::Nothing);
        assert!(!report.is_graceful() && report.to_string().contains("3 foreign tasks cut off"));
        assert!(report.not_covered.contains(&NotCovered::ForeignPanics));

        owner.restart().unwrap();
        drop(owner.spawn("deaf", |_| pending::<()>()));
        let _ = owner.shutdown_blocking(SHORT);
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        let names: Vec<_> = report.aborted_tasks.iter().map(|task| &*task.name).collect();
        assert_eq!((report.aborted, names), (1, vec!["deaf"]), "{report}");

        owner.restart().unwrap();
        drop(owner.spawn("listens", obeys));
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!((report.aborted, report.foreign), (0, 0), "the control");
        assert_eq!(report.cut_off, CutOff::Nothing);
        assert!(report.is_graceful(), "{report}");
    });
}

/// Its end begins when the last task of the kit has ended.
#[test]
fn a_foreign_task_that_ends_by_itself_is_waited_for() {
    on_both_flavours("by-itself", |builder| {
        let owner = builder.foreign_time(PLENTY).start().unwrap();
        let (last_words, is_heard) = oneshot::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        owner.handle().unwrap().spawn(async move {
            let _ = is_heard.await;
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            is_done.store(true, Ordering::SeqCst);
        });
        drop(owner.spawn("ends", |stop| async move {
            stop.await;
            let _ = last_words.send(());
        }));
        let began = Instant::now();
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert!(done.load(Ordering::SeqCst), "cut off");
        assert_eq!((report.foreign, report.cut_off), (0, CutOff::Nothing));
        assert!(began.elapsed() < PLENTY / 2, "it is told of the end, and does not wait on");
    });
}

/// No worker goes idle after it: it has none.
#[test]
fn a_foreign_task_that_ends_in_block_in_place_is_not_waited_for_any_longer() {
    let owner = RuntimeOwner::builder("in-place").workers(2).foreign_time(PLENTY).start().unwrap();
    let (stuck, blocks) = stuck();
    owner.handle().unwrap().spawn(async { tokio::task::block_in_place(blocks) });
    stuck.has_begun.recv().unwrap();
    let began = Instant::now();
    let report = thread::scope(|scope| {
        let down = scope.spawn(|| owner.shutdown_blocking(PLENTY).unwrap());
        until("the shutdown", || owner.stats().state == State::Stopping);
        drop(stuck.let_go);
        down.join().unwrap()
    });
    assert_eq!((report.foreign, report.cut_off), (0, CutOff::Nothing));
    assert!(began.elapsed() < PLENTY / 2, "{:?}", began.elapsed());
}

#[test]
fn an_endless_foreign_task_does_not_hold_a_shutdown_without_a_limit() {
    on_both_flavours("endless", |builder| {
        let owner = builder.start().unwrap();
        let (owned, is_dropped) = owned();
        owner.handle().unwrap().spawn(async move {
            let _owned = owned;
            pending::<()>().await;
        });
        let report = owner.shutdown_blocking(Duration::MAX).unwrap();
        assert!(is_dropped());
        assert_eq!(report.foreign, 1);
    });
}

#[test]
fn the_time_of_foreign_tasks_ends_with_the_limit() {
    on_both_flavours("its-limit", |builder| {
        let owner = builder.foreign_time(PLENTY).start().unwrap();
        owner.handle().unwrap().spawn(pending::<()>());
        let began = Instant::now();
        let _ = owner.shutdown_blocking(SHORT);
        let report = owner.shutdown_blocking(PLENTY / 2).unwrap();
        assert_eq!(report.foreign, 1);
        assert!(began.elapsed() < PLENTY / 4, "{:?}", began.elapsed());
    });
}

#[test]
fn a_shutdown_that_ended_with_a_panic_says_what_else_was_cut_off() {
    on_both_flavours("besides", |builder| {
        let owner = builder.start().unwrap();
        owner.handle().unwrap().spawn(pending::<()>());
        drop(owner.spawn("unlucky", |_| async { panic!("no luck") }));
        let error = owner.shutdown_blocking(PLENTY).unwrap_err();
        assert!(matches!(error.kind, ShutdownErrorKind::Panicked(_)), "{error}");
        assert_eq!(error.report.unwrap().foreign, 1);
    });
}

#[test]
fn panics_of_foreign_tasks_are_reported_if_they_are_watched() {
    fn panics(owner: &RuntimeOwner) -> ShutdownReport {
        let handle = owner.handle().unwrap();
        // One after the other: of two at the same moment, one could be missed.
        let task = handle.spawn(async { panic!("of a foreign task") });
        drop(owner.block_on(task));
        let blocking = handle.spawn_blocking(|| panic!("of blocking work"));
        drop(owner.block_on(blocking));
        drop(owner.spawn("fine", |_| async {}));
        owner.shutdown_blocking(PLENTY).unwrap()
    }
    on_both_flavours("watched", |builder| {
        let watched = builder.clone().foreign_time(PLENTY).watch_panics().start().unwrap();
        let report = panics(&watched);
        let mut messages: Vec<_> =
            report.foreign_panics.iter().map(|panic| panic.message.as_str()).collect();
        messages.sort_unstable();
        assert_eq!(messages, ["of a foreign task", "of blocking work"]);
        assert!(report.foreign_panics.iter().all(|panic| panic.site.contains("foreign.rs:")));
        assert!(report.foreign_panics.iter().all(|panic| panic.thread.starts_with("watched-")));
        assert!(!report.not_covered.contains(&NotCovered::ForeignPanics), "{report}");
        assert!(report.to_string().contains("of a foreign task") && !report.is_graceful());

        watched.restart().unwrap();
        drop(watched.spawn("unlucky", |_| async { panic!("of the kit's own task") }));
        let error = watched.shutdown_blocking(PLENTY).unwrap_err();
        assert!(matches!(error.kind, ShutdownErrorKind::Panicked(_)), "{error}");
        assert_eq!(error.report.unwrap().foreign_panics, [], "it is told once");

        let report = panics(&builder.foreign_time(PLENTY).start().unwrap());
        assert_eq!(report.foreign_panics, [], "the control");
        assert!(report.not_covered.contains(&NotCovered::ForeignPanics));
    });
}
