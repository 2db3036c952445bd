//! What each caller is told, from wherever and however late it asks.

use std::{
    future::{Future, pending},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures::executor;
use sundown::{
    runtime::{RuntimeError, RuntimeOwner, State},
    shutdown::{ShutdownError, ShutdownErrorKind},
};

use crate::{PLENTY, both_flavours, told, until};

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
                        owner.shutdown_blocking(PLENTY)
                    } else {
                        executor::block_on(owner.shutdown(PLENTY))
                    };
                    assert!(is_dropped.load(Ordering::SeqCst), "answered before the end");
                    answer.unwrap().aborted
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), 0);
        }
        assert_eq!(
            owner.shutdown_blocking(Duration::ZERO).unwrap().aborted,
            0,
            "and so is a later one"
        );
    });
}

#[test]
fn every_caller_is_told_of_the_same_panic() {
    both_flavours("panicked", |builder| {
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
fn what_somebody_else_shut_down_answers_that_it_has_ended() {
    both_flavours("else", |builder| {
        let owner = builder.start().unwrap();
        let (other, handle) = (owner.clone(), owner.current().unwrap());
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
        let ended = |result: Result<(), RuntimeError>| {
            assert!(
                matches!(result, Err(RuntimeError::ShutDown { generation: 1, .. })),
                "{result:?}"
            );
        };
        ended(other.handle().map(drop));
        ended(other.current().map(drop));
        ended(other.spawn("late", |_| async {}).map(drop));
        ended(other.block_on(async {}));
        ended(handle.handle().map(drop));
        ended(handle.spawn("late", |_| async {}).map(drop));
        ended(handle.block_on(async {}));
        let _ = other.shutdown_blocking(PLENTY).unwrap();
    });
}

#[test]
fn what_is_refused_is_dropped() {
    let owner = RuntimeOwner::builder("refused").current_thread().start().unwrap();
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
    let (owned, is_dropped) = told();
    assert!(owner.spawn("late", |_| async move { drop(owned) }).is_err());
    assert!(is_dropped.load(Ordering::SeqCst));
}

#[test]
fn shutdown_from_inside_is_an_error_and_not_a_deadlock() {
    both_flavours("inside", |builder| {
        let owner = builder.start().unwrap();
        let from_inside = |result: Result<_, ShutdownError>| {
            assert!(
                matches!(result, Err(ShutdownError { kind: ShutdownErrorKind::FromInside, .. })),
                "{result:?}"
            );
        };
        // In a task, by both ways; in what a task blocks with; in `block_on`; and in that on a
        // thread of the runtime.
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
        // Never awaited: a timer is how a waker comes to be called on the runtime's own thread.
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
        assert_eq!((still_running[0].name.as_str(), alive.tasks), ("bystander", 1));
    }
    assert!(is_dropped.load(Ordering::SeqCst));
    owner.restart().unwrap();
    assert_eq!(owner.block_on(async { 1 }), Ok(1));
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
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
