//! A multi-thread runtime is brought to rest before it goes down. These tests fail when a release of Tokio
//! changes what that rests on (`src/runtime/rest.rs`).

use std::{
    future::pending,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    runtime::{RuntimeBuilder, RuntimeOwner, State},
    shutdown::{CutOff, ShutdownErrorKind, ShutdownReport},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{block_in_place, spawn_blocking, yield_now},
};

use crate::fixtures::{PLENTY, SHORT, on_drop, stuck, until};

/// Foreign tasks that ask the blocking pool all the time, as a pool of database connections does. Counts how
/// often they were refused: there deadpool panics, and with it the task.
fn ask_the_pool(handle: &Handle) -> Arc<AtomicUsize> {
    let refused = Arc::new(AtomicUsize::new(0));
    let (begun, has_begun) = mpsc::channel();
    for at in 0..9 {
        let (refused, begun) = (Arc::clone(&refused), begun.clone());
        handle.spawn(async move {
            let _ = begun.send(());
            loop {
                if at == 8 {
                    // Blocking work, long enough for another thread to take the worker over.
                    block_in_place(|| thread::sleep(Duration::from_micros(100)));
                }
                if spawn_blocking(|| ()).await.is_err() {
                    refused.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        });
    }
    for _ in 0..9 {
        has_begun.recv_timeout(PLENTY).unwrap();
    }
    refused
}

/// A task that is always ready, and keeps one worker from going idle.
fn is_always_ready(handle: &Handle) {
    handle.spawn(async {
        loop {
            yield_now().await;
        }
    });
}

fn builder(name: &str) -> RuntimeBuilder {
    RuntimeOwner::builder(name).workers(2).foreign_time(Duration::ZERO)
}

fn tokio_alone(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).build().unwrap()
}

#[test]
fn no_task_is_polled_once_the_pool_refuses_work() {
    for workers in [1, 2, 4, 8] {
        // The control: Tokio's own drop, until it has happened.
        let began = Instant::now();
        let was_refused = || {
            let runtime = tokio_alone(workers);
            let refused = ask_the_pool(runtime.handle());
            drop(runtime);
            refused.load(Ordering::SeqCst) > 0
        };
        while !was_refused() {
            assert!(began.elapsed() < PLENTY, "Tokio's own drop does it as well by now");
        }

        let owner = builder("rests").workers(workers).start().unwrap();
        let mut at_rest = 0;
        for _ in 0..25 {
            let handle = owner.handle().unwrap();
            let refused = ask_the_pool(&handle);
            // With one worker, it would never go idle.
            let others = usize::from(workers > 1);
            (0..others).for_each(|_| is_always_ready(&handle));
            let report = owner.shutdown_blocking(PLENTY).unwrap();
            assert_eq!((report.aborted, report.foreign), (0, 9 + others), "{report}");
            if report.cut_off == CutOff::AtRest {
                assert_eq!(refused.load(Ordering::SeqCst), 0, "{report}");
                at_rest += 1;
            }
            owner.restart().unwrap();
        }
        assert!(at_rest > 20, "of 25 at rest: {at_rest}, with {workers} workers");
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    }
}

#[test]
fn tasks_that_are_always_ready_keep_it_from_rest_and_that_is_said() {
    let owner = builder("always").workers(1).start().unwrap();
    is_always_ready(&owner.handle().unwrap());
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::InMotion));
    assert!(report.to_string().contains("may have been polled"), "{report}");
    owner.restart().unwrap();
    assert_eq!(of_a_foreign_task(&owner).cut_off, CutOff::AtRest, "the control");
}

/// Blocking work that waits for a task, as the consumer of a channel does, once tasks have used
/// `block_in_place`: it may be inside that, for all that can be known.
fn consume_on_the_pool(handle: &Handle) {
    let ((moved, has_moved), (begun, has_begun)) = (mpsc::channel(), mpsc::channel());
    let used = begun.clone();
    handle.spawn(async move {
        let other = Handle::current();
        block_in_place(move || {
            // As many as there are workers, and each needs one of its own. So one of them runs on the thread
            // that got this one's worker.
            let both = Arc::new(Barrier::new(2));
            for _ in 0..2 {
                let (moved, both) = (moved.clone(), Arc::clone(&both));
                other.spawn(async move {
                    both.wait();
                    moved.send(()).unwrap();
                });
            }
            // In one of 10 000 runtimes of Tokio's alone, the second stays in the queue of the worker that waits
            // for it, because both were awake when it came. What is spawned later wakes the other.
            let began = Instant::now();
            let mut arrived = 0;
            while arrived < 2 {
                assert!(began.elapsed() < PLENTY, "both never moved");
                match has_moved.recv_timeout(Duration::from_millis(50)) {
                    Ok(()) => arrived += 1,
                    Err(_) => drop(other.spawn(async {})),
                }
            }
        });
        used.send(()).unwrap();
        pending::<()>().await;
    });
    let (send, mut recv) = tokio::sync::mpsc::channel(1);
    handle.spawn(async move {
        let _ = send.send(()).await;
        pending::<()>().await;
        drop(send);
    });
    handle.spawn_blocking(move || {
        while recv.blocking_recv().is_some() {
            begun.send(()).unwrap();
        }
    });
    (0..2).for_each(|_| has_begun.recv_timeout(PLENTY).unwrap());
}

