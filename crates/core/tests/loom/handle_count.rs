//! The counts of a session: which values are taken, and when the last one has gone.

use std::{panic::Location, time::Duration};

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use sundown::{call_sites::CallSites, handle_count::HandleCount, latch::Latch, this_thread};

use crate::{Bound, beside, explore, must_be_caught};

struct Session {
    count: HandleCount,
    call_sites: CallSites,
    /// How many values were handed over. Relaxed, so that nothing but the count orders it.
    handed_over: AtomicUsize,
}

impl Session {
    /// With so many values.
    fn of(values: usize) -> Arc<Self> {
        let count = HandleCount::with(Latch::new());
        (0..values).for_each(|_| assert!(count.add()));
        let call_sites = CallSites::default();
        Arc::new(Self { count, call_sites, handed_over: AtomicUsize::new(0) })
    }

    /// What the last handle of a value does.
    fn drop_value(&self) {
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        self.count.remove();
    }

    /// Closes it, and returns how many values had been handed over by the end.
    fn close(&self) -> usize {
        self.count.close();
        assert!(self.count.closed().wait_blocking(Duration::MAX));
        self.handed_over.load(Ordering::Relaxed)
    }
}

#[test]
fn handle_count_a_value_is_refused_or_waited_for() {
    explore("handle count, guard against close", Bound::Full, || {
        let session = Session::of(0);
        let guarding = beside(&session, |session| {
            let taken = session.count.add();
            if taken {
                session.drop_value();
            }
            taken
        });
        let handed_over = session.close();
        let taken = guarding.join().unwrap();
        assert_eq!(handed_over, taken.into(), "what was taken had been handed over by then");
        assert!(!session.count.add(), "closing is for good");
    });
}

#[test]
fn handle_count_two_values_close_it_once_and_both_are_seen() {
    explore("handle count, two values against close", Bound::Three, || {
        let session = Session::of(2);
        let leaving = [(); 2].map(|()| beside(&session, |session| session.drop_value()));
        session.count.close();
        block_on(session.count.closed().wait());
        assert_eq!(session.handed_over.load(Ordering::Relaxed), 2);
        assert_eq!(session.count.values(), 0);
        for leaving in leaving {
            leaving.join().unwrap();
        }
    });
}

#[test]
fn handle_count_a_value_derived_while_closing_is_waited_for() {
    explore("handle count, map against close", Bound::Full, || {
        let session = Session::of(1);
        let deriving = beside(&session, |session| {
            session.count.add_derived();
            session.drop_value();
            session.drop_value();
        });
        assert_eq!(session.close(), 2);
        deriving.join().unwrap();
    });
}

#[test]
fn handle_count_two_who_close_it_get_the_same_answer() {
    explore("handle count, two closes against a value", Bound::Three, || {
        let session = Session::of(1);
        let leaving = beside(&session, |session| session.drop_value());
        let closing = beside(&session, |session| session.close());
        assert_eq!((session.close(), closing.join().unwrap()), (1, 1));
        leaving.join().unwrap();
    });
}

/// Two threads make handles at two places and drop them, one of them the other's, and the session closes.
fn handles_of_two_places(numbers: [usize; 2]) {
    this_thread::set_number(numbers[0]);
    let session = Session::of(1);
    let here = Location::caller();
    session.call_sites.add(here, here);
    let cloning = beside(&session, move |session| {
        this_thread::set_number(numbers[1]);
        // Two places, one of which the other thread uses, too.
        let there = Location::caller();
        session.call_sites.add(there, there);
        session.call_sites.add(here, here);
        for made_at in [there, here] {
            session.call_sites.remove(made_at);
        }
        session.drop_value();
    });
    session.call_sites.add(here, here);
    session.call_sites.remove(here);
    session.close();
    assert_eq!(session.call_sites.held(), [(here, 1)], "one handle is left");
    cloning.join().unwrap();
}

#[test]
fn handle_count_no_handle_is_held_once_it_is_closed() {
    explore("handle count, handles of two places against close", Bound::Full, || {
        handles_of_two_places([1, 2]);
    });
}

/// A thread may count without a read-modify-write only where no other thread counts.
#[test]
fn handle_count_twin_in_which_two_threads_count_in_one_part_loses_a_handle() {
    must_be_caught("handle count, two writers without a lock", "one handle is left", || {
        handles_of_two_places([1, 1]);
    });
}

/// The handles of one value, counted as an `Arc` counts: a weak handle becomes a handle unless there is
/// none any more.
struct Handles(AtomicUsize);

impl Handles {
    fn upgrade(&self) -> bool {
        let upgraded =
            self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |handles| match handles {
                0 => None,
                handles => Some(handles + 1),
            });
        upgraded.is_ok()
    }

    fn drop_one(&self, session: &Session) {
        if self.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            session.drop_value();
        }
    }
}

/// The last handle is dropped, a weak handle is upgraded, and the session closes, all at once.
fn upgrade_against_last_drop(session: &Arc<Session>, upgrade: fn(&Session, &Handles) -> bool) {
    let handles = Arc::new(Handles(AtomicUsize::new(1)));
    let used = Arc::new(AtomicUsize::new(0));
    let upgrading = beside(&(Arc::clone(session), handles.clone(), used.clone()), move |shared| {
        let (session, handles, used) = shared;
        let upgraded = upgrade(&session, &handles);
        if upgraded {
            used.store(1, Ordering::Relaxed);
            handles.drop_one(&session);
        }
        upgraded
    });
    let dropping = beside(&(Arc::clone(session), handles), |(session, handles)| {
        handles.drop_one(&session);
    });
    let handed_over = session.close();
    let was_used = used.load(Ordering::Relaxed) == 1;
    dropping.join().unwrap();
    let upgraded = upgrading.join().unwrap();
    assert_eq!(handed_over, 1, "handed over once");
    assert!(was_used || !upgraded, "used after the close");
}

#[test]
fn handle_count_a_weak_handle_is_upgraded_before_the_close_or_not_at_all() {
    explore("handle count, upgrade against the last drop and close", Bound::Three, || {
        upgrade_against_last_drop(&Session::of(1), |_, handles| handles.upgrade());
    });
}

/// The twin makes a value from a weak handle that has no handle to derive it from.
#[test]
fn handle_count_twin_that_upgrades_without_a_handle_is_used_after_the_close() {
    must_be_caught("handle count, an upgrade without a handle", "close", || {
        upgrade_against_last_drop(&Session::of(1), |session, handles| {
            if handles.0.fetch_add(1, Ordering::Acquire) == 0 {
                session.count.add_derived();
            }
            true
        });
    });
}

#[test]
fn handle_count_twin_that_leaves_before_it_hands_over_is_closed_too_early() {
    must_be_caught("handle count, left before handed over", "not handed over", || {
        let session = Session::of(1);
        let leaving = beside(&session, |session| {
            session.count.remove();
            session.handed_over.fetch_add(1, Ordering::Relaxed);
        });
        let handed_over = session.close();
        leaving.join().unwrap();
        assert_eq!(handed_over, 1, "not handed over");
    });
}
