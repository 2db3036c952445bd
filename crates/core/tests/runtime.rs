//! Runtimes that are owned, on both flavours. Nothing here waits by sleeping.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor};
use sundown::{
    runtime::{Ended, RuntimeBuilder, RuntimeCell, RuntimeOwner, StartError, State},
    shutdown::{GracefulShutdown as _, ShutdownError, shutdown_in_order},
};
use tokio::{
    runtime::{Builder, RuntimeFlavor},
    sync::{mpsc as channel, oneshot},
};

/// Far longer than anything here takes, on a machine that may be busy.
const PLENTY: Duration = Duration::from_secs(60);

/// So short that what does not end by itself is dropped. Whether that takes effect within the limit
/// is up to the machine; that it takes effect is not.
const SHORT: Duration = Duration::from_millis(20);

/// A test on either flavour. What it is given is not named twice: threads are told by name.
fn both_flavours(name: &str, test: impl Fn(RuntimeBuilder)) {
    test(RuntimeOwner::builder(format!("{name}-c")).current_thread());
    test(RuntimeOwner::builder(format!("{name}-m")).workers(2));
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

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PLENTY, "it never came: {what}");
        thread::yield_now();
    }
}

/// What blocks until it is let go.
struct Stuck {
    let_go: mpsc::Sender<()>,
    has_begun: mpsc::Receiver<()>,
}

fn stuck() -> (Stuck, impl FnOnce() + Send + 'static) {
    let ((let_go, is_let_go), (begun, has_begun)) = (mpsc::channel(), mpsc::channel());
    let blocks = move || {
        begun.send(()).unwrap();
        let _ = is_let_go.recv();
    };
    (Stuck { let_go, has_begun }, blocks)
}

#[test]
fn what_is_spawned_is_told_to_stop_and_its_result_is_received() {
    both_flavours("told", |builder| {
        let owner = builder.start().unwrap();
        let written = owner
            .spawn("writer", |stop| async move {
                stop.await;
                "written"
            })
            .unwrap();
        let report = owner.shutdown(PLENTY).unwrap();
        assert!(report.component.starts_with("told"));
        assert_eq!(report.aborted, 0);
        assert_eq!(executor::block_on(written), Ok("written"));
        assert_eq!(owner.stats().state, State::Ended);
    });
}

#[test]
fn when_shutdown_returns_everything_has_been_dropped_and_every_thread_has_ended() {
    both_flavours("ended", |builder| {
        let owner = builder.start().unwrap();
        let (deaf, deaf_is_dropped) = told();
        drop(owner.spawn("deaf", |_| async move {
            let _deaf = deaf;
            pending::<()>().await;
        }));
        let (foreign, foreign_is_dropped) = told();
        owner.handle().unwrap().spawn(async move {
            let _foreign = foreign;
            pending::<()>().await;
        });
        let (closer, closer_has_run) = told();
        owner.handle().unwrap().spawn_blocking(move || drop(closer));
        // The limit drops the one, and the runtime's end the other.
        let _ = owner.shutdown(SHORT);
        let report = owner.shutdown(PLENTY).unwrap();
        assert_eq!(report.aborted, 1);
        for flag in [deaf_is_dropped, foreign_is_dropped, closer_has_run] {
            assert!(flag.load(Ordering::SeqCst));
        }
        let stats = owner.stats();
        assert_eq!((stats.tasks, stats.named, stats.threads), (0, 0, 0));
    });
}

/// A closer that takes its time is waited for, also where nothing was told to stop.
#[test]
fn what_blocks_is_waited_for_within_the_limit() {
    both_flavours("closer", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        let ran = Arc::new(AtomicBool::new(false));
        let runs = Arc::clone(&ran);
        owner.handle().unwrap().spawn_blocking(move || {
            blocks();
            runs.store(true, Ordering::SeqCst);
        });
        stuck.has_begun.recv().unwrap();
        let mut shutdown = Box::pin(owner.shutdown_async(PLENTY));
        assert!((&mut shutdown).now_or_never().is_none());
        assert!(!ran.load(Ordering::SeqCst));
        drop(stuck.let_go);
        executor::block_on(shutdown).unwrap();
        assert!(ran.load(Ordering::SeqCst));
    });
}

