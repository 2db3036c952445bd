//! Handles: where the last one is dropped, what is derived from them, and who is reported to hold them.

use std::{sync::mpsc, thread, time::Duration};

use sundown::{
    latch::Latch,
    session::{Confirmation, Unfinished},
};
use tokio::task::spawn;

use super::{session, still_held};
use crate::fixtures::{PLENTY, SHORT, both_flavours, on_drop, pool, while_locals_are_destroyed};

#[test]
fn the_last_handle_may_be_dropped_on_a_thread_without_context() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    let clone = guard.clone();
    drop(guard);
    assert_eq!(session.values(), 1);
    thread::spawn(move || drop(clone)).join().unwrap();
    let report = session.close_blocking(PLENTY).unwrap();
    assert_eq!((closed(), session.values()), (2, 0));
    assert_eq!((report.session.as_str(), report.confirmation), ("test", Confirmation::HandlesOnly));
}

#[test]
fn the_last_handle_may_be_dropped_in_async_code_and_the_session_close_there() {
    both_flavours(async || {
        let (session, (pool, closed)) = (session(), pool());
        let guard = session.guard(pool).unwrap();
        spawn(async move { drop(guard) }).await.unwrap();
        let _ = session.close(PLENTY).await.unwrap();
        assert_eq!(closed(), 2);
    });
}

#[test]
fn the_last_handle_may_be_dropped_while_the_locals_of_its_thread_are_being_destroyed() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    while_locals_are_destroyed(move || drop(guard));
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn the_last_handle_does_not_wait_for_the_destructor() {
    static LATCH: Latch = Latch::new();
    let (session, (sender, receiver)) = (session(), mpsc::channel());
    let value = on_drop(move || {
        assert!(LATCH.wait_blocking(PLENTY));
        sender.send(thread::current().id()).unwrap();
    });
    drop(session.guard(value).unwrap());
    LATCH.fire();
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_ne!(receiver.recv().unwrap(), thread::current().id());
}

#[test]
fn who_holds_on_is_reported_by_place_and_number() {
    let session = session();
    let (guard, guarded_at) = (session.guard(1).unwrap(), line!());
    let (clones, cloned_at) = ([(); 3].map(|()| guard.clone()), line!());
    let (derived, derived_at) = (guard.map(|one| one + 1), line!());
    drop(guard);
    assert_eq!(*derived, 2);
    let error = still_held(session.close_blocking(SHORT));
    assert!(error.elapsed >= SHORT);
    let places: Vec<_> =
        error.held.iter().map(|held| (held.made_at.line(), held.handles)).collect();
    assert_eq!(places, [(cloned_at, 3), (derived_at, 1)], "and none of line {guarded_at}");
    assert_eq!(error.unfinished, Unfinished::default());
    let text = error.to_string();
    assert!(text.contains("3 made at") && text.contains(file!()), "{text}");
    drop((clones, derived));
    let _ = session.close_blocking(PLENTY).unwrap();
}

#[test]
fn once_closing_has_begun_values_are_handed_back_and_handles_stay_good() {
    let session = session();
    let guard = session.guard(1).unwrap();
    still_held(session.close_blocking(Duration::ZERO));
    let refused = session.guard(2).unwrap_err();
    assert_eq!((refused.value, refused.session.as_str()), (2, "test"));
    let (clone, derived) = (guard.clone(), guard.map(|one| one + 2));
    assert_eq!(session.held().iter().map(|held| held.handles).sum::<usize>(), 3);
    drop((guard, clone));
    still_held(session.close_blocking(Duration::ZERO));
    assert_eq!(*derived, 3, "it outlives what it was derived from");
    drop(derived);
    let _ = session.close_blocking(PLENTY).unwrap();
    session.guard(4).unwrap_err();
}

#[test]
fn a_handle_shows_its_value() {
    let session = session();
    let guard = session.guard("client").unwrap();
    assert_eq!(format!("{guard:?}"), r#"Guarded("client")"#);
    assert_eq!(guard.len(), 6);
    assert!(format!("{session:?}").contains("values: 1"));
}
