//! Owners that are dropped without a shutdown, wherever that happens.

use std::thread;

use sundown::runtime::{RuntimeCell, RuntimeError, RuntimeOwner};
use tokio::sync::oneshot;

use super::{on_both_flavours, spawn_deaf};
use crate::fixtures::{PLENTY, current_thread, multi_thread, until, while_locals_are_destroyed};

#[test]
fn a_drop_ends_the_runtime_wherever_it_happens() {
    on_both_flavours("drop", |builder| {
        let start = || {
            let owner = builder.clone().start().unwrap();
            let ended = spawn_deaf(&owner);
            (owner, ended)
        };
        // On a plain thread.
        let (owner, ended) = start();
        let clone = owner.clone();
        drop(owner);
        assert_eq!(clone.block_on(async { 1 }), Ok(1), "a clone keeps it");
        drop(clone);
        until("its end after a drop", ended);

        // In async code of either flavour, where Tokio's own drop panics.
        for other in [current_thread(), multi_thread()] {
            let (owner, ended) = start();
            other.block_on(async move { drop(owner) });
            until("its end after a drop in async code", ended);
        }

        // Inside a task of its own, which has the last owner.
        let (owner, ended) = start();
        let (give, given) = oneshot::channel::<RuntimeOwner>();
        drop(owner.spawn("drops its owner", |_| async move { drop(given.await) }));
        assert!(give.send(owner).is_ok());
        until("its end after a drop inside", ended);

        // During unwinding.
        let (owner, ended) = start();
        let unwound = thread::spawn(move || {
            let _owner = owner;
            panic!("on purpose");
        });
        assert!(unwound.join().is_err());
        until("its end after a panic", ended);
    });
}

#[test]
fn it_is_used_and_dropped_while_the_locals_of_a_thread_are_destroyed() {
    on_both_flavours("locals", |builder| {
        let owner = builder.clone().start().unwrap();
        let (entered, spawned, ended) = while_locals_are_destroyed(move || {
            let spawned = owner.spawn("from there", |_| async { 1 });
            let spawned = spawned.unwrap().wait_blocking(PLENTY);
            (owner.block_on(async {}), spawned, owner.shutdown_blocking(PLENTY).is_ok())
        });
        assert!(matches!(entered, Err(RuntimeError::ThreadEnding { .. })), "{entered:?}");
        assert_eq!((spawned, ended), (Ok(1), true));

        let owner = while_locals_are_destroyed(move || builder.start()).unwrap();
        let ended = spawn_deaf(&owner);
        while_locals_are_destroyed(move || drop(owner));
        until("its end", ended);
    });
}

#[test]
fn a_cell_that_is_dropped_leaves_its_runtime_running() {
    let cell = RuntimeCell::new(|| RuntimeOwner::builder("kept").workers(1));
    let runtime = cell.get().unwrap();
    drop(cell);
    let (ask, asked) = oneshot::channel();
    let answer = runtime.spawn("answers", |_| asked).unwrap();
    ask.send(42).unwrap();
    assert_eq!(runtime.block_on(answer).unwrap().unwrap(), Ok(42));
}
