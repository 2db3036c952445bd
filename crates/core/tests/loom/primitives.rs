//! Flag, commit gate, oneshot and latch.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc as StdArc, Mutex as StdMutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use sundown::{
    flag::Flag,
    gate::{Cancel, CommitGate},
    latch::Latch,
    oneshot::{self, Abandoned, WaitError},
};

use crate::{Bound, beside, explore, must_be_caught, poll_once, shared};

// The first model and its twin are shown in docs/src/loom.md.

// ANCHOR: flag_model
#[test]
fn flag_one_of_two_raises_it_and_the_other_sees_what_it_did() {
    explore("flag, two raise it", Bound::Full, || {
        let shared = shared::<(Flag, AtomicUsize)>();
        let raise = |shared: &(Flag, AtomicUsize)| {
            let (flag, done) = shared;
            done.fetch_add(1, Ordering::Relaxed);
            flag.raise()
        };
        let other = beside(&shared, move |shared| raise(&shared));
        let ours = raise(&shared);
        if !ours {
            let done = shared.1.load(Ordering::Relaxed);
            assert_eq!(done, 2, "the loser sees what the winner did");
        }
        assert!(ours ^ other.join().unwrap());
        assert!(shared.0.is_raised());
    });
}
// ANCHOR_END: flag_model

// ANCHOR: flag_twin
#[test]
fn flag_twin_that_checks_and_then_sets_raises_twice() {
    must_be_caught("flag, checked and then set", "two were first", || {
        let flag = shared::<AtomicBool>();
        let raise = |flag: &AtomicBool| {
            let is_first = !flag.load(Ordering::SeqCst);
            flag.store(true, Ordering::SeqCst);
            is_first
        };
        let other = beside(&flag, move |flag| raise(&flag));
        let ours = raise(&flag);
        assert!(ours ^ other.join().unwrap(), "two were first");
    });
}
// ANCHOR_END: flag_twin

#[test]
fn flag_that_is_seen_raised_shows_what_was_done_before() {
    explore("flag, looked at while it is raised", Bound::Full, || {
        let shared = shared::<(Flag, AtomicUsize)>();
        let raising = beside(&shared, |shared| {
            shared.1.store(7, Ordering::Relaxed);
            shared.0.raise();
        });
        if shared.0.is_raised() {
            assert_eq!(shared.1.load(Ordering::Relaxed), 7, "raised before it was done");
        }
        raising.join().unwrap();
    });
}

#[test]
fn flag_twin_that_is_looked_at_without_acquire_hides_what_was_done_before() {
    must_be_caught("flag, a relaxed look", "raised before it was done", || {
        let shared = shared::<(AtomicBool, AtomicUsize)>();
        let raising = beside(&shared, |shared| {
            shared.1.store(7, Ordering::Relaxed);
            shared.0.swap(true, Ordering::AcqRel);
        });
        if shared.0.load(Ordering::Relaxed) {
            assert_eq!(shared.1.load(Ordering::Relaxed), 7, "raised before it was done");
        }
        raising.join().unwrap();
    });
}

#[test]
fn gate_has_one_winner_and_both_know_which() {
    explore("gate, cancel against commit", Bound::Full, || {
        let gate = shared::<CommitGate>();
        let canceller = beside(&gate, |gate| gate.cancel());
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
        let gate = shared::<CommitGate>();
        let cancellers = [(); 2].map(|()| beside(&gate, |gate| gate.cancel()));
        let committed = gate.commit().is_ok();
        let cancels = cancellers.map(|canceller| canceller.join().unwrap());
        let accepted = cancels.iter().filter(|cancel| **cancel == Cancel::Accepted).count();
        assert_eq!(accepted + usize::from(committed), 1);
    });
}

#[test]
fn gate_twin_of_two_flags_honours_both() {
    must_be_caught("gate, two separate flags", "both were honoured", || {
        // Cancelled, and committed.
        let flags = shared::<(AtomicBool, AtomicBool)>();
        let canceller = beside(&flags, |flags| {
            let accepted = !flags.1.load(Ordering::SeqCst);
            flags.0.store(true, Ordering::SeqCst);
            accepted
        });
        let committed = !flags.0.load(Ordering::SeqCst);
        flags.1.store(true, Ordering::SeqCst);
        let accepted = canceller.join().unwrap();
        assert!(!(accepted && committed), "both were honoured");
    });
}

