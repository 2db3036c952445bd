//! Owners that are dropped without a shutdown, wherever that happens.

use std::{
    cell::RefCell,
    future::pending,
    sync::{atomic::Ordering, mpsc},
    thread,
};

use sundown::runtime::{RuntimeError, RuntimeOwner};
use tokio::{runtime::Builder, sync::oneshot};

use crate::{PLENTY, both_flavours, told, until};

#[test]
fn a_drop_ends_the_runtime_wherever_it_happens() {
    both_flavours("drop", |builder| {
        let start = || {
            let owner = builder.clone().start().unwrap();
            let (owned, is_dropped) = told();
            drop(owner.spawn("owns", |_| async move {
                let _owned = owned;
                pending::<()>().await;
            }));
            (owner, is_dropped)
        };
        // On a plain thread.
        let (owner, ended) = start();
        let clone = owner.clone();
        drop(owner);
        assert_eq!(clone.block_on(async { 1 }), Ok(1), "a clone keeps it");
        drop(clone);
        until("its end after a drop", || ended.load(Ordering::SeqCst));

        // In async code of either flavour, where Tokio's own drop panics.
        for mut other in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let (owner, ended) = start();
            other.build().unwrap().block_on(async move { drop(owner) });
            until("its end after a drop in async code", || ended.load(Ordering::SeqCst));
        }

        // Inside a task of its own, which is the last to have it.
        let (owner, ended) = start();
        let (give, given) = oneshot::channel::<RuntimeOwner>();
        drop(owner.spawn("drops its owner", |_| async move { drop(given.await) }));
        assert!(give.send(owner).is_ok());
        until("its end after a drop inside", || ended.load(Ordering::SeqCst));

        // During unwinding.
        let (owner, ended) = start();
        let unwound = thread::spawn(move || {
            let _owner = owner;
            panic!("on purpose");
        });
        assert!(unwound.join().is_err());
        until("its end after a panic", || ended.load(Ordering::SeqCst));
    });
}

/// Runs something while the thread's locals are being destroyed, Tokio's before it.
fn while_locals_are_destroyed<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    struct Last(Option<Box<dyn FnOnce()>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(run) = self.0.take() {
                run();
            }
        }
    }
    thread_local!(static LAST: RefCell<Last> = const { RefCell::new(Last(None)) });
    let (answer, is_answer) = mpsc::channel();
    let run = move || {
        let gone = tokio::runtime::Handle::try_current().unwrap_err();
        assert!(gone.is_thread_local_destroyed(), "the control");
        answer.send(run()).unwrap();
    };
    thread::spawn(|| {
        // Registered first, and so destroyed last.
        LAST.set(Last(Some(Box::new(run))));
        let _ = tokio::runtime::Handle::try_current();
    });
    is_answer.recv_timeout(PLENTY).unwrap()
}

#[test]
fn it_is_used_and_dropped_while_the_locals_of_a_thread_are_destroyed() {
    both_flavours("locals", |builder| {
        let owner = builder.clone().start().unwrap();
        let other = owner.clone();
        let (entered, spawned, ended) = while_locals_are_destroyed(move || {
            let spawned = other.spawn("from there", |_| async { 1 });
            let spawned = spawned.unwrap().wait_blocking(PLENTY);
            (other.block_on(async {}), spawned, other.shutdown_blocking(PLENTY).is_ok())
        });
        assert!(matches!(entered, Err(RuntimeError::ThreadEnding { .. })), "{entered:?}");
        assert_eq!((spawned, ended), (Ok(1), true));

        let started = while_locals_are_destroyed(move || builder.start());
        let (owned, is_dropped) = told();
        let owner = started.unwrap();
        drop(owner.spawn("owns", |_| async move {
            let _owned = owned;
            pending::<()>().await;
        }));
        while_locals_are_destroyed(move || drop(owner));
        until("its end", || is_dropped.load(Ordering::SeqCst));
    });
}
