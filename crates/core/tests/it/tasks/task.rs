//! One task: how it ends, what it returns, and who may shut it down.

use std::{
    pin::pin,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    shutdown::{ShutdownError, ShutdownErrorKind},
    task::BackgroundTask,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use super::deaf;
use crate::fixtures::{PLENTY, SHORT, both_flavours, obeys, owned, stuck, until_yielding};

#[test]
fn a_task_ends_gracefully_its_future_is_dropped_and_its_result_is_kept() {
    both_flavours(async || {
        let (owned, is_dropped) = owned();
        let task = BackgroundTask::spawn("worker", |stop| async move {
            let _owned = owned;
            stop.await;
            42
        })
        .unwrap();
        assert_eq!(task.take_result(), None, "it has not ended");
        let report = task.shutdown().await.unwrap();
        assert_eq!((report.component.as_str(), report.aborted), ("worker", 0));
        assert!(is_dropped() && task.has_ended());
        assert_eq!(task.finish(PLENTY).await.unwrap(), Some(42));
    });
}

#[test]
fn every_caller_waits_for_the_real_end() {
    both_flavours(async || {
        let (let_go, is_let_go) = oneshot::channel::<()>();
        let task = BackgroundTask::spawn("worker", |stop| async move {
            stop.await;
            let _ = is_let_go.await;
        })
        .unwrap();
        let clone = task.clone();
        let (mut first, mut second) = (pin!(task.shutdown()), pin!(clone.shutdown()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none(), "the second caller waits as well");
        let_go.send(()).unwrap();
        let _ = first.await.unwrap();
        let _ = second.await.unwrap();
        assert!(task.has_ended());
    });
}

#[test]
fn a_dropped_shutdown_future_still_ends_the_task() {
    both_flavours(async || {
        let (owned, is_dropped) = owned();
        let task = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        assert!(task.shutdown().now_or_never().is_none());
        // The first caller has given up. The second waits for the end itself.
        let _ = task.shutdown_within(SHORT).await;
        assert_eq!(task.shutdown().await.unwrap().aborted, 1, "asked, and then aborted");
        assert!(is_dropped());
    });
}

#[test]
fn the_last_handle_aborts_a_deaf_task_after_a_dropped_shutdown() {
    both_flavours(async || {
        let (owned, is_dropped) = owned();
        let task = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        assert!(task.shutdown().now_or_never().is_none());
        let clone = task.clone();
        drop(task);
        tokio::task::yield_now().await;
        assert!(!is_dropped(), "a handle is left");
        drop(clone);
        until_yielding("the abort", is_dropped).await;
    });
}

#[test]
fn a_panic_of_the_task_comes_back_as_an_error() {
    both_flavours(async || {
        let task = BackgroundTask::<()>::spawn("worker", |_| async { panic!("out of luck") });
        let error = task.unwrap().shutdown_within(PLENTY).await.unwrap_err();
        let ShutdownError { component, kind, .. } = &error;
        let ShutdownErrorKind::Panicked(panicked) = kind else { panic!("{error}") };
        assert_eq!((component.as_str(), panicked[0].message.as_str()), ("worker", "out of luck"));
        assert!(panicked[0].spawned_at.file().ends_with("task.rs"));
    });
}

#[test]
fn a_cleanup_runs_after_the_end_and_its_panic_is_an_error() {
    both_flavours(async || {
        let (owned, is_dropped) = owned();
        let task = BackgroundTask::spawn("worker", |stop| async move {
            let _owned = owned;
            stop.await;
        })
        .unwrap();
        let cleaned = AtomicBool::new(false);
        let cleanup = async { cleaned.store(is_dropped(), Ordering::SeqCst) };
        let _ = task.shutdown_with(PLENTY, cleanup).await.unwrap();
        assert!(cleaned.load(Ordering::SeqCst), "the task had ended when the cleanup ran");

        let error = task.shutdown_with(PLENTY, async { panic!("not clean") }).await.unwrap_err();
        assert!(error.to_string().contains("cleanup of worker"), "{error}");
        assert!(error.to_string().contains("not clean"), "{error}");

        let unlucky = BackgroundTask::<()>::spawn("worker", |_| async { panic!("out of luck") });
        let cleanup = async { panic!("not clean") };
        let error = unlucky.unwrap().shutdown_with(PLENTY, cleanup).await.unwrap_err();
        assert!(error.to_string().contains("out of luck"), "{error}");
        assert!(error.to_string().contains("not clean"), "{error}");
    });
}

#[test]
fn shutdown_from_inside_is_an_error_and_not_a_deadlock() {
    both_flavours(async || {
        let (handle, is_handle) = oneshot::channel::<BackgroundTask<_>>();
        let task = BackgroundTask::spawn("worker", |_| async move {
            is_handle.await.unwrap().shutdown().await.map(drop)
        })
        .unwrap();
        handle.send(task.clone()).unwrap();
        let result = task.finish(PLENTY).await.unwrap().unwrap();
        assert!(
            matches!(result, Err(ShutdownError { kind: ShutdownErrorKind::FromInside, .. })),
            "{result:?}"
        );
    });
}

#[test]
fn shutdown_after_the_runtime_is_gone_answers() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let (owned, is_dropped) = owned();
    let task = BackgroundTask::spawn_on(&handle, "worker", |stop| deaf(stop, owned));
    drop(runtime);
    assert_eq!(block_on(task.shutdown()).unwrap().aborted, 1, "the runtime dropped it");
    assert!(is_dropped());
    let task = BackgroundTask::spawn_on(&handle, "late", |_| async {});
    assert_eq!(block_on(task.shutdown()).unwrap().aborted, 1);
}

/// The runtime of the task is blocked, and has no timer that could go off. The limit holds.
#[test]
fn a_task_that_does_not_yield_is_named_at_the_limit() {
    for mut flavour in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let ((stuck, blocks), (sender, receiver)) = (stuck(), mpsc::channel());
        let runtime = thread::spawn(move || {
            let runtime = flavour.worker_threads(1).build().unwrap();
            runtime.block_on(async move {
                let task = BackgroundTask::spawn("stuck", |_| async { blocks() }).unwrap();
                sender.send(task.clone()).unwrap();
                until_yielding("its end", || task.has_ended()).await;
            });
        });
        let task: BackgroundTask<()> = receiver.recv().unwrap();
        stuck.has_begun.recv().unwrap();
        let began = Instant::now();
        let error = block_on(task.shutdown_within(SHORT)).unwrap_err();
        assert!(began.elapsed() >= SHORT && began.elapsed() < PLENTY);
        assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
        assert_eq!((error.still_running[0].name.as_str(), error.alive.tasks), ("stuck", 1));
        assert!(error.still_running[0].spawned_at.file().ends_with("task.rs"));
        drop(stuck.let_go);
        runtime.join().unwrap();
    }
}

