//! The roster, which is the count of a session: who is taken, and when the last one has gone.

use std::{panic::Location, time::Duration};

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::modelled::Roster;

use crate::{Bound, explore, must_be_caught};

/// Where values are handed over to. Relaxed, so that nothing but the roster orders it.
#[derive(Clone)]
struct HandedOver(Arc<AtomicUsize>);

impl HandedOver {
    fn none() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    /// What the last handle of a value does.
    fn take(&self, roster: &Roster) {
        self.0.fetch_add(1, Ordering::Relaxed);
        roster.leave();
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn roster_a_value_is_refused_or_waited_for() {
    explore("roster, guard against close", Bound::Full, || {
        let (roster, handed_over) = (Roster::new(), HandedOver::none());
        let guarding = thread::spawn({
            let (roster, handed_over) = (roster.clone(), handed_over.clone());
            move || {
                let welcome = roster.enter();
                if welcome {
                    handed_over.take(&roster);
                }
                welcome
            }
        });
        roster.close();
        assert!(roster.closed().wait_blocking(Duration::MAX));
        let found = handed_over.count();
        let welcome = guarding.join().unwrap();
        assert_eq!(found, welcome.into(), "all that was taken had been handed over by then");
        assert!(!roster.enter(), "closing is for good");
    });
}

#[test]
fn roster_two_who_leave_close_it_once_and_both_are_seen() {
    explore("roster, two values against close", Bound::Three, || {
        let (roster, handed_over) = (Roster::new(), HandedOver::none());
        assert!(roster.enter() && roster.enter());
        let leaving = [(); 2].map(|()| {
            let (roster, handed_over) = (roster.clone(), handed_over.clone());
            thread::spawn(move || handed_over.take(&roster))
        });
        roster.close();
        block_on(roster.closed().wait());
        assert_eq!((handed_over.count(), roster.values()), (2, 0));
        for leaving in leaving {
            leaving.join().unwrap();
        }
    });
}

#[test]
fn roster_a_value_brought_while_closing_is_waited_for() {
    explore("roster, map against close", Bound::Full, || {
        let (roster, handed_over) = (Roster::new(), HandedOver::none());
        assert!(roster.enter());
        let deriving = thread::spawn({
            let (roster, handed_over) = (roster.clone(), handed_over.clone());
            move || {
                roster.bring();
                handed_over.take(&roster);
                handed_over.take(&roster);
            }
        });
        roster.close();
        assert!(roster.closed().wait_blocking(Duration::MAX));
        assert_eq!(handed_over.count(), 2);
        deriving.join().unwrap();
    });
}

#[test]
fn roster_two_who_close_it_are_told_the_same() {
    explore("roster, two closes against a value", Bound::Three, || {
        let (roster, handed_over) = (Roster::new(), HandedOver::none());
        assert!(roster.enter());
        let leaving = thread::spawn({
            let (roster, handed_over) = (roster.clone(), handed_over.clone());
            move || handed_over.take(&roster)
        });
        let closing = thread::spawn({
            let (roster, handed_over) = (roster.clone(), handed_over.clone());
            move || {
                roster.close();
                block_on(roster.closed().wait());
                handed_over.count()
            }
        });
        roster.close();
        assert!(roster.closed().wait_blocking(Duration::MAX));
        assert_eq!((handed_over.count(), closing.join().unwrap()), (1, 1));
        leaving.join().unwrap();
    });
}

#[test]
fn roster_no_handle_is_held_once_it_is_closed() {
    explore("roster, handles of two places against close", Bound::Full, || {
        let roster = Roster::new();
        assert!(roster.enter());
        let here = Location::caller();
        roster.made(here);
        let cloning = thread::spawn({
            let roster = roster.clone();
            move || {
                // Two places, one of which others use too.
                let there = Location::caller();
                roster.made(there);
                roster.made(here);
                roster.gone(there);
                roster.gone(here);
                roster.gone(here);
                roster.leave();
            }
        });
        roster.close();
        assert!(roster.closed().wait_blocking(Duration::MAX));
        assert_eq!(roster.handles(), 0);
        cloning.join().unwrap();
    });
}

#[test]
fn roster_twin_that_counts_and_looks_apart_closes_on_a_value() {
    must_be_caught("roster, closing and count in two atomics", "closed on a value", || {
        let (closing, values) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let entering = thread::spawn({
            let (closing, values) = (Arc::clone(&closing), Arc::clone(&values));
            move || {
                let welcome = !closing.load(Ordering::SeqCst);
                if welcome {
                    values.fetch_add(1, Ordering::SeqCst);
                }
                welcome
            }
        });
        closing.store(true, Ordering::SeqCst);
        let closed = values.load(Ordering::SeqCst) == 0;
        let welcome = entering.join().unwrap();
        assert!(!(closed && welcome), "closed on a value");
    });
}

#[test]
fn roster_twin_that_leaves_before_it_hands_over_is_closed_too_early() {
    must_be_caught("roster, left before handed over", "not handed over", || {
        let (roster, handed_over) = (Roster::new(), HandedOver::none());
        assert!(roster.enter());
        let leaving = thread::spawn({
            let (roster, handed_over) = (roster.clone(), handed_over.clone());
            move || {
                roster.leave();
                handed_over.0.fetch_add(1, Ordering::Relaxed);
            }
        });
        roster.close();
        assert!(roster.closed().wait_blocking(Duration::MAX));
        let found = handed_over.count();
        leaving.join().unwrap();
        assert_eq!(found, 1, "not handed over");
    });
}

/// What would happen with a departure that does not release what was done before it.
#[test]
fn roster_twin_that_leaves_without_releasing_hides_what_was_handed_over() {
    const CLOSING: usize = 1 << (usize::BITS - 1);
    must_be_caught("roster, a relaxed departure", "not seen", || {
        let (word, handed_over) = (Arc::new(AtomicUsize::new(CLOSING | 1)), HandedOver::none());
        let leaving = thread::spawn({
            let (word, handed_over) = (Arc::clone(&word), handed_over.clone());
            move || {
                handed_over.0.fetch_add(1, Ordering::Relaxed);
                word.fetch_sub(1, Ordering::Relaxed);
            }
        });
        let closed = word.load(Ordering::Acquire) == CLOSING;
        let found = handed_over.count();
        leaving.join().unwrap();
        assert!(!closed || found == 1, "not seen");
    });
}
