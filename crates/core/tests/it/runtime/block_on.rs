//! Futures that are run on the calling thread, wherever it is.

use std::{
    cell::Cell,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use futures::{FutureExt as _, executor};
use sundown::runtime::{RuntimeError, RuntimeOwner};
use tokio::sync::mpsc as channel;

use super::on_both_flavours;
use crate::fixtures::{PLENTY, SHORT, current_thread, multi_thread, owned};

#[test]
fn block_on_borrows_and_polls_on_this_thread() {
    on_both_flavours("borrows", |builder| {
        let owner = builder.start().unwrap();
        let (local, here) = (Rc::new(Cell::new(0)), thread::current().id());
        let borrowed = &local;
        let answer = owner.block_on(async {
            // Panics if the runtime has no timer.
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::spawn(async {}).await.unwrap();
            borrowed.set(borrowed.get() + 1);
            thread::current().id()
        });
        assert_eq!(answer, Ok(here));
        assert_eq!(local.get(), 1);
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}

/// Tokio defers the wake-ups of `yield_now`, and of tasks that poll a lot, until the worker is idle.
#[test]
fn block_on_works_in_async_code_of_another_runtime() {
    on_both_flavours("nested", |builder| {
        let owner = builder.start().unwrap();
        let nested = async || {
            owner
                .block_on(async {
                    let (sender, mut receiver) = channel::channel(1);
                    let sending = tokio::spawn(async move {
                        for number in 0..1000 {
                            sender.send(number).await.unwrap();
                        }
                    });
                    let mut received = 0;
                    while let Some(number) = receiver.recv().await {
                        received += 1;
                        if number % 100 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    sending.await.unwrap();
                    received
                })
                .unwrap()
        };
        assert_eq!(current_thread().block_on(nested()), 1000);
        let other = multi_thread();
        assert_eq!(other.block_on(nested()), 1000);
        let owner = owner.clone();
        let in_a_task = other.spawn(async move {
            let answer = owner.block_on(async {
                tokio::task::yield_now().await;
                owner.stats().named
            });
            let _ = owner.shutdown(PLENTY).await.unwrap();
            answer.unwrap()
        });
        assert_eq!(other.block_on(in_a_task).unwrap(), 1, "itself");
    });
}

#[test]
fn block_on_in_a_task_of_its_own_does_not_deadlock() {
    let alone = RuntimeOwner::builder("own-c").current_thread();
    let one_worker = RuntimeOwner::builder("own-m").workers(1);
    for builder in [alone, one_worker] {
        let owner = builder.start().unwrap();
        let inside = owner.clone();
        let answers = owner
            .spawn("asks", |_| async move {
                let in_task = inside.block_on(async { tokio::spawn(async { 1 }).await.unwrap() });
                let blocking = tokio::task::spawn_blocking(move || {
                    let in_blocking = inside.block_on(async { 2 });
                    // Tokio would panic here.
                    let local = tokio::task::LocalSet::new();
                    let in_local = local.run_until(async { inside.block_on(async { 3 }) });
                    (in_blocking, tokio::runtime::Handle::current().block_on(in_local))
                });
                (in_task, blocking.await.unwrap())
            })
            .unwrap();
        let (in_task, (in_blocking, in_local)) = executor::block_on(answers).unwrap();
        match in_task {
            Err(RuntimeError::OwnThread { component }) => assert_eq!(component, "own-c"),
            other => assert_eq!(other, Ok(1), "another thread takes over"),
        }
        assert_eq!(in_blocking, Ok(2));
        assert!(matches!(in_local, Err(RuntimeError::OwnThread { .. })), "{in_local:?}");
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    }
}

#[test]
fn block_on_is_waited_for_and_dropped_at_the_limit() {
    on_both_flavours("guest", |builder| {
        let owner = builder.start().unwrap();
        let (entered, has_entered) = mpsc::channel();
        let (owned, is_dropped) = owned();
        let guest = {
            let owner = owner.clone();
            thread::spawn(move || {
                owner.block_on(async move {
                    let _owned = owned;
                    entered.send(()).unwrap();
                    pending::<()>().await;
                })
            })
        };
        has_entered.recv().unwrap();
        assert!(owner.shutdown(PLENTY).now_or_never().is_none());
        let _ = owner.shutdown_blocking(SHORT);
        assert_eq!(owner.shutdown_blocking(PLENTY).unwrap().aborted, 1);
        assert!(is_dropped());
        assert!(matches!(guest.join().unwrap(), Err(RuntimeError::ShutDown { .. })));
    });
}

#[test]
fn a_panic_in_block_on_reaches_its_caller_and_nobody_else() {
    on_both_flavours("own-panic", |builder| {
        let owner = builder.start().unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| owner.block_on(async { panic!("mine") })));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"mine"));
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    });
}
