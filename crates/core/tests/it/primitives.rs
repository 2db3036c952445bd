//! Gate, oneshot and latch: random sequences of operations, against what must hold of every sequence.
//! The races between threads are in `tests/loom`.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use proptest::{collection::vec, prelude::*};
use sundown::{
    gate::{Cancel, Cancelled, CommitGate},
    latch::{Latch, Wait},
    oneshot::{self, Abandoned, WaitError},
};

use crate::fixtures::{Counting, until};

proptest! {
    /// `true` is a commit, and `false` a cancel.
    #[test]
    fn the_first_operation_on_a_commit_gate_decides(commits in vec(any::<bool>(), 1..20)) {
        let gate = CommitGate::new();
        prop_assert!(!gate.is_cancelled() && !gate.is_committed());
        for (at, commit) in commits.iter().enumerate() {
            match (commit, commits[0]) {
                (true, true) => prop_assert_eq!(gate.commit(), Ok(())),
                (true, false) => prop_assert_eq!(gate.commit(), Err(Cancelled)),
                (false, true) => prop_assert_eq!(gate.cancel(), Cancel::TooLate),
                (false, false) if at == 0 => prop_assert_eq!(gate.cancel(), Cancel::Accepted),
                (false, false) => prop_assert_eq!(gate.cancel(), Cancel::AlreadyCancelled),
            }
        }
        prop_assert_eq!((gate.is_committed(), gate.is_cancelled()), (commits[0], !commits[0]));
    }
}

#[derive(Clone, Copy, Debug)]
enum OneshotOperation {
    Poll,
    Look,
    Send,
    DropSender,
    DropReceiver,
}

