//! What the hook advises, done literally to the program that panicked: it is clean then. The pages in
//! `docs/src/explain` have the same advice as listings, which are tested as well.

use std::{cell::RefCell, future::pending, rc::Rc, thread, time::Duration};

use sundown::{
    group::TaskGroup,
    teardown::{teardown, teardown_blocking},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::{LocalSet, spawn_blocking, spawn_local},
    time::sleep,
};

use crate::situations::{Document, Lease, client, one_thread, runtime};

const LIMIT: Duration = Duration::from_secs(30);
const BRIEF: Duration = Duration::from_millis(1);

#[test]
fn no_context_in_a_call() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let done = thread::spawn(move || {
        let by_handle = handle.spawn(async { sleep(BRIEF).await });
        let _context = handle.enter();
        let in_context = tokio::spawn(async { sleep(BRIEF).await });
        handle.block_on(async { (by_handle.await.is_ok(), in_context.await.is_ok()) })
    });
    assert_eq!(done.join().unwrap(), (true, true));
}

/// Two connections: without the advice, the process aborts (`SD0002`).
#[test]
fn no_context_in_a_destructor_and_a_second_panic() {
    let report = teardown_blocking(client(2), LIMIT);
    assert!(report.is_ok(), "{}", report.unwrap_err());
}

#[test]
fn no_context_in_the_destructor_of_a_value_that_is_not_send() {
    let runtime = runtime();
    let value = (client(2), Rc::new(7));
    let _context = runtime.handle().enter();
    drop(value);
}

#[test]
fn context_destroyed() {
    thread_local! {
        static CACHE: RefCell<Option<TornDown>> = const { RefCell::new(None) };
    }
    struct TornDown(Option<crate::situations::Client>);
    impl Drop for TornDown {
        fn drop(&mut self) {
            let torn_down = teardown_blocking(self.0.take(), LIMIT);
            assert!(torn_down.is_ok());
        }
    }
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let late = thread::spawn(move || {
        CACHE.with_borrow(Option::is_some);
        drop(handle.enter());
        CACHE.set(Some(TornDown(Some(client(2)))));
    });
    late.join().unwrap();
}

#[test]
fn runtime_gone() {
    let runtime = runtime();
    let tasks = TaskGroup::new("timers");
    let spawned = tasks.spawn_on(runtime.handle(), "an hour", |stop| async move {
        tokio::select! {
            () = stop => {}
            () = sleep(Duration::from_secs(3600)) => {}
        }
    });
    spawned.unwrap();
    assert_eq!(tasks.drain_blocking(LIMIT).into_result().unwrap().aborted, 0);
    drop(runtime);
}

#[test]
fn runtime_dropped() {
    runtime().block_on(async {
        let owner = sundown::RuntimeOwner::builder("inner").workers(1).start().unwrap();
        let _report = owner.shutdown(LIMIT).await.unwrap();
        drop(sundown::RuntimeOwner::builder("inner").workers(1).start().unwrap());
        runtime().shutdown_background();
        let inner = runtime();
        spawn_blocking(move || drop(inner)).await.unwrap();
    });
}

#[test]
fn blocked_in_async_in_a_call() {
    let received = runtime().block_on(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let received = spawn_blocking(move || receiver.blocking_recv());
        sender.send(7).await.unwrap();
        received.await.unwrap()
    });
    assert_eq!(received, Some(7));
}

#[test]
fn a_destructor_that_blocks_in_async_code() {
    for lease in [Lease::Blocks, Lease::BlocksInPlace] {
        let report = one_thread().block_on(teardown(lease, LIMIT));
        assert!(report.is_ok(), "{}", report.unwrap_err());
    }
}

#[test]
fn cancelled_join() {
    let runtime = runtime();
    let task = runtime.spawn(pending::<()>());
    drop(runtime);
    let error = one_thread().block_on(task).unwrap_err();
    assert!(error.is_cancelled());
}

#[test]
fn no_thread() {
    // `tests/exhaustion` refuses threads.
    let runtime = Builder::new_multi_thread().max_blocking_threads(1).build().unwrap();
    let done = runtime.block_on(async {
        let work: Vec<_> = (0..8).map(|number| spawn_blocking(move || number)).collect();
        futures::future::join_all(work).await.into_iter().filter(Result::is_ok).count()
    });
    assert_eq!(done, 8);
}

#[test]
fn block_in_place_in_a_call() {
    assert_eq!(one_thread().block_on(async { spawn_blocking(|| 7).await }).unwrap(), 7);
    let workers: Runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    assert_eq!(workers.block_on(async { tokio::task::block_in_place(|| 7) }), 7);
}

#[test]
fn no_driver() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        sleep(BRIEF).await;
        drop(TcpListener::bind("127.0.0.1:0").await.unwrap());
    });
}

#[test]
fn not_local() {
    let local = LocalSet::new();
    let value = Rc::new(7);
    let task = local.run_until(async move { spawn_local(async move { *value }).await });
    assert_eq!(runtime().block_on(task).unwrap(), 7);
}

#[test]
fn not_local_in_a_destructor() {
    let saved = Rc::default();
    let value = Document { saved: Rc::clone(&saved) };
    let local = LocalSet::new();
    runtime().block_on(async {
        local.run_until(async { drop(value) }).await;
        local.await;
    });
    assert!(saved.get(), "what the destructor spawned has ended");
}

/// What the advice says of a `LocalSet` that is itself dropped.
#[test]
fn a_local_set_that_is_dropped_drops_what_a_destructor_spawned_and_says_nothing() {
    let saved = Rc::default();
    let value = Document { saved: Rc::clone(&saved) };
    runtime().block_on(async {
        let local = LocalSet::new();
        local.run_until(async { drop(value) }).await;
        drop(local);
    });
    assert!(!saved.get() && Rc::strong_count(&saved) == 1, "its task is gone");
}