/// What Tokio's own drop does not wait for takes a part of the limit, and not more.
#[test]
fn what_does_not_come_to_rest_is_over_within_a_short_limit() {
    let limit = Duration::from_millis(150);
    for (fill, workers) in [(is_always_ready as fn(&Handle), 1), (consume_on_the_pool, 2)] {
        // On a busy machine it may take longer, so each is tried until it has happened.
        let began = Instant::now();
        let has_been_dropped = || {
            let runtime = tokio_alone(workers);
            fill(runtime.handle());
            let began = Instant::now();
            drop(runtime);
            began.elapsed() < limit
        };
        until("the control", has_been_dropped);
        loop {
            let owner = builder("short").workers(workers).start().unwrap();
            fill(&owner.handle().unwrap());
            let result = owner.shutdown_blocking(limit);
            let report = owner.shutdown_blocking(PLENTY).unwrap();
            assert_eq!(report.cut_off, CutOff::InMotion, "the control");
            if result.is_ok() {
                break;
            }
            assert!(began.elapsed() < PLENTY, "it is over within the limit by now");
        }
        let owner = builder("long").workers(workers).start().unwrap();
        fill(&owner.handle().unwrap());
        let report = owner.shutdown_blocking(Duration::from_secs(2)).unwrap();
        assert_eq!(report.cut_off, CutOff::InMotion, "{report}");
    }
}

/// Each of several tasks needs a worker of its own, while the machine is busy.
#[test]
fn every_worker_that_was_asked_for_works_and_none_is_starved() {
    let is_over = AtomicBool::new(false);
    let all_meet = |handle: &Handle, workers: usize, which: &str| {
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
        // As in `consume_on_the_pool`: rarely, Tokio leaves a worker asleep until something else is spawned.
        let began = Instant::now();
        while has_met.recv_timeout(Duration::from_millis(50)).is_err() {
            assert!(began.elapsed() < PLENTY, "{which}, of {workers} workers");
            drop(handle.spawn(async {}));
        }
    };
    thread::scope(|scope| {
        let _over = on_drop(|| is_over.store(true, Ordering::SeqCst));
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
        for workers in (1..=4).cycle().take(40) {
            all_meet(tokio_alone(workers).handle(), workers, "the control");
            let owner = builder("works").workers(workers).start().unwrap();
            let handle = owner.handle().unwrap();
            assert_eq!(handle.metrics().num_workers(), workers);
            for _ in 0..3 {
                all_meet(&handle, workers, "the kit");
            }
            // A thread counts itself when it begins to run, and now each has.
            assert_eq!(owner.stats().threads, workers);
            let _ = owner.shutdown_blocking(PLENTY).unwrap();
        }
    });
}

fn of_a_foreign_task(owner: &RuntimeOwner) -> ShutdownReport {
    owner.handle().unwrap().spawn(pending::<()>());
    owner.shutdown_blocking(PLENTY).unwrap()
}

#[test]
fn a_runtime_with_the_default_number_of_workers_comes_to_rest_too() {
    let owner = RuntimeOwner::builder("default").start().unwrap();
    let report = of_a_foreign_task(&owner);
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::AtRest));
}

/// The closure ends when the task has been dropped. If the runtime waited for it before, it would give up,
/// and say that it is not at rest.
#[test]
fn blocking_work_that_waits_for_a_task_does_not_hold_it_up() {
    for _ in 0..20 {
        let owner = builder("waits-for").start().unwrap();
        let handle = owner.handle().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let waits = owner.handle().unwrap().spawn_blocking(move || {
            let task = handle.spawn(pending::<()>());
            begun.send(()).unwrap();
            handle.block_on(task).is_err_and(|error| error.is_cancelled())
        });
        has_begun.recv_timeout(PLENTY).unwrap();
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!((report.foreign, report.cut_off), (1, CutOff::AtRest), "{report}");
        assert!(waits.is_finished());
    }
}