#[test]
fn a_limit_of_zero_asks_and_aborts_at_once() {
    both_flavours(async || {
        let (owned, is_dropped) = owned();
        let task = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        let _ = task.shutdown_within(Duration::ZERO).await;
        let _ = task.shutdown().await.unwrap();
        assert!(is_dropped());
    });
}

#[test]
fn stop_and_abort_do_not_wait() {
    both_flavours(async || {
        let listener = BackgroundTask::spawn("listener", obeys).unwrap();
        listener.stop();
        until_yielding("its end", || listener.has_ended()).await;
        let (owned, is_dropped) = owned();
        let deaf = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        deaf.abort();
        until_yielding("the abort", || deaf.has_ended()).await;
        assert!(is_dropped());
    });
}

#[test]
fn a_task_that_touches_its_manager_while_it_ends_does_not_deadlock() {
    both_flavours(async || {
        let (handle, is_handle) = oneshot::channel::<BackgroundTask<bool>>();
        let task = BackgroundTask::spawn("worker", |stop| async move {
            let manager = is_handle.await.unwrap();
            stop.await;
            manager.has_ended()
        })
        .unwrap();
        handle.send(task.clone()).unwrap();
        assert_eq!(task.finish(PLENTY).await.unwrap(), Some(false));
    });
}

#[test]
fn an_abort_after_a_late_wait_still_takes_effect() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let task = BackgroundTask::spawn("deaf", |_| std::future::pending::<()>()).unwrap();
        tokio::task::yield_now().await;
        // Keeps the only thread for longer than the whole limit.
        let busy = SHORT * 5;
        drop(tokio::spawn(async move { thread::sleep(busy) }));
        task.shutdown_within(SHORT).await
    });
    assert_eq!(report.unwrap().aborted, 1);
}

/// The report must not look for a task first among those that have ended, and then among those that run.
/// Without care, a few of a hundred thousand rounds lose the panic.
#[test]
fn a_panic_at_the_limit_is_never_lost() {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for round in 0..20_000 {
        let task = BackgroundTask::spawn_on(runtime.handle(), "panics", |stop| async move {
            stop.await;
            if true {
                std::panic::resume_unwind(Box::new("at the limit"));
            }
        });
        (0..round % 97 * 3).for_each(|_| std::hint::spin_loop());
        let limit = Duration::from_nanos(round % 60_000);
        let at_the_limit = block_on(task.shutdown_within(limit));
        assert!(!matches!(&at_the_limit, Ok(report) if report.aborted == 0), "{at_the_limit:?}");
        let _ = block_on(task.shutdown());
    }
}