#[test]
fn a_thread_that_never_ends_is_named_and_one_that_ends_later_leaves_nothing() {
    both_flavours("hang", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        let (name, is_name) = mpsc::channel();
        owner.handle().unwrap().spawn_blocking(move || {
            name.send(thread::current().name().unwrap().to_owned()).unwrap();
            blocks();
        });
        stuck.has_begun.recv().unwrap();
        let began = Instant::now();
        let limit = Duration::from_millis(200);
        let error = owner.shutdown(limit).unwrap_err();
        assert!(began.elapsed() >= limit && began.elapsed() < PLENTY);
        let ShutdownError::TimedOut { alive, component, .. } = &error else { panic!("{error}") };
        // Which of the pool it is, is the system's to say. On a busy machine others may be late.
        let name = is_name.recv().unwrap();
        assert!(name.starts_with(component) && alive.threads.contains(&name), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(owner.stats().state, State::Stopping);
        assert!(matches!(owner.restart(), Err(StartError::NotEnded { .. })));

        drop(stuck.let_go);
        until("the end, which nobody waits for", || owner.stats().state == State::Ended);
        owner.shutdown(Duration::ZERO).unwrap();
        no_thread_is_left(component);
    });
}

/// On Linux they can be counted from outside.
fn no_thread_is_left(component: &str) {
    if !cfg!(target_os = "linux") {
        return;
    }
    until("the last thread", || threads(component) == 0);
}

fn threads(component: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(component)).count()
}

#[test]
fn its_threads_are_counted_and_gone_after_the_shutdown() {
    both_flavours("count", |builder| {
        let owner = builder.start().unwrap();
        let handle = owner.handle().unwrap();
        handle.spawn_blocking(|| {});
        // A thread counts itself when it begins to run.
        let multi = handle.runtime_flavor() == RuntimeFlavor::MultiThread;
        let expected = if multi { 3 } else { 1 };
        until("its threads", || owner.stats().threads == expected);
        let name = if multi { "count-m" } else { "count-c" };
        if cfg!(target_os = "linux") {
            assert_eq!(threads(name), expected + 1, "the control");
        }
        owner.shutdown(PLENTY).unwrap();
        no_thread_is_left(name);
    });
}