#[test]
fn a_future_inside_block_on_of_tokio_is_no_task_and_goes_on() {
    let owner = builder("block-on").start().unwrap();
    let handle = owner.handle().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let goes_on = owner.handle().unwrap().spawn_blocking(move || {
        begun.send(()).unwrap();
        handle.block_on(async { while spawn_blocking(|| ()).await.is_ok() {} });
    });
    has_begun.recv_timeout(PLENTY).unwrap();
    let report = of_a_foreign_task(&owner);
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::AtRest), "{report}");
    assert!(goes_on.is_finished(), "it was refused");
}

#[test]
fn blocking_work_that_does_not_end_keeps_it_from_ending_and_not_from_rest() {
    let owner = builder("no-end").start().unwrap();
    let handle = owner.handle().unwrap();
    let (stuck, blocks) = stuck();
    handle.spawn_blocking(blocks);
    handle.spawn(pending::<()>());
    stuck.has_begun.recv().unwrap();
    let error = owner.shutdown_blocking(Duration::from_secs(4)).unwrap_err();
    assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
    assert!(error.alive.blocking_work && error.alive.threads.len() == 1, "{error}");
    drop(stuck.let_go);
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!((report.foreign, report.cut_off), (1, CutOff::AtRest));
}

/// A task inside `block_in_place` has no worker, and goes on when that returns.
#[test]
fn what_is_inside_block_in_place_returns_before_the_pool_refuses_work() {
    let mut at_rest = 0;
    for _ in 0..10 {
        let owner = builder("in-place").start().unwrap();
        let ((let_go, is_let_go), (begun, has_begun)) = (mpsc::channel::<()>(), mpsc::channel());
        let (asked, was_refused) = mpsc::channel();
        owner.handle().unwrap().spawn(async move {
            block_in_place(|| {
                begun.send(()).unwrap();
                let _ = is_let_go.recv_timeout(PLENTY);
            });
            let _ = asked.send(spawn_blocking(|| ()).await.is_err());
            pending::<()>().await;
        });
        has_begun.recv_timeout(PLENTY).unwrap();
        let report = thread::scope(|scope| {
            let down = scope.spawn(|| owner.shutdown_blocking(PLENTY).unwrap());
            until("the shutdown", || owner.stats().state == State::Stopping);
            drop(let_go);
            down.join().unwrap()
        });
        assert_eq!(report.foreign, 1, "{report}");
        if report.cut_off == CutOff::AtRest {
            // It was dropped in its wait for the answer, or has got it.
            assert!(!matches!(was_refused.try_recv(), Ok(true)), "{report}");
            at_rest += 1;
        }
    }
    assert!(at_rest > 7, "of 10 at rest: {at_rest}");
}

/// The others are held until it has returned.
#[test]
fn a_slow_destructor_is_waited_for() {
    let owner = builder("slow").start().unwrap();
    let ((let_go, is_let_go), (begun, has_begun)) = (mpsc::channel::<()>(), mpsc::channel());
    let slow = on_drop(move || {
        begun.send(()).unwrap();
        let _ = is_let_go.recv_timeout(PLENTY);
    });
    owner.handle().unwrap().spawn(async move {
        let _slow = slow;
        pending::<()>().await;
    });
    let refused = ask_the_pool(&owner.handle().unwrap());
    thread::scope(|scope| {
        let down = scope.spawn(|| owner.shutdown_blocking(PLENTY).unwrap());
        has_begun.recv_timeout(PLENTY).unwrap();
        assert!(!down.is_finished(), "it has not ended");
        drop(let_go);
        let report = down.join().unwrap();
        assert_eq!((report.foreign, report.cut_off), (10, CutOff::AtRest), "{report}");
    });
    assert_eq!(refused.load(Ordering::SeqCst), 0);
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
        let (goes, has_gone) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let waits = Waits(has_gone);
        let begins = begun.clone();
        handle.spawn(async move {
            let _waits = waits;
            begins.send(()).unwrap();
            pending::<()>().await;
        });
        handle.spawn(async move {
            let _goes = goes;
            begun.send(()).unwrap();
            pending::<()>().await;
        });
        (0..2).for_each(|_| has_begun.recv_timeout(PLENTY).unwrap());
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
