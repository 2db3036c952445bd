//! Every interleaving of the signals, explored by loom on the shipped source.
//!
//! `cargo xtask loom` runs this and prints how many interleavings were explored; so does, without
//! a table, `RUSTFLAGS="--cfg loom" cargo test -p core --release --test loom`. Models of two threads
//! are explored in full; larger ones with at most three preemptions, and their line says so. Loom
//! knows no time: a limit is never reached, and a timeout is modelled by a thread that races.
//!
//! A model that cannot fail shows nothing. So each has a broken twin beside it, which makes the
//! mistake that the shipped code avoids, and which loom must catch.
#![cfg(loom)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a model fails by panicking")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    // Not loom's: these count its interleavings from outside.
    sync::{Arc as PlainArc, atomic::AtomicUsize as PlainCount},
    time::{Duration, Instant},
};

use loom::{
    future::block_on,
    model::Builder,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{
    flag::Flag,
    gate::{Cancel, CommitGate},
    latch::Latch,
    oneshot::{self, Abandoned, WaitError},
};

/// How far a model is explored.
#[derive(Clone, Copy)]
enum Bound {
    /// Every interleaving.
    Full,
    /// Those with at most three preemptions.
    Three,
}

/// Explores a model, and prints what that took.
fn explore(name: &str, bound: Bound, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let explored = PlainArc::new(PlainCount::new(0));
    let count = PlainArc::clone(&explored);
    let mut builder = Builder::new();
    let bounded = match bound {
        Bound::Full => "unbounded",
        Bound::Three => {
            builder.preemption_bound = Some(3);
            "at most 3 preemptions"
        }
    };
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("model {name}: {explored} interleavings, {bounded}, {:.2?}", began.elapsed());
}

/// Explores a broken twin, which loom must catch.
fn must_be_caught(name: &str, says: &str, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| Builder::new().check(model)));
    let payload = caught.expect_err("the model cannot fail: loom did not catch its broken twin");
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(says), "caught for another reason: {text}");
    println!("twin {name}: caught, {:.2?}", began.elapsed());
}

#[test]
fn flag_one_of_two_raises_it_and_the_other_sees_what_it_did() {
    explore("flag, two raise it", Bound::Full, || {
        let (flag, done) = (Arc::new(Flag::new()), Arc::new(AtomicUsize::new(0)));
        let raise = |flag: &Flag, done: &AtomicUsize| {
            done.fetch_add(1, Ordering::Relaxed);
            flag.raise()
        };
        let other = thread::spawn({
            let (flag, done) = (Arc::clone(&flag), Arc::clone(&done));
            move || raise(&flag, &done)
        });
        let ours = raise(&flag, &done);
        if !ours {
            assert_eq!(done.load(Ordering::Relaxed), 2, "the loser sees what the winner did");
        }
        assert!(ours ^ other.join().unwrap());
        assert!(flag.is_raised());
    });
}

#[test]
fn flag_twin_that_checks_and_then_sets_raises_twice() {
    must_be_caught("flag, checked and then set", "two were told", || {
        let flag = Arc::new(AtomicBool::new(false));
        let raise = |flag: &AtomicBool| {
            let first = !flag.load(Ordering::SeqCst);
            flag.store(true, Ordering::SeqCst);
            first
        };
        let other = thread::spawn({
            let flag = Arc::clone(&flag);
            move || raise(&flag)
        });
        let ours = raise(&flag);
        assert!(ours ^ other.join().unwrap(), "two were told that it was their doing");
    });
}

#[test]
fn gate_has_one_winner_and_both_know_who() {
    explore("gate, cancel against commit", Bound::Full, || {
        let gate = Arc::new(CommitGate::new());
        let canceller = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.cancel()
        });
        let committed = gate.commit().is_ok();
        match canceller.join().unwrap() {
            Cancel::Accepted => assert!(!committed && gate.is_cancelled()),
            Cancel::TooLate => assert!(committed && gate.is_committed()),
            Cancel::AlreadyCancelled => panic!("there was one cancel"),
        }
    });
}

#[test]
fn gate_with_two_cancels_and_a_commit_has_one_winner() {
    explore("gate, two cancels against a commit", Bound::Three, || {
        let gate = Arc::new(CommitGate::new());
        let cancellers = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.cancel())
        });
        let committed = gate.commit().is_ok();
        let cancels = cancellers.map(|canceller| canceller.join().unwrap());
        let accepted = cancels.iter().filter(|cancel| **cancel == Cancel::Accepted).count();
        assert_eq!(accepted + usize::from(committed), 1);
    });
}

