//! A multi-thread runtime is brought to rest before it goes down. These tests fail when a release of Tokio
//! changes what that rests on (`src/runtime/rest.rs`).

use std::{
    future::pending,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    runtime::{RuntimeBuilder, RuntimeOwner},
    shutdown::{CutOff, ShutdownErrorKind, ShutdownReport},
};
use tokio::{
    runtime::Handle,
    task::{block_in_place, spawn_blocking, yield_now},
};

use crate::fixtures::{PLENTY, SHORT, multi_thread, stuck};

/// Foreign tasks that ask the blocking pool all the time, as a pool of database connections does. Counts how
/// often they were refused: there deadpool panics, and with it the task.
fn ask_the_pool(handle: &Handle) -> Arc<AtomicUsize> {
    let refused = Arc::new(AtomicUsize::new(0));
    for _ in 0..8 {
        let refused = Arc::clone(&refused);
        handle.spawn(async move {
            while spawn_blocking(|| ()).await.is_ok() {}
            refused.fetch_add(1, Ordering::SeqCst);
        });
    }
    for _ in 0..2 {
        handle.spawn(async {
            loop {
                yield_now().await;
            }
        });
    }
    let in_place = Arc::clone(&refused);
    handle.spawn(async move {
        loop {
            block_in_place(|| thread::sleep(Duration::from_micros(100)));
            if spawn_blocking(|| ()).await.is_err() {
                in_place.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    thread::sleep(Duration::from_millis(1));
    refused
}

fn builder(name: &str) -> RuntimeBuilder {
    RuntimeOwner::builder(name).workers(2).come_to_rest().foreign_time(Duration::ZERO)
}

#[test]
fn no_task_is_polled_once_the_pool_refuses_work() {
    // The control: Tokio's own drop, until it has happened.
    let began = Instant::now();
    let was_refused = || {
        let runtime = multi_thread();
        let refused = ask_the_pool(runtime.handle());
        drop(runtime);
        refused.load(Ordering::SeqCst) > 0
    };
    while !was_refused() {
        assert!(began.elapsed() < PLENTY, "Tokio's own drop does it as well by now");
    }

    let owner = builder("rests").start().unwrap();
    let mut at_rest = 0;
    for _ in 0..50 {
        let refused = ask_the_pool(&owner.handle().unwrap());
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!((report.aborted, report.foreign), (0, 11), "{report}");
        if report.cut_off == CutOff::AtRest {
            assert_eq!(refused.load(Ordering::SeqCst), 0, "{report}");
            at_rest += 1;
        }
        owner.restart().unwrap();
    }
    assert!(at_rest > 40, "of 50 at rest: {at_rest}");
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}

/// If the thread that is kept idle were counted as looking for work, no other would be woken.
#[test]
fn every_worker_that_was_asked_for_works_and_none_is_starved() {
    for workers in 1..=4 {
        let owner = RuntimeOwner::builder("works").workers(workers).start().unwrap();
        let handle = owner.handle().unwrap();
        for _ in 0..20 {
            // All of them at once, after all have been idle.
            thread::sleep(Duration::from_millis(1));
            let all = Arc::new(Barrier::new(workers + 1));
            for _ in 0..workers {
                let all = Arc::clone(&all);
                handle.spawn(async move {
                    all.wait();
                });
            }
            let (met, has_met) = mpsc::channel();
            thread::spawn(move || {
                all.wait();
                met.send(())
            });
            assert_eq!(has_met.recv_timeout(PLENTY), Ok(()), "of {workers} workers");
        }
        assert_eq!(owner.stats().threads, workers, "and the idle one is not counted");
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    }
}

fn of_a_foreign_task(owner: &RuntimeOwner) -> ShutdownReport {
    owner.handle().unwrap().spawn(pending::<()>());
    owner.shutdown_blocking(PLENTY).unwrap()
}

#[test]
fn a_runtime_with_the_default_number_of_workers_comes_to_rest_too() {
    let owner = RuntimeOwner::builder("default").come_to_rest().start().unwrap();
    let report = of_a_foreign_task(&owner);
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::AtRest));
}

#[test]
fn blocking_work_that_does_not_end_keeps_it_from_rest_and_is_said_so() {
    let owner = builder("no-rest").start().unwrap();
    let handle = owner.handle().unwrap();
    let (stuck, blocks) = stuck();
    handle.spawn_blocking(blocks);
    handle.spawn(pending::<()>());
    stuck.has_begun.recv().unwrap();
    // Twice as long as the runtime tries.
    let error = owner.shutdown_blocking(Duration::from_secs(4)).unwrap_err();
    assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
    drop(stuck.let_go);
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::InMotion));
    assert!(report.to_string().contains("may have been polled"), "{report}");
    owner.restart().unwrap();
    assert_eq!(of_a_foreign_task(&owner).cut_off, CutOff::AtRest, "the control");
}

/// A caller that gives up early leaves the runtime the time to come to rest.
#[test]
fn an_impatient_caller_does_not_keep_it_from_rest() {
    let owner = builder("impatient").start().unwrap();
    let handle = owner.handle().unwrap();
    let (stuck, blocks) = stuck();
    handle.spawn_blocking(blocks);
    handle.spawn(pending::<()>());
    stuck.has_begun.recv().unwrap();
    for limit in [Duration::ZERO, SHORT, SHORT] {
        assert!(owner.shutdown_blocking(limit).is_err(), "the blocking work has not ended");
    }
    drop(stuck.let_go);
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::AtRest));
}

/// Destructors run on one thread, after the pool has closed. One that waits for another task of the runtime
/// must not wait for ever.
#[test]
fn a_destructor_that_waits_for_another_task_holds_nothing_up() {
    struct Waits(mpsc::Receiver<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let _ = self.0.recv_timeout(PLENTY);
        }
    }
    for _ in 0..2 {
        let owner = builder("waits").start().unwrap();
        let handle = owner.handle().unwrap();
        let (goes, has_gone) = mpsc::channel();
        let waits = Waits(has_gone);
        handle.spawn(async move {
            let _waits = waits;
            pending::<()>().await;
        });
        handle.spawn(async move {
            let _goes = goes;
            pending::<()>().await;
        });
        thread::sleep(Duration::from_millis(1));
        let began = Instant::now();
        let _ = owner.shutdown_blocking(PLENTY / 2).unwrap();
        assert!(began.elapsed() < PLENTY / 4, "{:?}", began.elapsed());
    }
}

#[test]
fn what_is_dropped_without_a_shutdown_or_never_used_ends_as_well() {
    for _ in 0..20 {
        let owner = builder("unused").start().unwrap();
        let stats = owner.clone();
        drop(owner);
        drop(stats);
    }
    super::no_thread_is_left("unused");
}
