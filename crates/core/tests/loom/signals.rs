//! Flag, commit gate, confirm channel and latch.

use std::{task::Poll, time::Duration};

use loom::{
    future::block_on,
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

use crate::{Bound, explore, must_be_caught, poll_once};

// The first model and its twin are shown in docs/src/loom.md.

// ANCHOR: flag_model
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
// ANCHOR_END: flag_model

// ANCHOR: flag_twin
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
// ANCHOR_END: flag_twin

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
        assert_eq!(receiver.wait_blocking(Duration::MAX), Ok(7));
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
        let received = match receiver.wait_blocking(Duration::ZERO) {
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
fn oneshot_a_waker_that_is_replaced_while_it_is_woken_loses_nothing() {
    explore("oneshot, waker replaced against send", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        let received = match poll_once(&mut receiver) {
            Poll::Ready(received) => received,
            Poll::Pending => block_on(&mut receiver),
        };
        assert_eq!(received, Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_both_ends_may_be_dropped_at_once() {
    explore("oneshot, both ends dropped", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel::<Arc<()>>();
        let _ = poll_once(&mut receiver);
        let dropping = thread::spawn(move || drop(sender));
        drop(receiver);
        dropping.join().unwrap();
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
        assert!(latch.wait_blocking(Duration::MAX));
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
        let _ = latch.wait_blocking(Duration::ZERO);
        assert!(firing.join().unwrap());
        assert!(latch.wait_blocking(Duration::ZERO));
    });
}

#[test]
fn latch_a_waker_that_is_replaced_while_it_is_woken_loses_nothing() {
    explore("latch, waker replaced against fire", Bound::Full, || {
        let latch = Arc::new(Latch::new());
        let firing = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.fire()
        });
        let mut wait = Box::pin(latch.wait());
        if poll_once(&mut wait).is_pending() {
            block_on(wait);
        }
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_wakes_both_kinds_of_waiters() {
    explore("latch, fire against one waiter of each kind", Bound::Three, || {
        let latch = Arc::new(Latch::new());
        let waiting = thread::spawn({
            let latch = Arc::clone(&latch);
            move || latch.wait_blocking(Duration::MAX)
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