#[test]
fn gate_twin_of_two_flags_honours_both() {
    must_be_caught("gate, two separate flags", "both were honoured", || {
        #[derive(Default)]
        struct TwoFlags {
            cancelled: AtomicBool,
            committed: AtomicBool,
        }
        let flags = Arc::new(TwoFlags::default());
        let canceller = thread::spawn({
            let flags = Arc::clone(&flags);
            move || {
                let accepted = !flags.committed.load(Ordering::SeqCst);
                flags.cancelled.store(true, Ordering::SeqCst);
                accepted
            }
        });
        let committed = !flags.cancelled.load(Ordering::SeqCst);
        flags.committed.store(true, Ordering::SeqCst);
        let accepted = canceller.join().unwrap();
        assert!(!(accepted && committed), "both were honoured");
    });
}

#[test]
fn oneshot_what_is_sent_is_received() {
    explore("oneshot, send against await", Bound::Full, || {
        let (sender, receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
    explore("oneshot, send against a wait on a thread", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(receiver.wait_timeout(Duration::MAX), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_a_dropped_sender_wakes_the_receiver() {
    explore("oneshot, sender dropped against await", Bound::Full, || {
        let (sender, receiver) = oneshot::channel::<()>();
        let dropping = thread::spawn(move || drop(sender));
        assert_eq!(block_on(receiver), Err(Abandoned));
        dropping.join().unwrap();
    });
}

#[test]
fn oneshot_a_wait_that_gave_up_loses_nothing() {
    explore("oneshot, looked at, then awaited, against send", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        let received = match receiver.wait_timeout(Duration::ZERO) {
            Ok(value) => Ok(value),
            Err(WaitError::TimedOut { .. }) => block_on(&mut receiver),
            Err(WaitError::Abandoned(abandoned)) => Err(abandoned),
        };
        assert_eq!(received, Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_a_value_belongs_to_one_of_the_two_when_the_receiver_goes() {
    explore("oneshot, send against the receiver dropped", Bound::Full, || {
        let (sender, receiver) = oneshot::channel();
        let value = Arc::new(());
        let sending = thread::spawn({
            let value = Arc::clone(&value);
            move || sender.send(value).is_err()
        });
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "received, dropped or returned, but not kept");
    });
}

#[test]
fn oneshot_twin_that_looks_before_it_registers_is_forgotten() {
    must_be_caught("oneshot, looked at without the lock", "forgotten", || {
        // The value and who waits for it are each behind a lock, and looked at one after the other.
        let value = Arc::new(Mutex::new(None));
        let waiting = Arc::new(AtomicBool::new(false));
        let sending = thread::spawn({
            let (value, waiting) = (Arc::clone(&value), Arc::clone(&waiting));
            move || {
                *value.lock().unwrap() = Some(7);
                waiting.swap(false, Ordering::SeqCst)
            }
        });
        let must_be_woken = value.lock().unwrap().is_none();
        waiting.store(must_be_woken, Ordering::SeqCst);
        let woken = sending.join().unwrap();
        assert!(woken || !must_be_woken, "the receiver is forgotten");
    });
}

#[test]
fn latch_wakes_who_waits_in_async_code() {
    explore("latch, fire against await", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        block_on(latch.wait());
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_wakes_who_waits_on_a_thread() {
    explore("latch, fire against a wait on a thread", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        assert!(latch.wait_timeout(Duration::MAX));
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_is_fired_by_one_of_two() {
    explore("latch, fired twice", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        assert!(latch.fire() ^ firing.join().unwrap());
    });
}

#[test]
fn latch_forgets_a_waiter_that_gave_up() {
    explore("latch, fire against a waiter that gives up", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        // A limit of zero registers, looks, and leaves: the timeout that loom cannot have.
        let _ = latch.wait_timeout(Duration::ZERO);
        assert!(firing.join().unwrap());
        assert!(latch.wait_timeout(Duration::ZERO));
    });
}

#[test]
fn latch_wakes_both_kinds_of_waiters() {
    explore("latch, fire against one waiter of each kind", Bound::Three, || {
        let latch = Arc::new(Latch::new());
        let waiting = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.wait_timeout(Duration::MAX)
        });
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        block_on(latch.wait());
        assert!(waiting.join().unwrap());
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_twin_that_looks_only_before_it_registers_forgets_a_waiter() {
    must_be_caught("latch, not looked at again under the lock", "forgotten", || {
        let fired = Arc::new(AtomicBool::new(false));
        let waiters = Arc::new(Mutex::new(0));
        let firing = thread::spawn({
            let (fired, waiters) = (Arc::clone(&fired), Arc::clone(&waiters));
            move || {
                fired.store(true, Ordering::SeqCst);
                // Wakes all who are registered.
                *waiters.lock().unwrap() = 0;
            }
        });
        if !fired.load(Ordering::SeqCst) {
            *waiters.lock().unwrap() += 1;
        }
        firing.join().unwrap();
        assert_eq!(*waiters.lock().unwrap(), 0, "a waiter is forgotten");
    });
}
