//! The signals, from async code and from plain threads, in every order of events that needs no luck.
//!
//! The orders that do need luck are in `loom.rs`.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    flag::Flag,
    gate::{Cancel, Cancelled, CommitGate},
    latch::Latch,
    oneshot::{self, Abandoned, WaitError},
};

/// Counts how often it is woken, and how many of its clones there are.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting() -> (Arc<Counting>, Waker) {
    let counting = Arc::new(Counting::default());
    (Arc::clone(&counting), counting.into())
}

#[test]
fn one_of_many_raises_a_flag() {
    let (flag, start) = (Flag::new(), Barrier::new(8));
    let raised: usize = thread::scope(|scope| {
        let raisers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    usize::from(flag.raise())
                })
            })
            .collect();
        raisers.into_iter().map(|raiser| raiser.join().unwrap()).sum()
    });
    assert_eq!(raised, 1);
    assert!(flag.is_raised());
}

#[test]
fn a_gate_says_the_same_to_whoever_asks_again() {
    let committed = CommitGate::new();
    assert_eq!(committed.commit(), Ok(()));
    assert_eq!(committed.commit(), Ok(()));
    assert_eq!(committed.cancel(), Cancel::TooLate);
    assert!(committed.is_committed() && !committed.is_cancelled());

    let cancelled = CommitGate::new();
    assert_eq!(cancelled.cancel(), Cancel::Accepted);
    assert_eq!(cancelled.cancel(), Cancel::AlreadyCancelled);
    assert_eq!(cancelled.commit(), Err(Cancelled));
    assert!(cancelled.is_cancelled() && !cancelled.is_committed());
}

#[test]
fn a_confirmation_is_received_in_async_code_and_on_a_plain_thread() {
    let (sender, receiver) = oneshot::channel();
    sender.send(1).unwrap();
    assert_eq!(block_on(receiver), Ok(1));

    let (sender, mut receiver) = oneshot::channel();
    sender.send(2).unwrap();
    assert_eq!(receiver.wait_blocking(Duration::ZERO), Ok(2));
    assert_eq!(block_on(&mut receiver), Err(Abandoned), "there is one value");
}

#[test]
fn a_wait_that_timed_out_and_a_future_that_was_dropped_lose_nothing() {
    let (sender, mut receiver) = oneshot::channel();
    let limit = Duration::from_millis(1);
    assert_eq!(receiver.wait_blocking(limit), Err(WaitError::TimedOut { limit }));
    assert!((&mut receiver).now_or_never().is_none());
    let worker = thread::spawn(move || sender.send("confirmed"));
    assert_eq!(receiver.wait_blocking(Duration::MAX), Ok("confirmed"));
    worker.join().unwrap().unwrap();
}

#[test]
fn a_dropped_sender_is_not_silence() {
    let (sender, mut receiver) = oneshot::channel::<()>();
    let (counting, waker) = counting();
    assert!(receiver.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    drop(sender);
    assert_eq!(counting.0.load(Ordering::SeqCst), 1, "the receiver is woken");
    assert_eq!(receiver.wait_blocking(Duration::MAX), Err(WaitError::Abandoned(Abandoned)));
    assert_eq!(block_on(receiver), Err(Abandoned));
}

#[test]
fn what_nobody_wants_comes_back() {
    let (sender, receiver) = oneshot::channel();
    assert!(!sender.is_unwanted());
    drop(receiver);
    assert!(sender.is_unwanted());
    assert_eq!(sender.send("value"), Err("value"));
}

#[test]
fn what_was_sent_and_not_received_is_dropped_with_the_receiver() {
    let value = Arc::new(());
    let (sender, receiver) = oneshot::channel();
    sender.send(Arc::clone(&value)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_counts() {
    let (sender, mut receiver) = oneshot::channel();
    let (first, first_waker) = counting();
    let (second, second_waker) = counting();
    assert!(receiver.poll_unpin(&mut Context::from_waker(&first_waker)).is_pending());
    assert!(receiver.poll_unpin(&mut Context::from_waker(&second_waker)).is_pending());
    assert_eq!(Arc::strong_count(&first), 2, "nothing is kept of the first but its own waker");
    sender.send(()).unwrap();
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn a_latch_wakes_all_who_wait_and_lets_pass_who_comes_later() {
    let (latch, start) = (Latch::new(), Barrier::new(5));
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|at| {
                let (latch, start) = (&latch, &start);
                scope.spawn(move || {
                    start.wait();
                    if at % 2 == 0 {
                        block_on(latch.wait());
                        true
                    } else {
                        latch.wait_blocking(Duration::MAX)
                    }
                })
            })
            .collect();
        start.wait();
        assert!(latch.fire());
        assert!(!latch.fire(), "only the first call fires it");
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
    });
    assert!(latch.wait().now_or_never().is_some());
    assert!(latch.wait_blocking(Duration::ZERO));
}

#[test]
fn a_limit_on_a_latch_is_kept() {
    let latch = Latch::new();
    assert!(!latch.wait_blocking(Duration::ZERO));
    let began = Instant::now();
    assert!(!latch.wait_blocking(Duration::from_millis(20)));
    assert!(began.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_dropped_waiter_leaves_nothing_behind() {
    let latch = Latch::new();
    let (counting, waker) = counting();
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        let mut early = pin!(latch.wait());
        let mut late = Box::pin(latch.wait());
        assert_eq!(early.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(late.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(late.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(Arc::strong_count(&counting), 4, "one waker for each that waits");
        drop(late);
        assert_eq!(Arc::strong_count(&counting), 3);
    }
    assert_eq!(Arc::strong_count(&counting), 2, "nothing but ours and the test's");
    assert!(latch.fire());
    assert_eq!(counting.0.load(Ordering::SeqCst), 0, "nobody was there to wake");
}

#[test]
fn a_slot_that_was_left_is_used_again() {
    let latch = Latch::new();
    let (counting, waker) = counting();
    let mut context = Context::from_waker(&waker);
    let mut waits: Vec<_> = (0..10).map(|_| Box::pin(latch.wait())).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut context).is_pending());
    }
    // Leave from the middle, come again, in another order.
    for at in [7, 3, 5] {
        drop(waits.swap_remove(at));
    }
    for _ in 0..3 {
        let mut wait = Box::pin(latch.wait());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        waits.push(wait);
    }
    assert_eq!(Arc::strong_count(&counting), 12);
    latch.fire();
    assert_eq!(counting.0.load(Ordering::SeqCst), 10, "each is woken once");
    assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(&mut context).is_ready()));
}
