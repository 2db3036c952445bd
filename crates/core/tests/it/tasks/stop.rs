//! The signal to stop: where it comes from, and who is woken.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
};

use futures::FutureExt as _;
use sundown::group::TaskGroup;
use tokio::sync::oneshot;

use crate::fixtures::{PLENTY, both_flavours, obeys};

#[test]
fn a_signal_from_elsewhere_stops_a_group() {
    both_flavours(async || {
        let group = TaskGroup::new("signalled");
        let (signal, is_signal) = oneshot::channel::<()>();
        group.stop_when(is_signal).unwrap();
        group.spawn("listener", obeys).unwrap();
        signal.send(()).unwrap();
        group.stop_signal().await;
        assert_eq!(group.drain(PLENTY).await.ended, 2);
    });
}

#[test]
fn a_signal_that_moves_to_another_task_still_wakes() {
    both_flavours(async || {
        let group = TaskGroup::new("moving");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        group
            .spawn("giver", move |mut stop| async move {
                // Registered for this task by this poll, and then given away.
                assert!((&mut stop).now_or_never().is_none());
                sender.send(stop.clone()).unwrap();
                sender.send(stop).unwrap();
            })
            .unwrap();
        let mut signals = Vec::new();
        while let Some(signal) = receiver.recv().await {
            signals.push(signal);
        }
        let waiting = tokio::spawn(async move {
            for signal in signals {
                signal.await;
            }
        });
        tokio::task::yield_now().await;
        group.stop();
        waiting.await.unwrap();
        assert_eq!(group.drain(PLENTY).await.ended, 1);
    });
}

/// This makes the signal cheap: its registration outlives the future that made it.
#[test]
fn a_signal_that_is_polled_again_registers_once() {
    both_flavours(async || {
        let group = TaskGroup::new("hot");
        group
            .spawn("hot", |mut stop| async move {
                loop {
                    tokio::select! {
                        biased;
                        () = &mut stop => break,
                        () = tokio::task::yield_now() => {}
                    }
                }
            })
            .unwrap();
        let mut stop = group.stop_signal();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            assert!(pin!(&mut stop).poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(group.drain(PLENTY).await.ended, 1);
        assert!(stop.is_raised());
        poll_fn(|context| pin!(&mut stop).poll(context)).await;
        assert_eq!(pin!(&mut stop).poll(&mut context), Poll::Ready(()), "and remains raised");
    });
}