#[test]
fn a_task_that_does_not_yield_is_named_with_its_place_and_its_thread() {
    both_flavours("deaf", |builder| {
        let owner = builder.start().unwrap();
        let (stuck, blocks) = stuck();
        drop(owner.spawn("does not yield", |_| async { blocks() }));
        stuck.has_begun.recv().unwrap();
        let error = owner.shutdown(SHORT).unwrap_err();
        let ShutdownError::TimedOut { still_running, alive, component, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(still_running[0].name, "does not yield");
        assert!(still_running[0].spawned_at.file().ends_with("runtime.rs"));
        assert_eq!(alive.tasks, 1);
        let its_thread =
            |thread: &String| thread == component || thread.starts_with(&format!("{component}-"));
        assert!(alive.threads.iter().any(its_thread), "{error}");
        drop(stuck.let_go);
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn every_caller_is_told_the_same() {
    both_flavours("fifty", |builder| {
        let owner = builder.start().unwrap();
        drop(owner.spawn("listener", |stop| stop));
        let (owned, is_dropped) = told();
        drop(owner.spawn("owns", |stop| async move {
            let _owned = owned;
            stop.await;
        }));
        let barrier = Arc::new(Barrier::new(50));
        let callers: Vec<_> = (0..50)
            .map(|nth| {
                let (owner, barrier) = (owner.clone(), Arc::clone(&barrier));
                let is_dropped = Arc::clone(&is_dropped);
                thread::spawn(move || {
                    barrier.wait();
                    let answer = if nth % 2 == 0 {
                        owner.shutdown(PLENTY)
                    } else {
                        executor::block_on(owner.shutdown_async(PLENTY))
                    };
                    assert!(is_dropped.load(Ordering::SeqCst), "answered before the end");
                    answer.unwrap().aborted
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), 0);
        }
        assert_eq!(owner.shutdown(Duration::ZERO).unwrap().aborted, 0, "and so is a later one");
    });
}

#[test]
fn every_caller_is_told_of_the_same_panic() {
    both_flavours("panicked", |builder| {
        let owner = builder.start().unwrap();
        let received = owner.spawn("unlucky", |_| async { panic!("no luck") }).unwrap();
        assert!(executor::block_on(received).is_err(), "abandoned");
        for _ in 0..3 {
            let error = owner.shutdown(PLENTY).unwrap_err();
            let ShutdownError::Panicked { panicked, .. } = error else { panic!("{error}") };
            assert_eq!((panicked.len(), &*panicked[0].message), (1, "no luck"));
        }
        assert_eq!(owner.stats().state, State::Ended);
    });
}

#[test]
fn what_somebody_else_shut_down_answers_that_it_has_ended() {
    both_flavours("else", |builder| {
        let owner = builder.start().unwrap();
        let (other, handle) = (owner.clone(), owner.current().unwrap());
        owner.shutdown(PLENTY).unwrap();
        let ended = |result: Result<(), Ended>| {
            assert!(matches!(result, Err(Ended::ShutDown { generation: 1, .. })), "{result:?}");
        };
        ended(other.handle().map(drop));
        ended(other.current().map(drop));
        ended(other.spawn("late", |_| async {}).map(drop));
        ended(other.block_on(async {}));
        ended(handle.handle().map(drop));
        ended(handle.spawn("late", |_| async {}).map(drop));
        ended(handle.block_on(async {}));
        other.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn what_is_refused_is_dropped() {
    let owner = RuntimeOwner::builder("refused").current_thread().start().unwrap();
    owner.shutdown(PLENTY).unwrap();
    let (owned, is_dropped) = told();
    assert!(owner.spawn("late", |_| async move { drop(owned) }).is_err());
    assert!(is_dropped.load(Ordering::SeqCst));
}

#[test]
fn a_restart_is_a_new_generation_and_the_old_one_stays_ended() {
    both_flavours("again", |builder| {
        let owner = builder.start().unwrap();
        for generation in 1..=4 {
            let handle = owner.current().unwrap();
            assert_eq!(handle.generation(), generation);
            assert_eq!(owner.block_on(async { generation }), Ok(generation));
            assert!(matches!(owner.restart(), Err(StartError::NotEnded { .. })), "it runs");
            owner.shutdown(PLENTY).unwrap();
            owner.clone().restart().unwrap();
            assert!(
                matches!(handle.block_on(async {}), Err(Ended::ShutDown { generation: of, .. }) if of == generation)
            );
            assert!(handle.handle().is_err());
        }
        assert_eq!(owner.stats().generation, 5);
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn of_many_who_restart_one_does() {
    both_flavours("race", |builder| {
        let owner = builder.start().unwrap();
        owner.shutdown(PLENTY).unwrap();
        let barrier = Barrier::new(8);
        let restarted = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    restarted.fetch_add(owner.restart().is_ok().into(), Ordering::SeqCst);
                });
            }
        });
        assert_eq!((restarted.into_inner(), owner.stats().generation), (1, 2));
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn a_limit_of_zero_drops_everything_and_one_without_end_waits() {
    both_flavours("limits", |builder| {
        let owner = builder.start().unwrap();
        let (owned, is_dropped) = told();
        drop(owner.spawn("deaf", |_| async move {
            let _owned = owned;
            pending::<()>().await;
        }));
        let _ = owner.shutdown(Duration::ZERO);
        assert_eq!(owner.shutdown(Duration::MAX).unwrap().aborted, 1);
        assert!(is_dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn the_limit_of_the_builder_is_the_one_of_a_shutdown_that_is_given_none() {
    both_flavours("none", |builder| {
        let owner = builder.limit(SHORT).start().unwrap();
        let (stuck, blocks) = stuck();
        owner.handle().unwrap().spawn_blocking(blocks);
        stuck.has_begun.recv().unwrap();
        assert!(matches!(owner.shutdown(None), Err(ShutdownError::TimedOut { .. })));
        drop(stuck.let_go);
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn a_dropped_shutdown_future_still_ends_the_runtime() {
    both_flavours("given-up", |builder| {
        let owner = builder.start().unwrap();
        let (let_go, is_let_go) = oneshot::channel::<()>();
        drop(owner.spawn("reluctant", |stop| async move {
            stop.await;
            let _ = is_let_go.await;
        }));
        assert!(owner.shutdown_async(PLENTY).now_or_never().is_none());
        let_go.send(()).unwrap();
        until("its end", || owner.stats().state == State::Ended);
    });
}

#[test]
fn shutdown_from_inside_is_an_error_and_not_a_deadlock() {
    both_flavours("inside", |builder| {
        let owner = builder.start().unwrap();
        let from_inside = |result: Result<_, ShutdownError>| {
            assert!(matches!(result, Err(ShutdownError::FromInside { .. })), "{result:?}");
        };
        // In a task, by both ways; in what a task blocks with; in `block_on`; and in that on a
        // thread of the runtime.
        let inside = owner.clone();
        let answers = owner
            .spawn("asks", |_| async move {
                let awaited = inside.shutdown_async(PLENTY).await;
                let blocked = inside.shutdown(PLENTY);
                let in_blocking = tokio::task::spawn_blocking(move || inside.shutdown(PLENTY));
                [awaited, blocked, in_blocking.await.unwrap()]
            })
            .unwrap();
        for answer in executor::block_on(answers).unwrap() {
            from_inside(answer);
        }
        owner.shutdown(PLENTY).unwrap();
        owner.restart().unwrap();
        from_inside(owner.block_on(async { owner.shutdown(PLENTY) }).unwrap());
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn block_on_borrows_and_polls_on_this_thread() {
    both_flavours("borrows", |builder| {
        let owner = builder.start().unwrap();
        let (local, here) = (Rc::new(Cell::new(0)), thread::current().id());
        let borrowed = &local;
        let answer = owner.block_on(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::spawn(async {}).await.unwrap();
            borrowed.set(borrowed.get() + 1);
            thread::current().id()
        });
        assert_eq!(answer, Ok(here));
        assert_eq!(local.get(), 1);
        owner.shutdown(PLENTY).unwrap();
    });
}

/// Tokio puts the wake-ups of a `yield_now`, and of who polls much, off until the worker is idle.
#[test]
fn block_on_works_in_async_code_of_another_runtime() {
    both_flavours("nested", |builder| {
        let owner = builder.start().unwrap();
        let nested = async || {
            owner
                .block_on(async {
                    let (sender, mut receiver) = channel::channel(1);
                    let sending = tokio::spawn(async move {
                        for number in 0..1000 {
                            sender.send(number).await.unwrap();
                        }
                    });
                    let mut received = 0;
                    while let Some(number) = receiver.recv().await {
                        received += 1;
                        if number % 100 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    sending.await.unwrap();
                    received
                })
                .unwrap()
        };
        assert_eq!(Builder::new_current_thread().build().unwrap().block_on(nested()), 1000);
        let other = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_eq!(other.block_on(nested()), 1000);
        let owner = owner.clone();
        let in_a_task = other.spawn(async move {
            let answer = owner.block_on(async {
                tokio::task::yield_now().await;
                owner.stats().named
            });
            owner.shutdown_async(PLENTY).await.unwrap();
            answer.unwrap()
        });
        assert_eq!(other.block_on(in_a_task).unwrap(), 1, "itself");
    });
}

#[test]
fn block_on_in_a_task_of_its_own_does_not_deadlock() {
    let alone = RuntimeOwner::builder("own-c").current_thread();
    let one_worker = RuntimeOwner::builder("own-m").workers(1);
    for builder in [alone, one_worker] {
        let owner = builder.start().unwrap();
        let inside = owner.clone();
        let answers = owner
            .spawn("asks", |_| async move {
                let in_task = inside.block_on(async { tokio::spawn(async { 1 }).await.unwrap() });
                let blocking = tokio::task::spawn_blocking(move || {
                    let in_blocking = inside.block_on(async { 2 });
                    // Where Tokio would panic.
                    let local = tokio::task::LocalSet::new();
                    let in_local = local.run_until(async { inside.block_on(async { 3 }) });
                    (in_blocking, tokio::runtime::Handle::current().block_on(in_local))
                });
                (in_task, blocking.await.unwrap())
            })
            .unwrap();
        let (in_task, (in_blocking, in_local)) = executor::block_on(answers).unwrap();
        match in_task {
            Err(Ended::OwnThread { component }) => assert_eq!(component, "own-c"),
            other => assert_eq!(other, Ok(1), "another thread takes over"),
        }
        assert_eq!(in_blocking, Ok(2));
        assert!(matches!(in_local, Err(Ended::OwnThread { .. })), "{in_local:?}");
        owner.shutdown(PLENTY).unwrap();
    }
}

#[test]
fn block_on_is_waited_for_and_dropped_at_the_limit() {
    both_flavours("guest", |builder| {
        let owner = builder.start().unwrap();
        let (entered, has_entered) = mpsc::channel();
        let (owned, is_dropped) = told();
        let guest = {
            let owner = owner.clone();
            thread::spawn(move || {
                owner.block_on(async move {
                    let _owned = owned;
                    entered.send(()).unwrap();
                    pending::<()>().await;
                })
            })
        };
        has_entered.recv().unwrap();
        assert!(owner.shutdown_async(PLENTY).now_or_never().is_none());
        let _ = owner.shutdown(SHORT);
        assert_eq!(owner.shutdown(PLENTY).unwrap().aborted, 1);
        assert!(is_dropped.load(Ordering::SeqCst));
        assert!(matches!(guest.join().unwrap(), Err(Ended::ShutDown { .. })));
    });
}

#[test]
fn the_panic_of_a_future_is_its_caller_s_and_nobody_else_s() {
    both_flavours("own-panic", |builder| {
        let owner = builder.start().unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| owner.block_on(async { panic!("mine") })));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"mine"));
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn a_drop_ends_the_runtime_wherever_it_happens() {
    both_flavours("drop", |builder| {
        let start = || {
            let owner = builder.clone().start().unwrap();
            let (owned, is_dropped) = told();
            drop(owner.spawn("owns", |_| async move {
                let _owned = owned;
                pending::<()>().await;
            }));
            (owner, is_dropped)
        };
        // On a plain thread.
        let (owner, ended) = start();
        let clone = owner.clone();
        drop(owner);
        assert_eq!(clone.block_on(async { 1 }), Ok(1), "a clone keeps it");
        drop(clone);
        until("its end after a drop", || ended.load(Ordering::SeqCst));

        // In async code of either flavour, where Tokio's own drop panics.
        for mut other in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let (owner, ended) = start();
            other.build().unwrap().block_on(async move { drop(owner) });
            until("its end after a drop in async code", || ended.load(Ordering::SeqCst));
        }

        // Inside a task of its own, which is the last to have it.
        let (owner, ended) = start();
        let (give, given) = oneshot::channel::<RuntimeOwner>();
        drop(owner.spawn("drops its owner", |_| async move { drop(given.await) }));
        assert!(give.send(owner).is_ok());
        until("its end after a drop inside", || ended.load(Ordering::SeqCst));

        // During unwinding.
        let (owner, ended) = start();
        let unwound = thread::spawn(move || {
            let _owner = owner;
            panic!("on purpose");
        });
        assert!(unwound.join().is_err());
        until("its end after a panic", || ended.load(Ordering::SeqCst));
    });
}

/// Runs something while the thread's locals are being destroyed, Tokio's before it.
fn while_locals_are_destroyed<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    struct Last(Option<Box<dyn FnOnce()>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(run) = self.0.take() {
                run();
            }
        }
    }
    thread_local!(static LAST: RefCell<Last> = const { RefCell::new(Last(None)) });
    let (answer, is_answer) = mpsc::channel();
    let run = move || {
        let gone = tokio::runtime::Handle::try_current().unwrap_err();
        assert!(gone.is_thread_local_destroyed(), "the control");
        answer.send(run()).unwrap();
    };
    thread::spawn(|| {
        // Registered first, and so destroyed last.
        LAST.set(Last(Some(Box::new(run))));
        let _ = tokio::runtime::Handle::try_current();
    });
    is_answer.recv_timeout(PLENTY).unwrap()
}

#[test]
fn it_is_used_and_dropped_while_the_locals_of_a_thread_are_destroyed() {
    both_flavours("locals", |builder| {
        let owner = builder.clone().start().unwrap();
        let other = owner.clone();
        let (entered, spawned, ended) = while_locals_are_destroyed(move || {
            let spawned = other.spawn("from there", |_| async { 1 });
            let spawned = spawned.unwrap().wait_timeout(PLENTY);
            (other.block_on(async {}), spawned, other.shutdown(PLENTY).is_ok())
        });
        assert!(matches!(entered, Err(Ended::ThreadEnding { .. })), "{entered:?}");
        assert_eq!((spawned, ended), (Ok(1), true));

        let started = while_locals_are_destroyed(move || builder.start());
        let (owned, is_dropped) = told();
        let owner = started.unwrap();
        drop(owner.spawn("owns", |_| async move {
            let _owned = owned;
            pending::<()>().await;
        }));
        while_locals_are_destroyed(move || drop(owner));
        until("its end", || is_dropped.load(Ordering::SeqCst));
    });
}

/// The timer is driven by the runtime's own thread, and wakes whoever polled it: here a waker that
/// panics. (On a multi-thread runtime Tokio aborts the process for that.)
#[test]
fn a_thread_that_panicked_is_told_to_every_caller() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }
    let owner = RuntimeOwner::builder("unlucky").current_thread().start().unwrap();
    let (owned, is_dropped) = told();
    drop(owner.spawn("bystander", |_| async move {
        let _owned = owned;
        pending::<()>().await;
    }));
    {
        let handle = owner.handle().unwrap();
        let _context = handle.enter();
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        let waker = Waker::from(Arc::new(Panics));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        until("the end of its thread", || owner.stats().state == State::Ended);
    }
    assert!(matches!(owner.handle(), Err(Ended::ShutDown { .. })));
    for _ in 0..2 {
        let error = owner.shutdown(PLENTY).unwrap_err();
        let ShutdownError::ThreadPanicked { message, still_running, alive, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(message, "a waker that panics");
        assert_eq!((still_running[0].name.as_str(), alive.tasks), ("bystander", 1));
    }
    assert!(is_dropped.load(Ordering::SeqCst));
    owner.restart().unwrap();
    assert_eq!(owner.block_on(async { 1 }), Ok(1));
    owner.shutdown(PLENTY).unwrap();
}

#[test]
fn what_cannot_start_says_why() {
    both_flavours("cannot", |builder| {
        let no_stack = usize::MAX / 4;
        let error = builder.clone().stack_size(no_stack).start().unwrap_err();
        let text = error.to_string();
        match &error {
            StartError::NoThread { .. } => assert!(text.contains("cannot-c"), "{text}"),
            StartError::NoRuntime { .. } => assert!(text.contains("worker thread"), "{text}"),
            _ => panic!("{text}"),
        }
        let error = builder.clone().blocking_threads(0).start().unwrap_err();
        assert!(matches!(error, StartError::NoSuchNumber { .. }), "{error}");
    });
    let error = RuntimeOwner::builder("none").workers(0).start().unwrap_err();
    assert!(error.to_string().contains("0 workers"), "{error}");
    let odd = RuntimeOwner::builder("a name\0with a zero byte").workers(1).start().unwrap();
    odd.shutdown(PLENTY).unwrap();
}

#[test]
fn it_is_shut_down_in_a_list() {
    both_flavours("list", |builder| {
        let (first, second) = (builder.clone().start().unwrap(), builder.start().unwrap());
        let results = executor::block_on(shutdown_in_order([&first as _, &second as _], PLENTY));
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        executor::block_on(first.shutdown_within(PLENTY)).unwrap();
    });
}

#[test]
fn a_cell_starts_once_ends_and_starts_again_when_told() {
    static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("cell").workers(1));
    assert_eq!(CELL.stats().state, State::NotStarted);
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(CELL.get().unwrap().generation(), 1);
            });
        }
    });
    let old = CELL.get().unwrap();
    assert_eq!(old.block_on(async { 1 }), Ok(1));
    CELL.shutdown(PLENTY).unwrap();
    assert!(matches!(CELL.get(), Err(StartError::Ended(_))), "not by itself");
    CELL.restart().unwrap();
    assert_eq!(CELL.get().unwrap().generation(), 2);
    assert!(old.handle().is_err());
    executor::block_on(CELL.shutdown_async(None)).unwrap();
    executor::block_on(CELL.shutdown_within(PLENTY)).unwrap();
    no_thread_is_left("cell");
}

#[test]
fn a_cell_that_is_shut_down_before_it_starts_does_not_start_by_itself() {
    static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("early"));
    assert_eq!(CELL.shutdown(PLENTY).unwrap().aborted, 0);
    assert!(matches!(CELL.get(), Err(StartError::Ended(Ended::ShutDown { .. }))));
    CELL.restart().unwrap();
    assert_eq!(CELL.get().unwrap().generation(), 1);
    CELL.shutdown(PLENTY).unwrap();
}

#[test]
fn a_cell_whose_runtime_cannot_be_built_tries_again() {
    static ROOM: AtomicBool = AtomicBool::new(false);
    static CELL: RuntimeCell = RuntimeCell::new(|| {
        let builder = RuntimeOwner::builder("retry").current_thread();
        if ROOM.load(Ordering::SeqCst) { builder } else { builder.stack_size(usize::MAX / 4) }
    });
    assert!(matches!(CELL.get(), Err(StartError::NoThread { .. })));
    ROOM.store(true, Ordering::SeqCst);
    assert_eq!(CELL.get().unwrap().block_on(async { 1 }), Ok(1));
    CELL.shutdown(PLENTY).unwrap();
}

/// Whoever spawns while it is shut down either is refused or is waited for.
#[test]
fn spawning_races_with_the_shutdown_and_everybody_is_accounted_for() {
    both_flavours("spawns", |builder| {
        let owner = builder.start().unwrap();
        for _ in 0..20 {
            let (accepted, ended) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            let ended = Arc::clone(&ended);
                            let spawned = owner.spawn("listener", |stop| async move {
                                stop.await;
                                ended.fetch_add(1, Ordering::SeqCst);
                            });
                            accepted.fetch_add(spawned.is_ok().into(), Ordering::SeqCst);
                        }
                    });
                }
                scope.spawn(|| owner.shutdown(PLENTY).unwrap());
            });
            assert_eq!(accepted.into_inner(), ended.load(Ordering::SeqCst));
            owner.restart().unwrap();
        }
        owner.shutdown(PLENTY).unwrap();
    });
}

#[test]
fn owners_are_send_and_sync_and_their_futures_are_send() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    fn is_send(_: &impl Send) {}
    let owner = RuntimeOwner::builder("send").current_thread().start().unwrap();
    is_send_and_sync(&owner);
    is_send_and_sync(&owner.current().unwrap());
    is_send(&owner.shutdown_async(PLENTY));
    owner.shutdown(PLENTY).unwrap();
}
