//! Destructors that do what they should not, or what one would not expect of them.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use futures::executor::block_on;
use sundown::{
    latch::Latch,
    session::{CloseErrorKind, Inside, Session, Unfinished},
    teardown::teardown_blocking,
};
use tokio::task::{spawn, spawn_blocking};

use super::{from_inside, session};
use crate::fixtures::{PLENTY, SHORT, on_drop, pool, stuck, until};

#[test]
fn a_destructor_that_panics_is_reported_and_the_others_are_torn_down() {
    let (session, (pool, closed)) = (session(), pool());
    drop(session.guard(on_drop(|| panic!("no connection to lose"))).unwrap());
    drop(session.guard(pool).unwrap());
    for _ in 0..2 {
        let error = session.close_blocking(PLENTY).unwrap_err();
        assert!(matches!(error.kind, CloseErrorKind::Panicked), "{error}");
        assert_eq!(*error.panicked, ["no connection to lose"]);
        assert_eq!(closed(), 2);
    }
}

#[test]
fn of_many_panics_the_first_are_told_and_all_are_counted() {
    let session = session();
    for number in 0..100 {
        drop(session.guard(on_drop(move || panic!("number {number}"))).unwrap());
    }
    let error = session.close_blocking(PLENTY).unwrap_err();
    assert_eq!((error.seen.panics, error.panicked.len()), (100, 16), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("100 destructors panicked: number 0, ") && text.ends_with(", …"),
        "{text}"
    );
}

#[test]
fn a_destructor_that_blocks_is_reported_at_the_limit_and_waited_for_again() {
    let (session, (pool, closed), (stuck, blocks)) = (session(), pool(), stuck());
    drop(session.guard(on_drop(blocks)).unwrap());
    stuck.has_begun.recv().unwrap();
    // It waits behind the first.
    drop(session.guard(pool).unwrap());
    let error = session.close_blocking(SHORT).unwrap_err();
    assert!(matches!(error.kind, CloseErrorKind::StillRunning), "{error}");
    let Unfinished { waiting, destructor_running, tasks, .. } = error.unfinished;
    assert_eq!((waiting, destructor_running, tasks), (1, true, 0), "{error}");
    assert!(error.elapsed >= SHORT && closed() == 0, "{error}");
    drop(stuck.let_go);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn a_value_may_hold_handles_and_its_destructor_drop_them_in_a_task() {
    let (session, (pool, closed)) = (session(), pool());
    let inner = session.guard(pool).unwrap();
    let outer = session.guard(on_drop({
        let inner = inner.clone();
        move || drop(spawn(async move { drop(inner.map(|_| ())) }))
    }));
    drop(outer.unwrap().map(|_| inner));
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!((closed(), session.values()), (2, 0));
}

#[test]
fn a_close_from_inside_is_an_error_and_not_a_deadlock() {
    let (session, (sender, results)) = (session(), mpsc::channel());
    let value = on_drop({
        let session = session.clone();
        move || {
            sender.send(session.close_blocking(Duration::MAX)).unwrap();
            sender.send(block_on(session.close(Duration::MAX))).unwrap();
            let (in_task, in_closer, from_closer) = (session.clone(), session, sender.clone());
            spawn(async move { sender.send(in_task.close(Duration::MAX).await).unwrap() });
            spawn_blocking(move || {
                from_closer.send(in_closer.close_blocking(Duration::MAX)).unwrap();
            });
        }
    });
    drop(session.guard(value).unwrap());
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(results.iter().map(|result| from_inside(Inside::Destructor, result)).count(), 4);
}

#[test]
fn a_destructor_may_tear_down_and_use_a_session_of_its_own() {
    let (outer, (torn, torn_closed), (guarded, guarded_closed)) = (session(), pool(), pool());
    let value = on_drop(move || {
        teardown_blocking(torn, PLENTY).unwrap();
        let inner = session();
        drop(inner.guard(guarded).unwrap());
        let _ = inner.close_blocking(PLENTY).unwrap();
    });
    drop(outer.guard(value).unwrap());
    let _ = outer.close_blocking(PLENTY).unwrap();
    assert_eq!((torn_closed(), guarded_closed()), (2, 2));
}

#[test]
fn a_value_may_be_the_last_owner_of_its_own_session() {
    let (session, latch) = (session(), Arc::new(Latch::new()));
    let value = on_drop({
        let (session, latch) = (session.clone(), Arc::clone(&latch));
        move || {
            drop(session);
            spawn_blocking(move || latch.fire());
        }
    });
    let guard = session.guard(value).unwrap();
    drop(session);
    drop(guard);
    assert!(latch.wait_blocking(PLENTY));
}

/// What hooks and checks hold is foreign, and may block, or need a runtime. A session that is dropped unclosed
/// drops it where values are torn down.
#[test]
fn a_session_that_is_dropped_is_not_held_up_by_what_its_hooks_and_checks_hold() {
    let (hook, blocks) = stuck();
    let (check, also_blocks) = stuck();
    let (pool, closed) = pool();
    let (blocks, also_blocks) = (on_drop(blocks), Mutex::new(on_drop(also_blocks)));
    let session = Session::builder("test")
        .before_close(async move || drop((pool, blocks)))
        .evidence(move || {
            let _ = &also_blocks;
            Ok(())
        })
        .start()
        .unwrap();
    let began = Instant::now();
    drop(session);
    assert!(began.elapsed() < PLENTY / 2, "{:?}", began.elapsed());
    hook.has_begun.recv_timeout(PLENTY).unwrap();
    drop(hook.let_go);
    check.has_begun.recv_timeout(PLENTY).unwrap();
    drop(check.let_go);
    until("the pool's closers, on a runtime", || closed() == 2);
}
