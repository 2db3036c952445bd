//! Random sequences of operations, against what must hold of every sequence.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use sundown::{
    gate::{Cancel, CommitGate},
    group::TaskGroup,
    latch::{Latch, Wait},
    oneshot,
};
use tokio::runtime::Builder;

const PLENTY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum GateOperation {
    Cancel,
    Commit,
}

proptest! {
    /// Whoever is first decides, and everybody after that is told the same.
    #[test]
    fn the_first_operation_on_a_gate_decides(
        operations in vec(prop_oneof![Just(GateOperation::Cancel), Just(GateOperation::Commit)], 1..20)
    ) {
        let gate = CommitGate::new();
        for (at, operation) in operations.iter().enumerate() {
            match (operation, operations[0]) {
                (GateOperation::Cancel, GateOperation::Cancel) => {
                    let expected = if at == 0 { Cancel::Accepted } else { Cancel::AlreadyCancelled };
                    prop_assert_eq!(gate.cancel(), expected);
                }
                (GateOperation::Cancel, GateOperation::Commit) => {
                    prop_assert_eq!(gate.cancel(), Cancel::TooLate);
                }
                (GateOperation::Commit, first) => {
                    let committed = matches!(first, GateOperation::Commit);
                    prop_assert_eq!(gate.commit().is_ok(), committed);
                }
            }
        }
        prop_assert!(gate.is_cancelled() ^ gate.is_committed());
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
    /// A value is received once or comes back, and is dropped once, whatever the order of events.
    #[test]
    fn a_value_in_a_oneshot_is_neither_lost_nor_doubled(
        operations in vec(
            prop_oneof![
                Just(OneshotOperation::Poll),
                Just(OneshotOperation::Look),
                Just(OneshotOperation::Send),
                Just(OneshotOperation::DropSender),
                Just(OneshotOperation::DropReceiver),
            ],
            0..12,
        )
    ) {
        let value = Arc::new(());
        let (sender, receiver) = oneshot::channel();
        let (mut sender, mut receiver) = (Some(sender), Some(receiver));
        let (mut sent, mut received) = (false, 0);
        for operation in operations {
            match operation {
                OneshotOperation::Poll => {
                    if let Some(receiver) = &mut receiver {
                        let polled = Pin::new(receiver).poll(&mut Context::from_waker(Waker::noop()));
                        received += usize::from(matches!(polled, Poll::Ready(Ok(_))));
                    }
                }
                OneshotOperation::Look => {
                    if let Some(receiver) = &mut receiver {
                        received += usize::from(receiver.wait_blocking(Duration::ZERO).is_ok());
                    }
                }
                OneshotOperation::Send => {
                    if let Some(sender) = sender.take() {
                        sent = sender.send(Arc::clone(&value)).is_ok();
                        prop_assert_eq!(sent, receiver.is_some());
                    }
                }
                OneshotOperation::DropSender => drop(sender.take()),
                OneshotOperation::DropReceiver => drop(receiver.take()),
            }
            prop_assert!(received <= usize::from(sent));
        }
        drop((sender, receiver));
        prop_assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[derive(Clone, Copy, Debug)]
enum LatchOperation {
    Wait,
    /// Polls one of the waiters again.
    Poll(usize),
    /// Gives up one of them.
    Leave(usize),
    Fire,
}

fn latch_operation() -> impl Strategy<Value = LatchOperation> {
    prop_oneof![
        4 => Just(LatchOperation::Wait),
        3 => any::<usize>().prop_map(LatchOperation::Poll),
        3 => any::<usize>().prop_map(LatchOperation::Leave),
        1 => Just(LatchOperation::Fire),
    ]
}

proptest! {
    /// Everybody who waits when the latch fires is woken, nobody else is, and nothing of those who
    /// left is kept.
    #[test]
    fn a_latch_wakes_exactly_those_who_wait(operations in vec(latch_operation(), 0..60)) {
        #[derive(Default)]
        struct Counting(AtomicUsize);
        impl std::task::Wake for Counting {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let latch = Latch::new();
        let mut waiting: Vec<(Pin<Box<Wait<'_>>>, Arc<Counting>)> = Vec::new();
        for operation in operations {
            match operation {
                LatchOperation::Wait => {
                    let counting = Arc::new(Counting::default());
                    let waker = Waker::from(Arc::clone(&counting));
                    let mut wait = Box::pin(latch.wait());
                    let ready = wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
                    prop_assert_eq!(ready, latch.has_fired());
                    waiting.push((wait, counting));
                }
                LatchOperation::Poll(at) if !waiting.is_empty() => {
                    let at = at % waiting.len();
                    let (wait, counting) = &mut waiting[at];
                    let waker = Waker::from(Arc::clone(counting));
                    let ready = wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
                    prop_assert_eq!(ready, latch.has_fired());
                }
                LatchOperation::Leave(at) if !waiting.is_empty() => {
                    let (wait, counting) = waiting.swap_remove(at % waiting.len());
                    drop(wait);
                    prop_assert_eq!(Arc::strong_count(&counting), 1, "its waker is kept");
                }
                LatchOperation::Poll(_) | LatchOperation::Leave(_) => {}
                LatchOperation::Fire => {
                    let first = !latch.has_fired();
                    let before: usize = woken(&waiting);
                    prop_assert_eq!(latch.fire(), first);
                    let expected = if first { waiting.len() } else { 0 };
                    prop_assert_eq!(woken(&waiting) - before, expected);
                }
            }
        }
        fn woken(waiting: &[(Pin<Box<Wait<'_>>>, Arc<Counting>)]) -> usize {
            waiting.iter().map(|(_, counting)| counting.0.load(Ordering::Relaxed)).sum()
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum GroupOperation {
    Listener,
    Deaf,
    Unlucky,
    Short,
    /// A member that brings another when it is told to stop.
    Parent,
    /// A listener in a child group.
    InChild,
    /// Lets the tasks run for a turn.
    Yield,
    Stop,
    Abort,
}

fn group_operation() -> impl Strategy<Value = GroupOperation> {
    prop_oneof![
        4 => Just(GroupOperation::Listener),
        2 => Just(GroupOperation::Deaf),
        2 => Just(GroupOperation::Unlucky),
        2 => Just(GroupOperation::Short),
        2 => Just(GroupOperation::Parent),
        1 => Just(GroupOperation::InChild),
        3 => Just(GroupOperation::Yield),
        1 => Just(GroupOperation::Stop),
        1 => Just(GroupOperation::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Nobody is lost: who was accepted has ended, was aborted, or panicked, and nothing is left.
    #[test]
    fn everybody_in_a_group_is_accounted_for(operations in vec(group_operation(), 0..40)) {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (report, accepted, refused) = runtime.block_on(async {
            let group = TaskGroup::new("group");
            let brought = Arc::new(AtomicUsize::new(0));
            let (mut accepted, mut refused) = (0, 0);
            let mut children = Vec::new();
            for operation in operations {
                let spawned = match operation {
                    GroupOperation::Listener => group.spawn("listener", |stop| stop),
                    GroupOperation::Deaf => group.spawn("deaf", |_| pending()),
                    #[allow(clippy::panic, reason = "it is unlucky")]
                    GroupOperation::Unlucky => group.spawn("unlucky", |_| async { panic!("!") }),
                    GroupOperation::Short => group.spawn("short", |_| async {}),
                    GroupOperation::Parent => {
                        let brought = Arc::clone(&brought);
                        group.spawn("parent", |mut stop| async move {
                            (&mut stop).await;
                            brought.fetch_add(1, Ordering::Relaxed);
                            stop.spawn("child", |stop| stop).unwrap();
                        })
                    }
                    GroupOperation::InChild => {
                        match group.child("child") {
                            Ok(child) => {
                                child.spawn("listener", |stop| stop).unwrap();
                                children.push(child);
                            }
                            Err(_) => refused += 1,
                        }
                        continue;
                    }
                    GroupOperation::Yield => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    GroupOperation::Stop => {
                        group.stop();
                        continue;
                    }
                    GroupOperation::Abort => {
                        group.abort();
                        continue;
                    }
                };
                match spawned {
                    Ok(()) => accepted += 1,
                    Err(_) => refused += 1,
                }
            }
            // The deaf have to be aborted: that takes no longer than it has to.
            group.stop();
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            group.abort();
            let report = group.drain(PLENTY).await;
            (report, accepted + brought.load(Ordering::Relaxed), refused)
        });
        prop_assert!(report.still_running.is_empty(), "{:?}", report);
        prop_assert_eq!(report.ended + report.aborted + report.panicked.len(), accepted);
        prop_assert_eq!(report.refused, refused);
        prop_assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    }
}
