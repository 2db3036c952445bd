//! Mistakes that several of the primitives avoid, each told once. A twin is a mistake under the name of
//! the primitive that could have made it.

use loom::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{beside, must_be_caught, shared};

/// One atomic says that nobody comes any more, and another how many are here. One thread looks at the
/// first while the other looks at the second.
fn state_and_count_apart() {
    let twin = shared::<(AtomicBool, AtomicUsize)>();
    let entering = beside(&twin, |twin| {
        let is_open = !twin.0.load(Ordering::SeqCst);
        if is_open {
            twin.1.fetch_add(1, Ordering::SeqCst);
        }
        is_open
    });
    twin.0.store(true, Ordering::SeqCst);
    let closed = twin.1.load(Ordering::SeqCst) == 0;
    let entered = entering.join().unwrap();
    assert!(!(closed && entered), "closed on somebody");
}

#[test]
fn tasks_twin_with_state_and_count_apart_closes_on_a_task() {
    let name = "tasks, state and count in two atomics";
    must_be_caught(name, "closed on somebody", state_and_count_apart);
}

#[test]
fn handle_count_twin_with_state_and_count_apart_closes_on_a_value() {
    let name = "handle count, closing and count in two atomics";
    must_be_caught(name, "closed on somebody", state_and_count_apart);
}

/// Two leave one after another, and the first releases nothing. Whoever sees that nobody is left has not
/// seen what the first did.
fn relaxed_leave() {
    let twin = shared::<(AtomicUsize, [AtomicUsize; 2])>();
    twin.0.store(2, Ordering::Relaxed);
    let leaving = [0, 1].map(|at| {
        beside(&twin, move |twin| {
            twin.1[at].store(7, Ordering::Relaxed);
            twin.0.fetch_sub(1, Ordering::Relaxed);
        })
    });
    let closed = twin.0.load(Ordering::Acquire) == 0;
    let seen = twin.1.iter().all(|done| done.load(Ordering::Relaxed) == 7);
    for leaving in leaving {
        leaving.join().unwrap();
    }
    assert!(!closed || seen, "closed too early");
}

#[test]
fn tasks_twin_with_a_relaxed_leave_closes_too_early() {
    must_be_caught("tasks, a relaxed leave", "closed too early", relaxed_leave);
}

#[test]
fn handle_count_twin_with_a_relaxed_leave_hides_what_was_handed_over() {
    must_be_caught("handle count, a relaxed leave", "closed too early", relaxed_leave);
}

/// A waiter looks, and registers if it has to wait. The event comes in between, and wakes all who are
/// registered.
fn looked_at_only_before_registering() {
    let twin = shared::<(AtomicBool, Mutex<bool>)>();
    let event = beside(&twin, |twin| {
        twin.0.store(true, Ordering::SeqCst);
        std::mem::take(&mut *twin.1.lock().unwrap())
    });
    let waits = !twin.0.load(Ordering::SeqCst);
    if waits {
        *twin.1.lock().unwrap() = true;
    }
    let woken = event.join().unwrap();
    assert!(woken || !waits, "never woken");
}

#[test]
fn latch_twin_that_looks_only_before_it_registers_forgets_a_waiter() {
    let name = "latch, not looked at again under the lock";
    must_be_caught(name, "never woken", looked_at_only_before_registering);
}

#[test]
fn oneshot_twin_that_looks_only_before_it_registers_forgets_the_receiver() {
    let name = "oneshot, not looked at again under the lock";
    must_be_caught(name, "never woken", looked_at_only_before_registering);
}

#[test]
fn tasks_twin_that_looks_only_before_it_registers_forgets_one() {
    let name = "tasks, told between the look and the registration";
    must_be_caught(name, "never woken", looked_at_only_before_registering);
}
