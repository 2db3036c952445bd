//! Background tasks and groups, on real runtimes of both flavours. Nothing here waits by sleeping.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use sundown::{
    group::TaskGroup,
    shutdown::{GracefulShutdown, ShutdownError, shutdown_in_order},
    stop::Stop,
    task::{BackgroundTask, SpawnError},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// Far longer than anything here takes, on a machine that may be busy.
const PLENTY: Duration = Duration::from_secs(60);

/// So short that what does not listen is told to abort. Whether the abort takes effect within the
/// limit is up to the machine; that it takes effect is not.
const SHORT: Duration = Duration::from_millis(20);

fn both_flavours(test: impl AsyncFn()) {
    Builder::new_current_thread().build().unwrap().block_on(test());
    // The test itself runs on the calling thread, and what it spawns on the workers.
    Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(test());
}

/// Sets a flag when it is dropped: what a task owns tells of its end.
struct Told(Arc<AtomicBool>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn told() -> (Told, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (Told(Arc::clone(&flag)), flag)
}

/// A task that does not listen to its signal, and owns something.
async fn deaf(_stop: Stop, _owned: Told) {
    pending::<()>().await;
}

#[test]
fn a_task_ends_gracefully_and_its_result_is_kept() {
    both_flavours(async || {
        let task = BackgroundTask::spawn("worker", |stop| async move {
            stop.await;
            42
        })
        .unwrap();
        assert_eq!(task.take_result(), None, "it has not ended");
        let report = task.shutdown().await.unwrap();
        assert_eq!((report.component.as_str(), report.aborted), ("worker", 0));
        assert!(task.has_ended());
        assert_eq!(task.finish(PLENTY).await, Ok(Some(42)));
    });
}

#[test]
fn when_shutdown_returns_the_future_of_the_task_has_been_dropped() {
    both_flavours(async || {
        let (owned, dropped) = told();
        let task = BackgroundTask::spawn("worker", |stop| async move {
            let _owned = owned;
            stop.await;
        })
        .unwrap();
        task.shutdown().await.unwrap();
        assert!(dropped.load(Ordering::SeqCst));
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
        first.await.unwrap();
        second.await.unwrap();
        assert!(task.has_ended());
    });
}

#[test]
fn a_dropped_shutdown_future_still_ends_the_task() {
    both_flavours(async || {
        let (owned, dropped) = told();
        let task = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        assert!(task.shutdown().now_or_never().is_none());
        // The first caller has given up. The second does not take the first one's word for it.
        let _ = task.shutdown_within(SHORT).await;
        assert_eq!(task.shutdown().await.unwrap().aborted, 1, "asked, and then aborted");
        assert!(dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn the_last_handle_aborts_a_deaf_task_after_a_dropped_shutdown() {
    both_flavours(async || {
        let (owned, dropped) = told();
        let task = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        assert!(task.shutdown().now_or_never().is_none());
        let clone = task.clone();
        drop(task);
        tokio::task::yield_now().await;
        assert!(!dropped.load(Ordering::SeqCst), "a handle is left");
        drop(clone);
        until_yielding(|| dropped.load(Ordering::SeqCst)).await;
    });
}

async fn until_yielding(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PLENTY);
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_panic_of_the_task_comes_back_as_an_error() {
    both_flavours(async || {
        let task = BackgroundTask::<()>::spawn("worker", |_| async { panic!("out of luck") });
        let error = task.unwrap().shutdown_within(PLENTY).await.unwrap_err();
        let ShutdownError::Panicked { component, panicked } = &error else { panic!("{error}") };
        assert_eq!((component.as_str(), panicked[0].message.as_str()), ("worker", "out of luck"));
        assert!(panicked[0].spawned_at.file().ends_with("tasks.rs"));
    });
}

#[test]
fn a_cleanup_runs_after_the_end_and_its_panic_is_an_error() {
    both_flavours(async || {
        let (owned, dropped) = told();
        let task = BackgroundTask::spawn("worker", |stop| async move {
            let _owned = owned;
            stop.await;
        })
        .unwrap();
        let cleaned = AtomicBool::new(false);
        let cleanup = async { cleaned.store(dropped.load(Ordering::SeqCst), Ordering::SeqCst) };
        task.shutdown_with(PLENTY, cleanup).await.unwrap();
        assert!(cleaned.load(Ordering::SeqCst), "the task had ended when the cleanup ran");

        let error = task.shutdown_with(PLENTY, async { panic!("not clean") }).await.unwrap_err();
        assert!(error.to_string().contains("cleanup of worker"), "{error}");
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
        assert!(matches!(result, Err(ShutdownError::FromInside { .. })), "{result:?}");
    });
}

#[test]
fn shutdown_after_the_runtime_is_gone_answers() {
    let runtime = Runtime::new().unwrap();
    let (owned, _) = told();
    let task = BackgroundTask::spawn_on(runtime.handle(), "worker", |stop| deaf(stop, owned));
    drop(runtime);
    let report = futures::executor::block_on(task.shutdown()).unwrap();
    assert_eq!(report.aborted, 1, "the runtime dropped it");
}

#[test]
fn a_task_spawned_on_a_runtime_that_is_gone_has_ended() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let task = BackgroundTask::spawn_on(&handle, "late", |_| async {});
    assert_eq!(futures::executor::block_on(task.shutdown()).unwrap().aborted, 1);
}

#[test]
fn nothing_is_spawned_without_a_runtime() {
    let error = BackgroundTask::spawn("worker", |_| async {}).unwrap_err();
    assert_eq!(error, SpawnError::NoRuntime);
    assert_eq!(TaskGroup::new("group").spawn("a", |_| async {}), Err(SpawnError::NoRuntime));
}

/// The runtime of the task is blocked, and has no timer that could go off. The limit holds.
#[test]
fn a_task_that_does_not_yield_is_named_at_the_limit() {
    let flavours = [Builder::new_current_thread(), Builder::new_multi_thread()];
    for mut flavour in flavours {
        let (let_go, is_let_go) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let (task, is_task) = mpsc::channel();
        let runtime = thread::spawn(move || {
            let runtime = flavour.worker_threads(1).build().unwrap();
            runtime.block_on(async move {
                let stuck = BackgroundTask::spawn("stuck", |_| async move {
                    started.send(()).unwrap();
                    let _ = is_let_go.recv();
                });
                let stuck = stuck.unwrap();
                task.send(stuck.clone()).unwrap();
                // The runtime stays until it has started, and on until it has ended.
                until_yielding(|| stuck.has_ended()).await;
            });
        });
        let task: BackgroundTask<()> = is_task.recv().unwrap();
        has_started.recv().unwrap();
        let limit = Duration::from_millis(100);
        let began = Instant::now();
        let error = futures::executor::block_on(task.shutdown_within(limit)).unwrap_err();
        assert!(began.elapsed() >= limit && began.elapsed() < PLENTY);
        let ShutdownError::TimedOut { still_running, .. } = error else { panic!("{error}") };
        assert_eq!(still_running[0].name, "stuck");
        assert!(still_running[0].spawned_at.file().ends_with("tasks.rs"));
        drop(let_go);
        runtime.join().unwrap();
    }
}

#[test]
fn a_limit_of_zero_asks_and_aborts_at_once() {
    both_flavours(async || {
        let (owned, dropped) = told();
        let task = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        let _ = task.shutdown_within(Duration::ZERO).await;
        task.shutdown().await.unwrap();
        assert!(dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn ten_thousand_callers_all_get_their_answer() {
    both_flavours(async || {
        let task = BackgroundTask::spawn("worker", |stop| stop).unwrap();
        let callers: Vec<_> = (0..10_000)
            .map(|_| {
                let task = task.clone();
                tokio::spawn(async move { task.shutdown_within(PLENTY).await })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_task_is_told_without_being_waited_for() {
    both_flavours(async || {
        let listener = BackgroundTask::spawn("listener", |stop| stop).unwrap();
        listener.stop();
        until_yielding(|| listener.has_ended()).await;
        let (owned, dropped) = told();
        let deaf = BackgroundTask::spawn("deaf", |stop| deaf(stop, owned)).unwrap();
        deaf.abort();
        until_yielding(|| deaf.has_ended()).await;
        assert!(dropped.load(Ordering::SeqCst));
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
        assert_eq!(task.finish(PLENTY).await, Ok(Some(false)));
    });
}

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
        group.drain(SHORT).await;
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
        parent.drain(SHORT).await;
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
fn a_signal_from_elsewhere_stops_a_group() {
    both_flavours(async || {
        let group = TaskGroup::new("signalled");
        let (signal, is_signal) = oneshot::channel::<()>();
        group.stop_when(is_signal).unwrap();
        group.spawn("listener", |stop| stop).unwrap();
        signal.send(()).unwrap();
        group.stop_signal().await;
        assert_eq!(group.drain(PLENTY).await.ended, 2);
    });
}

#[test]
fn a_signal_that_moves_to_another_task_still_wakes() {
    both_flavours(async || {
        let group = TaskGroup::new("moving");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        group
            .spawn("giver", move |mut stop| async move {
                // Polled here once, so that it is registered for this task, and then given away.
                assert!((&mut stop).now_or_never().is_none());
                sender.send(stop.clone()).unwrap();
                sender.send(stop).unwrap();
            })
            .unwrap();
        let mut signals = Vec::new();
        while let Some(signal) = receiver.recv().await {
            signals.push(signal);
        }
        let waiting = tokio::spawn(async move {
            for signal in signals {
                signal.await;
            }
        });
        tokio::task::yield_now().await;
        group.stop();
        waiting.await.unwrap();
        assert_eq!(group.drain(PLENTY).await.ended, 1);
    });
}

/// What makes the signal cheap: its registration survives the future that made it.
#[test]
fn a_signal_that_is_polled_again_registers_once() {
    both_flavours(async || {
        let group = TaskGroup::new("hot");
        group
            .spawn("hot", |mut stop| async move {
                loop {
                    tokio::select! {
                        biased;
                        () = &mut stop => break,
                        () = tokio::task::yield_now() => {}
                    }
                }
            })
            .unwrap();
        let mut stop = group.stop_signal();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            assert!(pin!(&mut stop).poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(group.drain(PLENTY).await.ended, 1);
        assert!(stop.is_raised());
        poll_fn(|context| pin!(&mut stop).poll(context)).await;
        assert_eq!(pin!(&mut stop).poll(&mut context), Poll::Ready(()), "and remains raised");
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
fn a_list_is_shut_down_in_order_and_one_failure_does_not_stop_it() {
    both_flavours(async || {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (first, second) = (Arc::clone(&order), Arc::clone(&order));
        let task = BackgroundTask::spawn("task", |stop| async move {
            stop.await;
            first.lock().unwrap().push("task");
        })
        .unwrap();
        let unlucky = BackgroundTask::<()>::spawn("unlucky", |_| async { panic!("no luck") });
        let unlucky = unlucky.unwrap();
        let group = TaskGroup::new("group");
        group
            .spawn("member", |stop| async move {
                stop.await;
                second.lock().unwrap().push("group");
            })
            .unwrap();
        let list: [&dyn GracefulShutdown; 3] = [&group, &unlucky, &task];
        let results = shutdown_in_order(list, PLENTY).await;
        assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok(), "{results:?}");
        assert_eq!(*order.lock().unwrap(), ["group", "task"]);
    });
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

#[test]
fn handles_are_send_and_sync_and_their_futures_are_send() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    is_send_and_sync::<BackgroundTask<()>>();
    is_send_and_sync::<TaskGroup>();
    is_send_and_sync::<Stop>();
    let runtime = Runtime::new().unwrap();
    let task = BackgroundTask::spawn_on(&Handle::clone(runtime.handle()), "t", |stop| stop);
    // What `axum::serve(…).with_graceful_shutdown(…)` asks for.
    fn is_a_shutdown_signal(_: impl Future<Output = ()> + Send + 'static) {}
    is_a_shutdown_signal(TaskGroup::new("server").stop_signal());
    drop(is_send(task.shutdown()));
    drop(is_send(TaskGroup::new("g").drain(PLENTY)));
}
