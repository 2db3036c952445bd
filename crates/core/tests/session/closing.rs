//! Closing: again, at the same time, given up, too short, and in a list of other things.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use sundown::{
    latch::Latch,
    session::{CloseError, CloseErrorKind, Guarded},
    shutdown::{GracefulShutdown, ShutdownErrorKind, shutdown_in_order},
    task::BackgroundTask,
};
use tokio::task::spawn_blocking;

use crate::{PLENTY, SHORT, both_flavours, on_drop, pool, session};

#[test]
fn a_close_again_gives_the_same_answer() {
    let (session, (pool, closed)) = (session(), pool());
    drop(session.guard(pool).unwrap());
    for _ in 0..3 {
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!(closed(), 2);
    }
    assert!(session.clone().close(Duration::ZERO).now_or_never().unwrap().is_ok());
}

#[test]
fn everybody_who_closes_gets_the_real_answer() {
    let (session, (pool, closed)) = (session(), pool());
    let (guard, closed) = (session.guard(pool).unwrap(), Arc::new(closed));
    let impatient = session.close_blocking(SHORT);
    let waiting: Vec<_> = (0..8)
        .map(|at| {
            let (session, closed) = (session.clone(), Arc::clone(&closed));
            thread::spawn(move || {
                let result = match at % 2 {
                    0 => session.close_blocking(PLENTY),
                    _ => futures::executor::block_on(session.close(PLENTY)),
                };
                (result, closed())
            })
        })
        .collect();
    drop(guard);
    for waiting in waiting {
        let (result, closed) = waiting.join().unwrap();
        assert_eq!((result.is_ok(), closed), (true, 2), "{result:?}");
    }
    assert!(matches!(impatient, Err(CloseError { kind: CloseErrorKind::StillHeld, .. })));
}

#[test]
fn a_dropped_close_loses_nothing() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    assert!(session.close(PLENTY).now_or_never().is_none());
    session.guard(()).unwrap_err();
    drop(guard);
    assert!(session.close(PLENTY).now_or_never().is_none_or(|result| result.is_ok()));
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn a_thousand_handles_die_on_eight_threads_while_it_closes() {
    for _ in 0..10 {
        let (session, dropped) = (session(), Arc::new(AtomicUsize::new(0)));
        let mut guards = Vec::new();
        for at in 0..1_000 {
            // Every fourth is a value of its own, and the others are clones of those.
            let guard = match at % 4 {
                0 => {
                    let dropped = Arc::clone(&dropped);
                    let closer = move || dropped.fetch_add(1, Ordering::SeqCst);
                    session.guard(on_drop(|| drop(spawn_blocking(closer)))).unwrap()
                }
                _ => Guarded::clone(&guards[at / 4 * 4]),
            };
            guards.push(guard);
        }
        let closing: Vec<_> = (0..2)
            .map(|_| {
                let (session, dropped) = (session.clone(), Arc::clone(&dropped));
                thread::spawn(move || {
                    let _ = session.close_blocking(PLENTY).unwrap();
                    assert_eq!(dropped.load(Ordering::SeqCst), 250);
                })
            })
            .collect();
        let mut hands: Vec<Vec<_>> = (0..8).map(|_| Vec::new()).collect();
        for (at, guard) in guards.into_iter().enumerate() {
            hands[at % 8].push(guard);
        }
        let threads: Vec<_> =
            hands.into_iter().map(|hand| thread::spawn(move || drop(hand))).collect();
        for thread in threads.into_iter().chain(closing) {
            thread.join().unwrap();
        }
        assert!(session.held().is_empty());
    }
}

#[test]
fn a_limit_of_zero_looks_once_and_the_longest_is_none() {
    both_flavours(|runtime| {
        let (session, (pool, closed)) = (session(), pool());
        let guard = session.guard(pool).unwrap();
        let error = runtime.block_on(session.close(Duration::ZERO)).unwrap_err();
        assert!(matches!(error, CloseError { kind: CloseErrorKind::StillHeld, .. }), "{error}");
        drop(guard);
        let _ = runtime.block_on(session.close(Duration::MAX)).unwrap();
        let _ = session.close_blocking(Duration::ZERO).unwrap();
        assert_eq!(closed(), 2);
    });
}

#[test]
fn a_session_that_is_dropped_unclosed_is_torn_down_all_the_same() {
    let (session, (first, first_closed), (second, second_closed)) = (session(), pool(), pool());
    let latch = Arc::new(Latch::new());
    let guard = session.guard(first).unwrap();
    drop(session.guard(second).unwrap());
    drop(session);
    // It is as good as before, and the last thing that the reaper hears of.
    let told = guard.map(|_| {
        let latch = Arc::clone(&latch);
        on_drop(move || assert!(latch.fire()))
    });
    drop((guard, told));
    assert!(latch.wait_blocking(PLENTY));
    let began = Instant::now();
    while (first_closed(), second_closed()) != (2, 2) {
        assert!(began.elapsed() < PLENTY);
        thread::yield_now();
    }
}

#[test]
fn a_session_is_shut_down_in_its_turn() {
    both_flavours(|runtime| {
        let (session, (pool, closed)) = (session(), pool());
        let guard = session.guard(pool).unwrap();
        runtime.block_on(async {
            let task = BackgroundTask::spawn("sync", |stop| async move {
                stop.await;
                drop(guard);
            });
            let task = task.unwrap();
            let components: [&dyn GracefulShutdown; 2] = [&task, &session];
            for result in shutdown_in_order(components, PLENTY).await {
                let _ = result.unwrap();
            }
        });
        assert_eq!(closed(), 2);
    });
}

#[test]
fn what_keeps_a_session_from_closing_is_in_the_error_of_every_shutdown() {
    let session = session();
    let _guard = session.guard(()).unwrap();
    let error = futures::executor::block_on(session.shutdown_within(SHORT)).unwrap_err();
    let ShutdownErrorKind::Failed(why) = &error.kind else { panic!("{error}") };
    let why = why.downcast_ref::<CloseError>().unwrap();
    assert!(matches!(why.kind, CloseErrorKind::StillHeld));
    assert!(error.to_string().contains(file!()), "{error}");
}
