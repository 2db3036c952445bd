//! The callers that wait for the same tasks, each with a limit of its own: who aborts.

use std::{
    mem,
    pin::pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use loom::{
    future::block_on,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use sundown::callers::{AbortAt, Caller, Callers};

use crate::{Bound, beside, explore, must_be_caught, shared};

/// What a caller does whose time has come: it looks whether it is the last, and aborts if so. If not, it
/// goes on waiting.
fn aborts(caller: Caller<'_>) -> bool {
    let is_last = pin!(caller.is_last()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    mem::forget(caller);
    is_last
}

fn one_of_two_aborts(one: AbortAt, other: AbortAt) {
    let callers = shared::<Callers>();
    let beside = beside(&callers, move |callers| aborts(callers.enter(other)));
    let aborted = aborts(callers.enter(one));
    let other_aborted = beside.join().unwrap();
    assert!(aborted || other_aborted, "each left the abort to the other");
}

#[test]
fn callers_of_which_one_is_more_patient_do_not_leave_the_abort_to_each_other() {
    explore("callers, two whose time comes at once", Bound::Full, || {
        let now = Instant::now();
        let later = AbortAt::Moment(now + Duration::from_secs(1));
        one_of_two_aborts(AbortAt::Moment(now), later);
    });
}

#[test]
fn callers_who_are_as_patient_as_each_other_both_abort() {
    explore("callers, two with the same limit", Bound::Full, || {
        let now = AbortAt::Moment(Instant::now());
        one_of_two_aborts(now, now);
    });
}

#[test]
fn callers_one_in_a_hurry_is_woken_when_a_patient_one_goes_away() {
    explore("callers, one in a hurry against one that goes away", Bound::Full, || {
        let callers = shared::<Callers>();
        let hurried = callers.enter(AbortAt::Moment(Instant::now()));
        let gone = beside(&callers, |callers| drop(callers.enter(AbortAt::Never)));
        block_on(hurried.is_last());
        hurried.leave();
        gone.join().unwrap();
    });
}

/// A caller that also leaves the abort to one that is just as patient.
#[test]
fn callers_twin_that_waits_for_its_equals_leaves_the_abort_to_nobody() {
    must_be_caught("callers, as patient is more patient", "each left the abort", || {
        let callers = shared::<Mutex<Vec<usize>>>();
        let aborts = |callers: &Mutex<Vec<usize>>, number| {
            callers.lock().unwrap().push(number);
            !callers.lock().unwrap().iter().any(|other| *other != number)
        };
        let beside = beside(&callers, move |callers| aborts(&callers, 1));
        let aborted = aborts(&callers, 0);
        let other_aborted = beside.join().unwrap();
        assert!(aborted || other_aborted, "each left the abort to the other");
    });
}

/// A caller that looks at the others, and leaves its waker only after that.
#[test]
fn callers_twin_that_looks_only_before_it_leaves_its_waker_is_never_woken() {
    must_be_caught("callers, looked at and registered apart", "never woken", || {
        // How many are more patient, and how many wakers there are.
        let twin = shared::<(AtomicUsize, Mutex<usize>)>();
        twin.0.store(1, Ordering::SeqCst);
        let gone = beside(&twin, |twin| {
            twin.0.store(0, Ordering::SeqCst);
            *twin.1.lock().unwrap()
        });
        let waits = twin.0.load(Ordering::SeqCst) > 0;
        if waits {
            *twin.1.lock().unwrap() += 1;
        }
        let woken = gone.join().unwrap();
        assert!(!waits || woken > 0, "never woken");
    });
}
