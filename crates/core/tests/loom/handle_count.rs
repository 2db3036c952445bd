//! The counts of a session: which values are taken, and when the last one has gone.

use std::{panic::Location, time::Duration};

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use sundown::{call_sites::CallSites, handle_count::HandleCount};

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
        let count = HandleCount::new();
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

#[test]
fn handle_count_no_handle_is_held_once_it_is_closed() {
    explore("handle count, handles of two places against close", Bound::Full, || {
        let session = Session::of(1);
        let here = Location::caller();
        session.call_sites.add(here, here);
        let cloning = beside(&session, |session| {
            // Two places, one of which the other thread uses, too.
            let there = Location::caller();
            session.call_sites.add(there, there);
            session.call_sites.add(here, here);
            for made_at in [there, here, here] {
                session.call_sites.remove(made_at);
            }
            session.drop_value();
        });
        session.close();
        assert_eq!(session.call_sites.held(), []);
        cloning.join().unwrap();
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
