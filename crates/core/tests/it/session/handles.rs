//! Handles: where the last one is dropped, what is derived from them, and who is reported to hold them.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    NotCovered,
    latch::Latch,
    session::{Confirmation, Guarded, GuardedWeak, Unfinished},
};
use tokio::task::{spawn, yield_now};

use super::{session, still_held};
use crate::fixtures::{
    PLENTY, SHORT, both_flavours, on_drop, owned, pool, while_locals_are_destroyed,
};

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
    assert!(text.contains("3 handles made at") && text.contains(file!()), "{text}");
    drop((clones, derived));
    let _ = session.close_blocking(PLENTY).unwrap();
}

/// Clones, made by code that does not say for whom.
#[test]
fn who_holds_a_handle_through_the_standard_library_is_named_by_a_line_of_the_program() {
    #[derive(Clone)]
    struct Tab {
        client: Option<Guarded<u8>>,
    }
    let session = session();
    let (guard, guarded_at) = (session.guard(1).unwrap(), line!());
    let (tab, cloned_at) = (Tab { client: Some(guard.clone()) }, line!());
    let tabs = vec![tab; 3];
    let options = (tabs[0].client.clone(), tabs.clone(), vec![guard.clone(); 2], Box::new(guard));
    let in_map = std::collections::HashMap::from([(1, options.2[0].clone())]).clone();
    for held in session.held() {
        assert_eq!(held.made_at.file(), file!(), "{held}");
        assert!((guarded_at..cloned_at + 5).contains(&held.made_at.line()), "{held}");
    }
    let handles: usize = session.held().iter().map(|held| held.handles).sum();
    assert_eq!(handles, 3 + 1 + 3 + 2 + 1 + 1);
    drop((tabs, options, in_map));
    assert!(session.held().is_empty());
    let _ = session.close_blocking(PLENTY).unwrap();
}

#[test]
fn what_is_derived_fallibly_or_asynchronously_is_a_handle_of_its_own() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(Arc::new(pool)).unwrap();
    let failed = guard.try_map(|_| Err::<(), _>("no such room"));
    assert_eq!(failed.unwrap_err(), "no such room");
    let (room, mapped_at) = (guard.try_map(|pool| Ok::<_, ()>(Arc::clone(pool))), line!());
    let timeline = block_on(guard.map_async(async |pool| {
        yield_now().await;
        Arc::clone(pool)
    }));
    let failed = block_on(guard.try_map_async(async |_| Err::<(), _>("no such event")));
    assert_eq!(failed.unwrap_err(), "no such event");
    let event = block_on(guard.try_map_async(async |pool| Ok::<_, ()>(Arc::clone(pool))));
    let (room, event) = (room.unwrap(), event.unwrap());
    drop(guard);
    let mut lines: Vec<_> = session.held().iter().map(|held| held.made_at.line()).collect();
    lines.sort_unstable();
    assert_eq!((lines[0], lines.len(), session.values()), (mapped_at, 3, 3));
    // Each on a thread where the value itself could not be dropped.
    thread::spawn(move || drop((room, timeline, event))).join().unwrap();
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn a_derivation_that_is_given_up_derives_nothing() {
    let session = session();
    let guard = session.guard(()).unwrap();
    assert!(
        guard.map_async(async |()| std::future::pending::<()>().await).now_or_never().is_none()
    );
    assert_eq!(session.values(), 1);
    drop(guard);
    let _ = session.close_blocking(PLENTY).unwrap();
}

#[test]
fn a_weak_handle_keeps_neither_the_value_nor_the_session() {
    let (session, (pool, closed)) = (session(), pool());
    let guard = session.guard(pool).unwrap();
    let weak = guard.downgrade();
    let (upgraded, upgraded_at) = (weak.clone().upgrade().unwrap(), line!());
    drop(guard);
    still_held(session.close_blocking(SHORT));
    assert_eq!(session.held()[0].made_at.line(), upgraded_at);
    // Also while it closes.
    let again = weak.upgrade().unwrap();
    drop((upgraded, again));
    assert!(weak.upgrade().is_none() && GuardedWeak::<u8>::empty().upgrade().is_none());
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

/// Whoever gets a handle from a weak one uses the value before it is torn down.
#[test]
fn a_weak_handle_is_upgraded_before_the_last_handle_is_dropped_or_not_at_all() {
    for _ in 0..200 {
        let (session, (owned, is_dropped)) = (session(), owned());
        let guard = session.guard(owned).unwrap();
        let weak = guard.downgrade();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(guard) = weak.upgrade() {
                        assert!(!is_dropped(), "it is used after it was dropped");
                        drop(guard);
                    }
                });
            }
            drop(guard);
            let _ = session.close_blocking(PLENTY).unwrap();
            assert!(is_dropped() && weak.upgrade().is_none());
        });
    }
}

#[test]
fn a_value_that_is_taken_out_is_counted_as_escaped_and_the_report_names_it() {
    let (session, (owned, is_dropped)) = (session(), owned());
    let guard = session.guard(owned).unwrap();
    let (clone, weak) = (guard.clone(), guard.downgrade());
    let guard = guard.into_inner().unwrap_err();
    drop(clone);
    let value = guard.into_inner().unwrap();
    assert!(weak.upgrade().is_none() && session.held().is_empty());
    let report = session.close_blocking(PLENTY).unwrap();
    assert!(!is_dropped(), "it is the caller's now");
    assert_eq!(report.escaped, 1);
    assert!(report.not_covered.contains(&NotCovered::Escaped { values: 1 }), "{report}");
    assert!(report.to_string().contains("1 value taken out of a handle"), "{report}");
    drop(value);

    let plain = super::session();
    let report = plain.close_blocking(PLENTY).unwrap();
    assert_eq!(report.escaped, 0, "the control");
    assert!(!report.not_covered.iter().any(|it| matches!(it, NotCovered::Escaped { .. })));
    assert!(report.not_covered.contains(&NotCovered::Clones));
}

#[test]
fn of_several_who_take_the_value_out_at_most_one_gets_it_and_nobody_loses_it() {
    for _ in 0..200 {
        let (session, (owned, is_dropped)) = (session(), owned());
        let guard = session.guard(owned).unwrap();
        let handles = [guard.clone(), guard];
        let taken = thread::scope(|scope| {
            let taking = handles.map(|handle| scope.spawn(|| handle.into_inner().is_ok()));
            taking.map(|taking| usize::from(taking.join().unwrap())).iter().sum::<usize>()
        });
        let report = session.close_blocking(PLENTY).unwrap();
        assert!(taken <= 1 && report.escaped == taken && is_dropped());
    }
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
