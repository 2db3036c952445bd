//! Handles: where the last one dies, what is derived from them, and who is told to hold them.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use sundown::{
    latch::Latch,
    session::{CloseError, CloseErrorKind, Confirmation, Guarded, Unfinished},
};
use tokio::{
    runtime::{Builder, Handle},
    task::spawn,
};

use crate::{PLENTY, Pool, SHORT, both_flavours, handles, on_drop, pool, session};

#[test]
fn the_last_handle_may_die_on_a_thread_without_context() {
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
fn the_last_handle_may_die_in_async_code_and_the_session_close_there() {
    both_flavours(|runtime| {
        let (session, (pool, closed)) = (session(), pool());
        let guard = session.guard(pool).unwrap();
        runtime.block_on(async {
            spawn(async move { drop(guard) }).await.unwrap();
            let _ = session.close(PLENTY).await.unwrap();
        });
        assert_eq!(closed(), 2);
    });
}

#[test]
fn the_last_handle_may_die_while_the_locals_of_its_thread_are_being_destroyed() {
    thread_local! {
        static LATE: RefCell<Option<Guarded<Pool>>> = const { RefCell::new(None) };
    }
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    thread::spawn(move || {
        LATE.set(Some(guard));
        // Tokio's local is made after ours, and so is destroyed before it.
        drop(Handle::try_current());
        Builder::new_current_thread().build().unwrap().block_on(async {});
    })
    .join()
    .unwrap();
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn the_last_handle_does_not_wait_for_the_destructor() {
    let (session, latch) = (session(), Arc::new(Latch::new()));
    let (told, heard) = mpsc::channel();
    let guard = session.guard(on_drop({
        let latch = Arc::clone(&latch);
        move || {
            assert!(latch.wait_blocking(PLENTY));
            told.send(thread::current().id()).unwrap();
        }
    }));
    drop(guard.unwrap());
    latch.fire();
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_ne!(heard.recv().unwrap(), thread::current().id());
}

#[test]
fn what_is_derived_belongs_to_the_session_and_outlives_what_it_was_derived_from() {
    struct Room(Arc<Pool>, &'static str);
    let (session, (pool, closed)) = (session(), pool());
    let client = session.guard(Arc::new(pool)).unwrap();
    let room = client.map(|client| Room(Arc::clone(client), "lobby"));
    drop(client);
    assert_eq!((room.1, room.0.closed.load(Ordering::SeqCst)), ("lobby", 0));
    let error = session.close_blocking(Duration::ZERO).unwrap_err();
    assert!(matches!(error, CloseError { kind: CloseErrorKind::StillHeld, .. }), "{error}");
    drop(room);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn who_holds_on_is_told_by_place_and_number() {
    let session = session();
    let (guard, guarded_at) = (session.guard(1).unwrap(), line!());
    let (clones, cloned_at) = ([(); 3].map(|()| guard.clone()), line!());
    let (derived, derived_at) = (guard.map(|one| one + 1), line!());
    drop(guard);
    assert_eq!(*derived, 2);
    let CloseError { kind: CloseErrorKind::StillHeld, held, unfinished, elapsed, .. } =
        session.close_blocking(SHORT).unwrap_err()
    else {
        panic!("three clones and a derived value are held")
    };
    assert!(elapsed >= SHORT);
    let places: Vec<_> = held.iter().map(|held| (held.made_at.line(), held.handles)).collect();
    assert_eq!(places, [(cloned_at, 3), (derived_at, 1)], "and none of line {guarded_at}");
    assert_eq!(unfinished, Unfinished::default());
    let text = session.close_blocking(Duration::ZERO).unwrap_err().to_string();
    assert!(text.contains("3 made at") && text.contains(file!()), "{text}");

    drop((clones, derived));
    let _ = session.close_blocking(PLENTY).unwrap();
}

#[test]
fn once_closing_has_begun_a_value_comes_back_and_those_who_have_handles_may_go_on() {
    let session = session();
    let guard = session.guard(1).unwrap();
    session.close_blocking(Duration::ZERO).unwrap_err();
    let refused = session.guard(2).unwrap_err();
    assert_eq!((refused.value, refused.session.as_str()), (2, "test"));
    let (clone, derived) = (guard.clone(), guard.map(|one| one + 2));
    assert_eq!(handles(&session.held()), 3);
    drop((guard, clone));
    session.close_blocking(Duration::ZERO).unwrap_err();
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
