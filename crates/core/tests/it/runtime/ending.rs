//! What a shutdown waits for, for how long, and what it names.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor};
use sundown::{
    runtime::{StartError, State},
    shutdown::{GracefulShutdown as _, ShutdownError, ShutdownErrorKind, shutdown_in_order},
};
use tokio::{runtime::RuntimeFlavor, sync::oneshot};

use super::{no_thread_is_left, on_both_flavours, spawn_deaf, threads};
use crate::fixtures::{PLENTY, SHORT, owned, stuck, until};

#[test]
fn a_spawned_task_is_told_to_stop_and_its_result_is_received() {
    on_both_flavours("told", |builder| {
        let owner = builder.start().unwrap();
        let written = owner
            .spawn("writer", |stop| async move {
                stop.await;
                "written"
            })
            .unwrap();
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert!(report.component.starts_with("told"));
        assert_eq!(report.aborted, 0);
        assert_eq!(executor::block_on(written), Ok("written"));
        assert_eq!(owner.stats().state, State::Ended);
    });
}

#[test]
fn when_shutdown_returns_everything_has_been_dropped_and_every_thread_has_ended() {
    on_both_flavours("ended", |builder| {
        let owner = builder.start().unwrap();
        let deaf_is_dropped = spawn_deaf(&owner);
        let (foreign, foreign_is_dropped) = owned();
        owner.handle().unwrap().spawn(async move {
            let _foreign = foreign;
            pending::<()>().await;
        });
        let (closer, closer_has_run) = owned();
        owner.handle().unwrap().spawn_blocking(move || drop(closer));
        // The deaf task is dropped at the limit, and the other with the runtime.
        let _ = owner.shutdown_blocking(SHORT);
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!(report.aborted, 1);
        assert!(deaf_is_dropped() && foreign_is_dropped() && closer_has_run());
        let stats = owner.stats();
        assert_eq!((stats.tasks, stats.named, stats.threads), (0, 0, 0));
    });
}

/// A closer is no task, and nothing tells it to stop.
#[test]
fn a_closer_that_takes_its_time_is_waited_for_within_the_limit() {
    on_both_flavours("closer", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        let ran = Arc::new(AtomicBool::new(false));
        let runs = Arc::clone(&ran);
        owner.handle().unwrap().spawn_blocking(move || {
            blocks();
            runs.store(true, Ordering::SeqCst);
        });
        stuck.has_begun.recv().unwrap();
        let mut shutdown = Box::pin(owner.shutdown(PLENTY));
        assert!((&mut shutdown).now_or_never().is_none());
        assert!(!ran.load(Ordering::SeqCst));
        drop(stuck.let_go);
        let _ = executor::block_on(shutdown).unwrap();
        assert!(ran.load(Ordering::SeqCst));
    });
}

#[test]
fn a_thread_that_never_ends_is_named_and_one_that_ends_later_leaves_nothing() {
    on_both_flavours("hang", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        let (name, is_name) = mpsc::channel();
        owner.handle().unwrap().spawn_blocking(move || {
            name.send(thread::current().name().unwrap().to_owned()).unwrap();
            blocks();
        });
        stuck.has_begun.recv().unwrap();
        let began = Instant::now();
        let error = owner.shutdown_blocking(10 * SHORT).unwrap_err();
        assert!(began.elapsed() >= 10 * SHORT && began.elapsed() < PLENTY);
        let ShutdownError { alive, component, kind, .. } = &error;
        assert!(matches!(kind, ShutdownErrorKind::TimedOut), "{error}");
        // It may be any thread of the pool. On a busy machine others may be late, too.
        let name = is_name.recv().unwrap();
        assert!(name.starts_with(component) && alive.threads.contains(&name), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(owner.stats().state, State::Stopping);
        assert!(matches!(owner.restart(), Err(StartError::NotEnded { .. })));

        drop(stuck.let_go);
        until("the end, which nobody waits for", || owner.stats().state == State::Ended);
        let _ = owner.shutdown_blocking(Duration::ZERO).unwrap();
        no_thread_is_left(component);
    });
}

#[test]
fn its_threads_are_counted_and_gone_after_the_shutdown() {
    on_both_flavours("count", |builder| {
        let owner = builder.start().unwrap();
        let handle = owner.handle().unwrap();
        handle.spawn_blocking(|| {});
        // A thread counts itself when it begins to run.
        let multi = handle.runtime_flavor() == RuntimeFlavor::MultiThread;
        let expected = if multi { 3 } else { 1 };
        until("its threads", || owner.stats().threads == expected);
        let name = if multi { "count-m" } else { "count-c" };
        if cfg!(target_os = "linux") {
            // And its owner thread.
            assert_eq!(threads(name), expected + 1, "the control");
        }
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        no_thread_is_left(name);
    });
}

