//! What each caller gets to know, from wherever and however late it asks.

use std::{
    cell::RefCell,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use futures::executor;
use sundown::{
    runtime::{RuntimeError, RuntimeOwner, State},
    shutdown::{ShutdownError, ShutdownErrorKind},
};

use super::{on_both_flavours, spawn_deaf};
use crate::fixtures::{PLENTY, SHORT, current_thread, multi_thread, on_drop, owned, until};
use tokio::runtime::RuntimeFlavor;

#[test]
fn every_caller_waits_for_the_real_end_and_gets_the_same_answer() {
    on_both_flavours("eight", |builder| {
        let owner = builder.start().unwrap();
        let (owned, is_dropped) = owned();
        drop(owner.spawn("owns", |stop| async move {
            let _owned = owned;
            stop.await;
        }));
        let blocking = || owner.shutdown_blocking(PLENTY);
        let awaiting = || executor::block_on(owner.shutdown(PLENTY));
        thread::scope(|scope| {
            for shutdown in [&blocking as &(dyn Fn() -> _ + Sync), &awaiting] {
                for _ in 0..4 {
                    scope.spawn(|| {
                        assert_eq!(shutdown().unwrap().aborted, 0);
                        assert!(is_dropped(), "answered before the end");
                    });
                }
            }
        });
        let again = owner.shutdown_blocking(Duration::ZERO);
        assert_eq!(again.unwrap().aborted, 0, "a later caller, too");
    });
}

#[test]
fn every_caller_gets_the_same_panic() {
    on_both_flavours("panicked", |builder| {
        let owner = builder.start().unwrap();
        let received = owner.spawn("unlucky", |_| async { panic!("no luck") }).unwrap();
        assert!(executor::block_on(received).is_err(), "abandoned");
        for _ in 0..3 {
            let error = owner.shutdown_blocking(PLENTY).unwrap_err();
            let ShutdownErrorKind::Panicked(panicked) = &error.kind else { panic!("{error}") };
            assert_eq!((panicked.len(), &*panicked[0].message), (1, "no luck"));
        }
        assert_eq!(owner.stats().state, State::Ended);
    });
}

#[test]
fn what_somebody_else_shut_down_answers_that_it_has_ended_and_drops_what_it_refuses() {
    on_both_flavours("else", |builder| {
        let owner = builder.start().unwrap();
        let (other, handle) = (owner.clone(), owner.current().unwrap());
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        let ((refused, is_dropped), late) = (owned(), || async {});
        let results = [
            other.handle().map(drop),
            other.current().map(drop),
            other.spawn("late", |_| async move { drop(refused) }).map(drop),
            other.block_on(late()),
            handle.handle().map(drop),
            handle.spawn("late", move |_| late()).map(drop),
            handle.block_on(late()),
        ];
        for result in results {
            let ended = matches!(result, Err(RuntimeError::ShutDown { generation: 1, .. }));
            assert!(ended, "{result:?}");
        }
        assert!(is_dropped());
        let _ = other.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn shutdown_from_inside_is_an_error_and_not_a_deadlock() {
    on_both_flavours("inside", |builder| {
        let owner = builder.start().unwrap();
        let from_inside = |result: Result<_, ShutdownError>| {
            assert!(
                matches!(result, Err(ShutdownError { kind: ShutdownErrorKind::FromInside, .. })),
                "{result:?}"
            );
        };
        // In a task, in both ways; in a blocking closure of a task; and inside `block_on`.
        let inside = owner.clone();
        let answers = owner
            .spawn("asks", |_| async move {
                let awaited = inside.shutdown(PLENTY).await;
                let blocked = inside.shutdown_blocking(PLENTY);
                let in_blocking =
                    tokio::task::spawn_blocking(move || inside.shutdown_blocking(PLENTY));
                [awaited, blocked, in_blocking.await.unwrap()]
            })
            .unwrap();
        for answer in executor::block_on(answers).unwrap() {
            from_inside(answer);
        }
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        owner.restart().unwrap();
        from_inside(owner.block_on(async { owner.shutdown_blocking(PLENTY) }).unwrap());
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

/// As a synchronous wrapper of an asynchronous client does it: the thread is one of the runtime, although the
/// context is that of another.
#[test]
fn shutdown_from_inside_through_a_runtime_of_the_callers_own_is_an_error_and_not_a_deadlock() {
    fn shut_down(owner: &RuntimeOwner) -> [bool; 2] {
        let is_from_inside = |result: Result<_, ShutdownError>| {
            let kind = result.map(drop).unwrap_err().kind;
            matches!(kind, ShutdownErrorKind::FromInside)
        };
        let mut answers = [false; 2];
        for (answer, other) in answers.iter_mut().zip([current_thread(), multi_thread()]) {
            // A runtime cannot be entered inside another, only on a thread that has left it.
            *answer = is_from_inside(other.block_on(owner.shutdown(Duration::MAX)));
            other.shutdown_background();
        }
        answers
    }
    on_both_flavours("through", |builder| {
        let owner = builder.start().unwrap();
        let inside = owner.clone();
        let in_blocking = owner.spawn("asks", |_| async move {
            tokio::task::spawn_blocking(move || {
                // Its context is the runtime's, until it is inside the other.
                shut_down(&inside)
            })
            .await
            .unwrap()
        });
        assert_eq!(executor::block_on(in_blocking.unwrap()), Ok([true, true]));
        let _ = owner.shutdown_blocking(PLENTY).unwrap();

        owner.restart().unwrap();
        if owner.handle().unwrap().runtime_flavor() == RuntimeFlavor::MultiThread {
            let inside = owner.clone();
            let in_place = owner.spawn("in place", |_| async move {
                tokio::task::block_in_place(|| shut_down(&inside))
            });
            assert_eq!(executor::block_on(in_place.unwrap()), Ok([true, true]));
        }
        // On no runtime's executor, in a task.
        let inside = owner.clone();
        let bare = owner.spawn("bare", |_| async move {
            executor::block_on(inside.shutdown(Duration::MAX)).unwrap_err().kind
        });
        let bare = bare.map(|answer| executor::block_on(answer).unwrap());
        assert!(!matches!(bare, Ok(kind) if !matches!(kind, ShutdownErrorKind::FromInside)));
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

/// The runtime's own thread drives the timer, and calls a waker that panics. (On a multi-thread runtime
/// Tokio aborts the process in that case.)
#[test]
fn every_caller_gets_the_panic_of_the_runtimes_thread() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }
    let owner = RuntimeOwner::builder("unlucky").current_thread().start().unwrap();
    let is_dropped = spawn_deaf(&owner);
    {
        let handle = owner.handle().unwrap();
        let _context = handle.enter();
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        let waker = Waker::from(Arc::new(Panics));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        until("the end of its thread", || owner.stats().state == State::Ended);
    }
    assert!(matches!(owner.handle(), Err(RuntimeError::ShutDown { .. })));
    for _ in 0..2 {
        let error = owner.shutdown_blocking(PLENTY).unwrap_err();
        let ShutdownError { kind, still_running, alive, .. } = &error;
        let ShutdownErrorKind::ThreadPanicked(message) = kind else { panic!("{error}") };
        assert_eq!(&**message, "a waker that panics");
        assert_eq!((still_running[0].name.as_str(), alive.tasks), ("deaf", 1));
    }
    assert!(is_dropped());
    owner.restart().unwrap();
    assert_eq!(owner.block_on(async { 1 }), Ok(1));
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn a_task_that_is_spawned_during_a_shutdown_is_refused_or_waited_for() {
    on_both_flavours("spawns", |builder| {
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
                scope.spawn(|| owner.shutdown_blocking(PLENTY).unwrap());
            });
            assert_eq!(accepted.into_inner(), ended.load(Ordering::SeqCst));
            owner.restart().unwrap();
        }
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn owners_are_send_and_sync_and_their_futures_are_send() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    fn is_send(_: &impl Send) {}
    let owner = RuntimeOwner::builder("send").current_thread().start().unwrap();
    is_send_and_sync(&owner);
    is_send_and_sync(&owner.current().unwrap());
    is_send(&owner.shutdown(PLENTY));
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}

/// The owner thread wakes those who wait, almost as its last act. A waker that blocks is called elsewhere.
#[test]
fn a_waker_that_blocks_costs_no_other_caller_its_limit() {
    struct Blocks(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);
    impl Wake for Blocks {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
            let _ = self.1.lock().unwrap().recv_timeout(PLENTY);
        }
    }
    on_both_flavours("blocked", |builder| {
        let owner = builder.start().unwrap();
        let (calls, called) = mpsc::channel();
        let (let_go, is_let_go) = mpsc::channel();
        let waker = Waker::from(Arc::new(Blocks(calls, Mutex::new(is_let_go))));
        // It keeps the runtime until that caller waits.
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let deaf = owner.spawn("deaf", |_stop| async move { assert!(ends.await.is_err()) });
        drop(deaf.unwrap());
        let mut waiting = Box::pin(owner.shutdown(PLENTY));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(end);
        called.recv_timeout(PLENTY).unwrap();
        let began = Instant::now();
        for _ in 0..2 {
            let error = owner.shutdown_blocking(SHORT).unwrap_err();
            assert!(began.elapsed() < PLENTY / 2, "{error}");
            assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
            assert!(error.alive.threads.contains(&"sundown-wakers".to_owned()), "{error}");
        }
        drop(let_go);
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        assert!(executor::block_on(waiting).is_ok());
    });
}

/// The end of the runtime waits for each of its threads, and so for the destructors of its thread-locals.
/// Tokio's hook for the end of a thread has run before them.
#[test]
fn a_shutdown_while_the_locals_of_its_own_thread_are_destroyed_does_not_wait_for_itself() {
    thread_local!(static LAST: RefCell<Option<Box<dyn Send>>> = const { RefCell::new(None) });
    on_both_flavours("own-locals", |builder| {
        let owner = builder.limit(PLENTY).start().unwrap();
        for blocking in [false, true] {
            let (answer, is_answer) = mpsc::channel();
            let again = owner.clone();
            let late = on_drop(move || answer.send(again.shutdown_blocking(None)).unwrap());
            let keep = || LAST.set(Some(Box::new(late)));
            let handle = owner.handle().unwrap();
            if blocking {
                handle.spawn_blocking(keep);
            } else {
                handle.spawn(async { keep() });
            }
            let began = Instant::now();
            let _ = owner.shutdown_blocking(PLENTY).unwrap();
            let error = is_answer.recv_timeout(PLENTY).unwrap().unwrap_err();
            assert!(matches!(error.kind, ShutdownErrorKind::FromInside), "{error}");
            assert!(began.elapsed() < PLENTY / 2, "{:?}", began.elapsed());
            owner.restart().unwrap();
        }
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}
