//! Tearing values down: where a caller may be, and what a destructor may do.

use std::{
    any::Any,
    cell::RefCell,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    latch::Latch,
    teardown::{TeardownError, TeardownReport, Unfinished, teardown, teardown_blocking},
};
use tokio::{
    runtime::Handle,
    task::{block_in_place, spawn, spawn_blocking},
    time::sleep,
};

use crate::fixtures::{
    PLENTY, SHORT, both_flavours, current_thread, multi_thread, on_drop, owned, pool, until,
    while_locals_are_destroyed,
};

#[test]
fn the_phases_of_a_teardown_add_up_to_the_whole() {
    let (pool, closed) = pool();
    let TeardownReport { elapsed, starting, destructor, ending, .. } =
        teardown_blocking(pool, PLENTY).unwrap();
    assert_eq!((closed(), starting + destructor + ending), (2, elapsed));
    let busy_for = Duration::from_millis(2);
    let value = on_drop(move || {
        let began = Instant::now();
        while began.elapsed() < busy_for {}
    });
    assert!(teardown_blocking(value, PLENTY).unwrap().destructor >= busy_for);
}

#[test]
fn a_teardown_works_in_async_code_inside_block_on_and_on_a_blocking_thread() {
    both_flavours(async || {
        let pools = [(); 4].map(|()| pool());
        let closed = pools.each_ref().map(|(_, closed)| closed.clone());
        let [blocking, awaited, in_task, in_closure] = pools.map(|(pool, _)| pool);
        teardown_blocking(blocking, PLENTY).unwrap();
        teardown(awaited, PLENTY).await.unwrap();
        spawn(async { teardown(in_task, PLENTY).await.unwrap() }).await.unwrap();
        spawn_blocking(|| teardown_blocking(in_closure, PLENTY).unwrap()).await.unwrap();
        assert_eq!(closed.map(|closed| closed()), [2; 4]);
    });
}

#[test]
fn a_teardown_works_in_the_context_of_a_runtime_that_is_shut_down() {
    let runtime = multi_thread();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _context = handle.enter();
    let (pool, closed) = pool();
    teardown_blocking(pool, PLENTY).unwrap();
    assert_eq!(closed(), 2);
}

#[test]
fn a_teardown_works_while_the_locals_of_the_thread_are_being_destroyed() {
    let (pool, closed) = pool();
    while_locals_are_destroyed(|| teardown_blocking(pool, PLENTY).unwrap());
    assert_eq!(closed(), 2);
}

#[test]
fn a_destructor_may_wait_for_what_it_starts() {
    let (sender, receiver) = mpsc::channel();
    let value = on_drop(move || {
        let handle = Handle::current();
        let slept = handle.block_on(async {
            sleep(Duration::from_millis(1)).await;
            spawn(async { 1 }).await.unwrap()
        });
        let closed = handle.block_on(spawn_blocking(|| 2)).unwrap();
        let in_place = block_in_place(|| 3);
        sender.send(slept + closed + in_place).unwrap();
    });
    teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(receiver.recv().unwrap(), 6);
}

#[test]
fn closers_run_one_after_another() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let value = on_drop({
        let most = Arc::clone(&most);
        move || {
            for _ in 0..20 {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                spawn_blocking(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    });
    teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn a_destructor_that_panics_is_caught_and_what_it_started_has_ended() {
    let (owned, is_dropped) = owned();
    let value = on_drop(move || {
        spawn_blocking(move || drop(owned));
        panic!("no connection to lose");
    });
    let error = teardown_blocking(value, PLENTY).unwrap_err();
    assert!(error.to_string().ends_with("panicked: no connection to lose"), "{error}");
    assert!(matches!(error, TeardownError::DestructorPanicked { .. }) && is_dropped());
}

/// Tears values down with a limit, until this is what has not ended then. On a busy machine it takes
/// longer to come there. The limit holds in async code, too.
fn reports<V: Send + 'static>(value: impl Fn() -> V, expected: impl Fn(&Unfinished) -> bool) {
    let mut limit = SHORT;
    loop {
        let began = Instant::now();
        match current_thread().block_on(teardown(value(), limit)) {
            Err(TeardownError::TimedOut { elapsed, unfinished }) => {
                assert!(elapsed >= limit && began.elapsed() < PLENTY);
                if expected(&unfinished) {
                    return;
                }
                limit *= 2;
                assert!(limit < PLENTY, "{unfinished:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_destructor_that_blocks_is_reported_at_the_limit() {
    let latch = Arc::new(Latch::new());
    let blocks = || {
        let latch = Arc::clone(&latch);
        on_drop(move || assert!(latch.wait_blocking(PLENTY)))
    };
    reports(blocks, |unfinished| unfinished.destructor_running && unfinished.tasks == 0);
    latch.fire();
}

#[test]
fn a_closer_that_waits_for_another_is_reported_at_the_limit() {
    let latch = Arc::new(Latch::new());
    let waits = || {
        let (first, second) = (Arc::clone(&latch), Arc::clone(&latch));
        on_drop(move || {
            spawn_blocking(move || assert!(first.wait_blocking(PLENTY)));
            spawn_blocking(move || second.fire());
        })
    };
    let expected = Unfinished { blocking_work: true, ..Unfinished::default() };
    reports(waits, |unfinished| *unfinished == expected);
    latch.fire();
}

#[test]
fn a_destructor_that_spawns_for_ever_is_reported_at_the_limit() {
    fn again(stop: Arc<AtomicBool>) {
        if !stop.load(Ordering::SeqCst) {
            spawn(async move { again(stop) });
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let spawns = || {
        let stop = Arc::clone(&stop);
        on_drop(move || again(stop))
    };
    reports(spawns, |unfinished| unfinished.waiting == 0 && !unfinished.destructor_running);
    stop.store(true, Ordering::SeqCst);
}

#[test]
fn tasks_that_never_end_are_counted() {
    let never_end = || on_drop(|| (0..3).for_each(|_| drop(spawn(pending::<()>()))));
    reports(never_end, |unfinished| unfinished.tasks == 3 && !unfinished.blocking_work);
}

#[test]
fn a_limit_of_zero_still_tears_down_and_the_longest_means_no_limit() {
    let (value, closed) = pool();
    drop(teardown_blocking(value, Duration::ZERO));
    until("the closers", || closed() == 2);
    teardown_blocking(pool().0, Duration::MAX).unwrap();
    current_thread().block_on(teardown(pool().0, Duration::MAX)).unwrap();
}

#[test]
fn a_teardown_future_that_is_never_polled_tears_down_all_the_same() {
    let (pool, closed) = pool();
    drop(teardown(pool, PLENTY));
    until("the closers", || closed() == 2);
}

/// A closer may leave something in a thread-local of its thread.
#[test]
fn a_task_that_is_spawned_when_the_closing_thread_ends_has_ended_too() {
    thread_local!(static LEFT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) });
    let ended = Arc::new(AtomicUsize::new(0));
    for round in 0..50 {
        let ended = Arc::clone(&ended);
        let value = on_drop(move || {
            let handle = Handle::current();
            drop(spawn_blocking(move || {
                LEFT.set(Some(Box::new(on_drop(move || {
                    drop(handle.spawn(async move {
                        sleep(Duration::from_micros(round)).await;
                        ended.fetch_add(1, Ordering::SeqCst);
                    }));
                }))));
            }));
        });
        teardown_blocking(value, PLENTY).unwrap();
    }
    assert_eq!(ended.load(Ordering::SeqCst), 50);
}