proptest! {
    /// A value is received once or handed back, and is dropped once, whatever the order of events.
    #[test]
    fn a_value_in_a_oneshot_is_neither_lost_nor_doubled(
        operations in vec(
            prop_oneof![
                3 => Just(OneshotOperation::Poll),
                2 => Just(OneshotOperation::Look),
                1 => Just(OneshotOperation::Send),
                1 => Just(OneshotOperation::DropSender),
                1 => Just(OneshotOperation::DropReceiver),
            ],
            0..12,
        )
    ) {
        let value = Arc::new(());
        let (counting, waker) = Counting::waker();
        let (sender, receiver) = oneshot::channel();
        let (mut sender, mut receiver) = (Some(sender), Some(receiver));
        // What the receiver finds next, and whether it waits with our waker.
        let (mut next, mut waits) = (Poll::Pending, false);
        for operation in operations {
            let woken = counting.woken();
            match operation {
                OneshotOperation::Poll | OneshotOperation::Look => {
                    let Some(receiver) = &mut receiver else { continue };
                    if let OneshotOperation::Poll = operation {
                        let polled = receiver.poll_unpin(&mut Context::from_waker(&waker));
                        prop_assert_eq!(polled.map_ok(drop), next);
                    } else {
                        let limit = Duration::ZERO;
                        let expected = match next {
                            Poll::Pending => Err(WaitError::TimedOut { limit }),
                            Poll::Ready(found) => found.map_err(WaitError::Abandoned),
                        };
                        prop_assert_eq!(receiver.wait_blocking(limit).map(drop), expected);
                    }
                    waits = next.is_pending() && matches!(operation, OneshotOperation::Poll);
                    // There is one value.
                    next = next.map(|_| Err(Abandoned));
                }
                OneshotOperation::Send => {
                    let Some(sender) = sender.take() else { continue };
                    prop_assert_eq!(sender.is_unwanted(), receiver.is_none());
                    let sent = sender.send(Arc::clone(&value));
                    prop_assert_eq!(sent.is_ok(), receiver.is_some());
                    next = Poll::Ready(Ok(()));
                    let expected = woken + usize::from(waits);
                    prop_assert_eq!(counting.woken_at_least(expected), expected);
                    waits = false;
                }
                OneshotOperation::DropSender => {
                    if sender.take().is_some() {
                        next = Poll::Ready(Err(Abandoned));
                        let expected = woken + usize::from(waits);
                    prop_assert_eq!(counting.woken_at_least(expected), expected);
                        waits = false;
                    }
                }
                OneshotOperation::DropReceiver => {
                    drop(receiver.take());
                    waits = false;
                }
            }
            prop_assert_eq!(Arc::strong_count(&counting), 2 + usize::from(waits), "kept wakers");
        }
        drop((sender, receiver));
        prop_assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[test]
fn the_waker_of_the_last_poll_of_a_oneshot_is_the_one_that_is_woken() {
    let (sender, mut receiver) = oneshot::channel();
    let ((first, first_waker), (second, second_waker)) = (Counting::waker(), Counting::waker());
    assert!(receiver.poll_unpin(&mut Context::from_waker(&first_waker)).is_pending());
    assert!(receiver.poll_unpin(&mut Context::from_waker(&second_waker)).is_pending());
    assert_eq!(Arc::strong_count(&first), 2, "the first is not kept");
    sender.send(()).unwrap();
    assert_eq!((first.woken(), second.woken_at_least(1)), (0, 1));
}

#[derive(Clone, Copy, Debug)]
enum LatchOperation {
    Wait,
    /// Polls one of the waiters again, with its waker or with a new one.
    Poll(usize, bool),
    /// Drops one of the waiters.
    Leave(usize),
    Fire,
}

fn latch_operation() -> impl Strategy<Value = LatchOperation> {
    prop_oneof![
        4 => Just(LatchOperation::Wait),
        3 => any::<(usize, bool)>().prop_map(|(at, anew)| LatchOperation::Poll(at, anew)),
        3 => any::<usize>().prop_map(LatchOperation::Leave),
        1 => Just(LatchOperation::Fire),
    ]
}

/// A wait, and the waker that it was last polled with.
type Waiter<'a> = (Pin<Box<Wait<'a>>>, Arc<Counting>, Waker);

proptest! {
    /// Nobody else is woken, and no waker of those who left is kept.
    #[test]
    fn a_latch_wakes_exactly_those_who_wait(operations in vec(latch_operation(), 0..60)) {
        let latch = Latch::new();
        let poll = |(wait, counting, waker): &mut Waiter<'_>| {
            let ready = wait.as_mut().poll(&mut Context::from_waker(waker)).is_ready();
            prop_assert_eq!(ready, latch.has_fired());
            let kept = usize::from(!ready);
            prop_assert!(latch.has_fired() || Arc::strong_count(counting) == 2 + kept);
            Ok(())
        };
        let woken = |waiting: &[Waiter<'_>]| -> usize {
            waiting.iter().map(|(_, counting, _)| counting.woken()).sum()
        };
        let mut waiting = Vec::<Waiter<'_>>::new();
        for operation in operations {
            let count = waiting.len();
            match operation {
                LatchOperation::Wait => {
                    let (counting, waker) = Counting::waker();
                    let mut waiter = (Box::pin(latch.wait()), counting, waker);
                    poll(&mut waiter)?;
                    waiting.push(waiter);
                }
                LatchOperation::Poll(at, anew) if count > 0 => {
                    let waiter = &mut waiting[at % count];
                    let before = Arc::downgrade(&waiter.1);
                    if anew {
                        (waiter.1, waiter.2) = Counting::waker();
                    }
                    poll(waiter)?;
                    prop_assert_eq!(before.strong_count() == 0, anew, "its waker is kept");
                }
                LatchOperation::Leave(at) if count > 0 => {
                    let (wait, counting, waker) = waiting.swap_remove(at % count);
                    drop((wait, waker));
                    prop_assert_eq!(Arc::strong_count(&counting), 1, "its waker is kept");
                }
                LatchOperation::Poll(..) | LatchOperation::Leave(_) => {}
                LatchOperation::Fire => {
                    let (first, before) = (!latch.has_fired(), woken(&waiting));
                    prop_assert_eq!(latch.fire(), first);
                    // Foreign wakers are called on another thread, which may be late on a busy machine.
                    let expected = before + if first { count } else { 0 };
                    until("the wakers", || woken(&waiting) >= expected);
                    prop_assert_eq!(woken(&waiting), expected);
                }
            }
            prop_assert_eq!(latch.wait_blocking(Duration::ZERO), latch.has_fired());
        }
    }
}

#[test]
fn a_limit_on_a_latch_is_kept() {
    let (latch, limit) = (Latch::new(), Duration::from_millis(20));
    let began = Instant::now();
    assert!(!latch.wait_blocking(limit));
    assert!(began.elapsed() >= limit);
}
