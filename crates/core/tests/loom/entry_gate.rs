//! The gate through which many enter: a closer that found it empty may take away what is behind it.

use std::{mem, time::Duration};

use loom::{
    cell::UnsafeCell,
    future::block_on,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};
use sundown::{fork::model::set_process, gate::EntryGate};

use crate::{Bound, beside, explore, must_be_caught, shared};

/// What is behind the gate. Loom fails if a call overlaps with `finalize`, or is not ordered before it.
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

impl Behind {
    fn call(&self) {
        let Ok(_entry) = self.gate.enter() else { return };
        self.interpreter.call();
    }
}

#[test]
fn entry_gate_nobody_is_inside_when_the_closer_continues() {
    explore("entry gate, one enters against a close", Bound::Full, || {
        let behind = shared::<Behind>();
        let caller = beside(&behind, |behind| behind.call());
        behind.gate.close();
        block_on(behind.gate.wait_empty());
        behind.interpreter.finalize();
        assert!(behind.gate.enter().is_err());
        caller.join().unwrap();
    });
}

#[test]
fn entry_gate_of_two_the_last_lets_the_closer_through() {
    explore("entry gate, two enter against a close that waits on a thread", Bound::Three, || {
        let behind = used_before();
        let callers = [(); 2].map(|()| beside(&behind, |behind| behind.call()));
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
fn entry_gate_two_who_close_at_once_both_find_it_empty() {
    explore("entry gate, two close against one who enters", Bound::Three, || {
        let behind = used_before();
        let caller = beside(&behind, |behind| behind.call());
        let closer = beside(&behind, |behind| {
            behind.gate.close();
            block_on(behind.gate.wait_empty());
        });
        behind.gate.close();
        block_on(behind.gate.wait_empty());
        closer.join().unwrap();
        behind.interpreter.finalize();
        caller.join().unwrap();
    });
}

/// A gate that knows its process. The first use is in the smaller model.
fn used_before() -> loom::sync::Arc<Behind> {
    let behind = shared::<Behind>();
    assert_eq!(behind.gate.inside(), 0);
    behind
}

/// A gate with somebody inside, in a forked child that does not have that thread.
fn behind_a_fork() -> loom::sync::Arc<Behind> {
    set_process(1);
    let behind = shared::<Behind>();
    mem::forget(behind.gate.enter());
    set_process(2);
    behind
}

#[test]
fn entry_gate_in_a_forked_child_waits_for_those_of_the_child() {
    explore("entry gate, one enters against a close, in a forked child", Bound::Full, || {
        let behind = behind_a_fork();
        let caller = beside(&behind, |behind| behind.call());
        behind.gate.close();
        block_on(behind.gate.wait_empty());
        behind.interpreter.finalize();
        caller.join().unwrap();
        assert_eq!(behind.gate.inside(), 0);
    });
}

#[test]
fn entry_gate_in_a_forked_child_counts_two_who_notice_the_fork_at_once() {
    explore("entry gate, two enter against a close, in a forked child", Bound::Three, || {
        let behind = behind_a_fork();
        let callers = [(); 2].map(|()| beside(&behind, |behind| behind.call()));
        behind.gate.close();
        assert!(behind.gate.wait_empty_blocking(Duration::MAX).is_ok());
        behind.interpreter.finalize();
        for caller in callers {
            caller.join().unwrap();
        }
    });
}

/// The closer finds that the count is the parent's, and discards it. A thread of the child had not
/// looked, and added itself to the parent's count.
#[test]
fn entry_gate_twin_that_is_entered_without_a_look_at_the_process_forgets_who_entered() {
    must_be_caught("entry gate, the process not looked at", "Causality violation", || {
        // The process that counts, and how many are inside.
        let twin = shared::<(AtomicUsize, AtomicUsize, Interpreter)>();
        twin.0.store(1, Ordering::SeqCst);
        twin.1.store(1, Ordering::SeqCst);
        let caller = beside(&twin, |twin| {
            twin.1.fetch_add(1, Ordering::SeqCst);
            twin.2.call();
            twin.1.fetch_sub(1, Ordering::SeqCst);
        });
        if twin.0.swap(2, Ordering::SeqCst) != 2 {
            twin.1.store(0, Ordering::SeqCst);
        }
        while twin.1.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        twin.2.finalize();
        caller.join().unwrap();
    });
}

/// One looks at the flag and the other at the count, and both continue.
#[test]
fn entry_gate_twin_of_a_flag_and_a_count_is_entered_while_the_closer_continues() {
    must_be_caught("entry gate, a flag beside a count", "Causality violation", || {
        // Closed, how many are inside, and what is behind.
        let twin = shared::<(AtomicBool, AtomicUsize, Interpreter)>();
        let caller = beside(&twin, |twin| {
            if !twin.0.load(Ordering::SeqCst) {
                twin.1.fetch_add(1, Ordering::SeqCst);
                twin.2.call();
                twin.1.fetch_sub(1, Ordering::SeqCst);
            }
        });
        twin.0.store(true, Ordering::SeqCst);
        while twin.1.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        twin.2.finalize();
        caller.join().unwrap();
    });
}

/// One atomic, but leaving releases nothing: the closer sees the number and not the work.
#[test]
fn entry_gate_twin_with_a_relaxed_leave_is_not_ordered_before_the_end() {
    must_be_caught("entry gate, a relaxed leave", "Causality violation", || {
        let twin = shared::<(AtomicUsize, Interpreter)>();
        twin.0.store(1, Ordering::Relaxed);
        let caller = beside(&twin, |twin| {
            twin.1.call();
            twin.0.fetch_sub(1, Ordering::Relaxed);
        });
        while twin.0.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        twin.1.finalize();
        caller.join().unwrap();
    });
}