#[test]
fn oneshot_what_is_sent_is_received() {
    explore("oneshot, send against await", Bound::Full, || {
        let (sender, receiver) = oneshot::channel();
        let sending = beside(&(), |()| sender.send(7));
        assert_eq!(block_on(receiver), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
    explore("oneshot, send against a wait on a thread", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = beside(&(), |()| sender.send(7));
        assert_eq!(receiver.wait_blocking(Duration::MAX), Ok(7));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn oneshot_a_dropped_sender_wakes_the_receiver() {
    explore("oneshot, sender dropped against await", Bound::Full, || {
        let (sender, receiver) = oneshot::channel::<()>();
        let dropping = beside(&(), |()| drop(sender));
        assert_eq!(block_on(receiver), Err(Abandoned));
        dropping.join().unwrap();
    });
}

#[test]
fn oneshot_a_wait_that_gave_up_loses_nothing() {
    explore("oneshot, looked at, then awaited, against send", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = beside(&(), |()| sender.send(7));
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
fn oneshot_a_value_belongs_to_one_end_when_the_receiver_goes() {
    explore("oneshot, send against the receiver dropped", Bound::Full, || {
        let (sender, receiver) = oneshot::channel();
        let value = Arc::new(());
        let sending = beside(&value, |value| sender.send(value).is_err());
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "received, dropped or returned, but not kept");
    });
}

#[test]
fn oneshot_a_waker_that_is_replaced_while_it_is_woken_loses_nothing() {
    explore("oneshot, waker replaced against send", Bound::Full, || {
        let (sender, mut receiver) = oneshot::channel();
        let sending = beside(&(), |()| sender.send(7));
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
        let dropping = beside(&(), |()| drop(sender));
        drop(receiver);
        dropping.join().unwrap();
    });
}

#[test]
fn latch_wakes_a_waiter_in_async_code() {
    explore("latch, fire against await", Bound::Full, || {
        let latch = shared::<Latch>();
        let firing = beside(&latch, |latch| latch.fire());
        block_on(latch.wait());
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_wakes_a_waiter_on_a_thread() {
    explore("latch, fire against a wait on a thread", Bound::Full, || {
        let latch = shared::<Latch>();
        let firing = beside(&latch, |latch| latch.fire());
        assert!(latch.wait_blocking(Duration::MAX));
        assert!(firing.join().unwrap());
    });
}

#[test]
fn latch_is_fired_by_one_of_two() {
    explore("latch, fired twice", Bound::Full, || {
        let latch = shared::<Latch>();
        let firing = beside(&latch, |latch| latch.fire());
        assert!(latch.fire() ^ firing.join().unwrap());
    });
}

#[test]
fn latch_forgets_a_waiter_that_gave_up() {
    explore("latch, fire against a waiter that gives up", Bound::Full, || {
        let latch = shared::<Latch>();
        let firing = beside(&latch, |latch| latch.fire());
        // A limit of zero registers, looks, and leaves: the timeout that loom cannot have.
        let _ = latch.wait_blocking(Duration::ZERO);
        assert!(firing.join().unwrap());
        assert!(latch.wait_blocking(Duration::ZERO));
    });
}

#[test]
fn latch_a_waker_that_is_replaced_while_it_is_woken_loses_nothing() {
    explore("latch, waker replaced against fire", Bound::Full, || {
        let latch = shared::<Latch>();
        let firing = beside(&latch, |latch| latch.fire());
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
        let latch = shared::<Latch>();
        let waiting = beside(&latch, |latch| latch.wait_blocking(Duration::MAX));
        let firing = beside(&latch, |latch| latch.fire());
        block_on(latch.wait());
        assert!(waiting.join().unwrap());
        assert!(firing.join().unwrap());
    });
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

fn wait_for(latch: &Arc<Latch>) -> Waiting {
    let latch = Arc::clone(latch);
    Box::pin(async move { latch.wait().await })
}

/// A waker that comes back to the latch that wakes it: it gives another wait up.
struct ComesBack(StdMutex<Option<Waiting>>);

impl Wake for ComesBack {
    fn wake(self: StdArc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn latch_may_be_used_by_the_wakers_that_it_wakes() {
    explore("latch, a waker that comes back", Bound::Full, || {
        let latch = shared::<Latch>();
        let (mut given_up, mut waiting) = (wait_for(&latch), wait_for(&latch));
        assert!(poll_once(&mut given_up).is_pending());
        let waker = Waker::from(StdArc::new(ComesBack(StdMutex::new(Some(given_up)))));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let firing = beside(&latch, |latch| latch.fire());
        block_on(latch.wait());
        assert!(firing.join().unwrap());
    });
}