#[test]
fn a_task_that_does_not_yield_is_named_with_its_place_and_its_thread() {
    on_both_flavours("deaf", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        drop(owner.spawn("does not yield", |_| async { blocks() }));
        stuck.has_begun.recv().unwrap();
        let error = owner.shutdown_blocking(SHORT).unwrap_err();
        let ShutdownError { still_running, alive, component, kind, .. } = &error;
        assert!(matches!(kind, ShutdownErrorKind::TimedOut), "{error}");
        assert_eq!(still_running[0].name, "does not yield");
        assert!(still_running[0].spawned_at.file().ends_with("ending.rs"));
        assert_eq!(alive.tasks, 1);
        let its_thread =
            |thread: &String| thread == component || thread.starts_with(&format!("{component}-"));
        assert!(alive.threads.iter().any(its_thread), "{error}");
        drop(stuck.let_go);
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn a_limit_of_zero_drops_everything_and_the_longest_means_no_limit() {
    on_both_flavours("limits", |builder| {
        let owner = builder.start().unwrap();
        let is_dropped = spawn_deaf(&owner);
        let _ = owner.shutdown_blocking(Duration::ZERO);
        assert_eq!(owner.shutdown_blocking(Duration::MAX).unwrap().aborted, 1);
        assert!(is_dropped());
    });
}

#[test]
fn a_shutdown_without_a_limit_has_the_limit_of_the_builder() {
    on_both_flavours("none", |builder| {
        let owner = builder.limit(SHORT).start().unwrap();
        let (stuck, blocks) = stuck();
        owner.handle().unwrap().spawn_blocking(blocks);
        stuck.has_begun.recv().unwrap();
        let error = owner.shutdown_blocking(None).unwrap_err();
        assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
        drop(stuck.let_go);
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn a_dropped_shutdown_future_still_ends_the_runtime() {
    on_both_flavours("given-up", |builder| {
        let owner = builder.start().unwrap();
        let (let_go, is_let_go) = oneshot::channel::<()>();
        drop(owner.spawn("reluctant", |stop| async move {
            stop.await;
            let _ = is_let_go.await;
        }));
        assert!(owner.shutdown(PLENTY).now_or_never().is_none());
        let_go.send(()).unwrap();
        until("its end", || owner.stats().state == State::Ended);
    });
}

#[test]
fn it_is_shut_down_in_a_list() {
    on_both_flavours("list", |builder| {
        let (first, second) = (builder.clone().start().unwrap(), builder.start().unwrap());
        let results = executor::block_on(shutdown_in_order([&first as _, &second as _], PLENTY));
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let _ = executor::block_on(first.shutdown_within(PLENTY)).unwrap();
    });
}

#[test]
fn blocking_work_that_holds_the_end_up_is_named_as_such() {
    on_both_flavours("blocking", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        drop(owner.spawn("look-up", |_| async {
            let _ = tokio::task::spawn_blocking(blocks).await;
        }));
        stuck.has_begun.recv().unwrap();
        let error = owner.shutdown_blocking(20 * SHORT).unwrap_err();
        let ShutdownError { alive, still_running, .. } = &error;
        assert!(alive.blocking_work && alive.tasks == 0, "{error}");
        assert!(still_running.is_empty() && alive.threads.len() == 1, "{error}");
        let text = error.to_string();
        assert!(text.contains("`spawn_blocking`") && !text.contains("does not yield"), "{text}");
        drop(stuck.let_go);
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!(report.aborted, 1);
    });
}

#[test]
fn a_foreign_task_that_does_not_yield_is_not_taken_for_blocking_work() {
    on_both_flavours("spins", |builder| {
        // Without this, the only sign of such a task is a thread that has not ended.
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        owner.handle().unwrap().spawn(async { blocks() });
        stuck.has_begun.recv().unwrap();
        let error = owner.shutdown_blocking(20 * SHORT).unwrap_err();
        assert!(!error.alive.blocking_work && error.alive.tasks > 0, "{error}");
        assert!(error.to_string().contains("does not yield"), "{error}");
        drop(stuck.let_go);
        // It ends by itself, sooner or later than it would be cut off.
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn a_short_limit_does_not_abort_what_a_patient_caller_waits_for() {
    on_both_flavours("patient", |builder| {
        let owner = builder.start().unwrap();
        let (let_go, is_let_go) = oneshot::channel::<()>();
        let goodbye = owner.spawn("needs a while", |stop| async move {
            stop.await;
            is_let_go.await.unwrap();
            "said"
        });
        let mut patient = Box::pin(owner.shutdown(PLENTY));
        assert!((&mut patient).now_or_never().is_none());
        let error = owner.shutdown_blocking(SHORT).unwrap_err();
        assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
        assert_eq!(error.still_running[0].name, "needs a while");
        let_go.send(()).unwrap();
        assert_eq!(executor::block_on(patient).unwrap().aborted, 0);
        assert_eq!(executor::block_on(goodbye.unwrap()), Ok("said"));
    });
}
