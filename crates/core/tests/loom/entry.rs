//! The gate through which many enter: whoever closed it and found it empty may take away what is
//! behind it.

use std::time::Duration;

use loom::{
    cell::UnsafeCell,
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::gate::EntryGate;

use crate::{Bound, explore, must_be_caught};

/// What is behind the gate. Loom fails where somebody looks while it is taken away, or without an
/// order between the two.
#[derive(Default)]
struct Interpreter(UnsafeCell<bool>);

impl Interpreter {
    fn call(&self) {
        self.0.with(|_| thread::yield_now());
    }

    fn finalize(&self) {
        self.0.with_mut(|_| ());
    }
}

#[derive(Default)]
struct Behind {
    gate: EntryGate,
    interpreter: Interpreter,
}

fn call(behind: &Behind) -> bool {
    let Ok(entry) = behind.gate.enter() else { return false };
    behind.interpreter.call();
    drop(entry);
    true
}

#[test]
fn entry_nobody_is_inside_when_the_closer_goes_on() {
    explore("entry, one enters against a close", Bound::Full, || {
        let behind = Arc::new(Behind::default());
        let caller = thread::spawn({
            let behind = Arc::clone(&behind);
            move || call(&behind)
        });
        behind.gate.close();
        block_on(behind.gate.wait_empty());
        behind.interpreter.finalize();
        assert!(behind.gate.enter().is_err());
        caller.join().unwrap();
    });
}

#[test]
fn entry_of_two_the_last_lets_the_closer_through() {
    explore("entry, two enter against a close that waits on a thread", Bound::Three, || {
        let behind = Arc::new(Behind::default());
        let callers = [(); 2].map(|()| {
            let behind = Arc::clone(&behind);
            thread::spawn(move || call(&behind))
        });
        behind.gate.close();
        assert!(behind.gate.wait_empty_blocking(Duration::MAX).is_ok());
        behind.interpreter.finalize();
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(behind.gate.inside(), 0);
    });
}

#[test]
fn entry_two_who_close_at_once_both_find_it_empty() {
    explore("entry, two close against one who enters", Bound::Three, || {
        let behind = Arc::new(Behind::default());
        let caller = thread::spawn({
            let behind = Arc::clone(&behind);
            move || call(&behind)
        });
        let closer = thread::spawn({
            let behind = Arc::clone(&behind);
            move || {
                behind.gate.close();
                block_on(behind.gate.wait_empty());
            }
        });
        behind.gate.close();
        block_on(behind.gate.wait_empty());
        closer.join().unwrap();
        behind.interpreter.finalize();
        caller.join().unwrap();
    });
}

/// The flag and the count in two atomics: one looks at the flag, the other at the count, and each is
/// told that it may.
#[test]
fn entry_twin_of_a_flag_and_a_count_is_inside_when_the_closer_goes_on() {
    must_be_caught("entry, a flag beside a count", "Causality violation", || {
        #[derive(Default)]
        struct Twin {
            closed: AtomicBool,
            inside: AtomicUsize,
            interpreter: Interpreter,
        }
        let twin = Arc::new(Twin::default());
        let caller = thread::spawn({
            let twin = Arc::clone(&twin);
            move || {
                if !twin.closed.load(Ordering::SeqCst) {
                    twin.inside.fetch_add(1, Ordering::SeqCst);
                    twin.interpreter.call();
                    twin.inside.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
        twin.closed.store(true, Ordering::SeqCst);
        while twin.inside.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        twin.interpreter.finalize();
        caller.join().unwrap();
    });
}

/// One atomic, and a leaving that releases nothing: the closer sees the number and not the work.
#[test]
fn entry_twin_whose_leaving_releases_nothing_is_not_ordered_before_the_end() {
    must_be_caught("entry, a relaxed leaving", "Causality violation", || {
        let state = Arc::new((AtomicUsize::new(1), Interpreter::default()));
        let caller = thread::spawn({
            let state = Arc::clone(&state);
            move || {
                state.1.call();
                state.0.fetch_sub(1, Ordering::Relaxed);
            }
        });
        while state.0.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        state.1.finalize();
        caller.join().unwrap();
    });
}
