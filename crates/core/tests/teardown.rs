//! Tearing values down, from wherever one may stand, and what the destructor may do meanwhile.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
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
    runtime::{Builder, Handle, Runtime},
    task::{block_in_place, spawn, spawn_blocking},
    time::sleep,
};

/// Far longer than anything here takes, on a machine that may be busy.
const PLENTY: Duration = Duration::from_secs(60);

/// Does something when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

fn on_drop<F: FnOnce()>(what: F) -> OnDrop<F> {
    OnDrop(Some(what))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(what) = self.0.take() {
            what();
        }
    }
}

/// What a destructor started, and how much of it has ended.
#[derive(Clone, Default)]
struct Started {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Started {
    fn one(&self) -> OnDrop<impl FnOnce() + use<>> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let ended = Arc::clone(&self.ended);
        on_drop(move || {
            ended.fetch_add(1, Ordering::SeqCst);
        })
    }

    fn all_of(&self, expected: usize) {
        assert_eq!(self.begun.load(Ordering::SeqCst), expected, "started");
        assert_eq!(self.ended.load(Ordering::SeqCst), expected, "ended");
    }
}

/// A value like a pool: its destructor needs a context, and posts closers.
fn pool(started: &Started, connections: usize) -> impl Send + use<> {
    let started = started.clone();
    on_drop(move || {
        for _ in 0..connections {
            let closer = started.one();
            spawn_blocking(move || drop(closer));
        }
    })
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

#[test]
fn on_a_plain_thread_without_any_runtime() {
    let started = Started::default();
    teardown_blocking(pool(&started, 5), PLENTY).unwrap();
    started.all_of(5);
}

#[test]
fn in_async_code_inside_block_on_and_on_a_blocking_thread() {
    for runtime in [current_thread(), multi_thread()] {
        let started = Started::default();
        runtime.block_on(async {
            teardown_blocking(pool(&started, 2), PLENTY).unwrap();
            teardown(pool(&started, 2), PLENTY).await.unwrap();
            let (on_task, on_thread) = (pool(&started, 2), pool(&started, 2));
            spawn(async move { teardown(on_task, PLENTY).await.unwrap() }).await.unwrap();
            spawn_blocking(move || teardown_blocking(on_thread, PLENTY).unwrap()).await.unwrap();
        });
        started.all_of(8);
    }
}

#[test]
fn in_the_context_of_a_runtime_that_is_shut_down() {
    let runtime = multi_thread();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _context = handle.enter();
    let started = Started::default();
    teardown_blocking(pool(&started, 3), PLENTY).unwrap();
    started.all_of(3);
}

#[test]
fn while_the_locals_of_the_thread_are_being_destroyed() {
    thread_local! {
        static LATE: RefCell<Option<Box<dyn Send>>> = const { RefCell::new(None) };
    }
    let started = Started::default();
    let inner = pool(&started, 3);
    let (told, reports) = mpsc::channel();
    thread::spawn(move || {
        LATE.set(Some(Box::new(on_drop(move || {
            told.send(teardown_blocking(inner, PLENTY).is_ok()).unwrap();
        }))));
        // Tokio's local is made after ours, and so is destroyed before it.
        drop(Handle::try_current());
        current_thread().block_on(async {});
    })
    .join()
    .unwrap();
    assert!(reports.recv().unwrap());
    started.all_of(3);
}

#[test]
fn what_tasks_and_closers_start_in_their_turn_has_ended_too() {
    fn descend(started: &Started, depth: usize) {
        if depth == 0 {
            return;
        }
        let (task, closer) = (started.one(), started.one());
        let (below_task, below_closer) = (started.clone(), started.clone());
        spawn(async move {
            sleep(Duration::from_millis(1)).await;
            descend(&below_task, depth - 1);
            drop(task);
        });
        spawn_blocking(move || {
            descend(&below_closer, depth - 1);
            drop(closer);
        });
    }
    let started = Started::default();
    let value = on_drop({
        let started = started.clone();
        move || descend(&started, 5)
    });
    teardown_blocking(value, PLENTY).unwrap();
    started.all_of(62);
}

#[test]
fn a_destructor_may_wait_for_what_it_starts() {
    let (told, heard) = mpsc::channel();
    let value = on_drop(move || {
        let handle = Handle::current();
        let slept = handle.block_on(async {
            sleep(Duration::from_millis(1)).await;
            spawn(async { 1 }).await.unwrap()
        });
        let closed = handle.block_on(spawn_blocking(|| 2)).unwrap();
        let in_place = block_in_place(|| 3);
        told.send(slept + closed + in_place).unwrap();
    });
    teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(heard.recv().unwrap(), 6);
}

#[test]
fn a_closer_may_wait_for_a_timer_and_a_task() {
    let started = Started::default();
    let one = started.one();
    let value = on_drop(move || {
        spawn_blocking(move || {
            Handle::current().block_on(async {
                // Longer than the driving thread ever withholds itself.
                sleep(Duration::from_millis(30)).await;
                spawn(sleep(Duration::from_millis(1))).await.unwrap();
            });
            drop(one);
        });
    });
    teardown_blocking(value, PLENTY).unwrap();
    started.all_of(1);
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
    let started = Started::default();
    let one = started.one();
    let value = on_drop(move || {
        spawn_blocking(move || drop(one));
        panic!("no connection to lose");
    });
    let error = teardown_blocking(value, PLENTY).unwrap_err();
    assert!(error.to_string().ends_with("panicked: no connection to lose"), "{error}");
    assert!(matches!(error, TeardownError::DestructorPanicked { .. }));
    started.all_of(1);
}

#[test]
fn a_destructor_that_blocks_for_ever_is_reported_at_the_limit() {
    let latch = Arc::new(Latch::new());
    let value = on_drop({
        let latch = Arc::clone(&latch);
        move || assert!(latch.wait_blocking(PLENTY))
    });
    match teardown_blocking(value, Duration::from_millis(50)).unwrap_err() {
        TeardownError::TimedOut {
            elapsed,
            unfinished: Unfinished { destructor_running: true, tasks: 0, .. },
        } => {
            assert!(elapsed >= Duration::from_millis(50));
        }
        other => panic!("{other:?}"),
    }
    latch.fire();
}

#[test]
fn a_closer_that_waits_for_another_is_reported_at_the_limit() {
    let latch = Arc::new(Latch::new());
    let value = on_drop({
        let latch = Arc::clone(&latch);
        move || {
            let (first, second) = (Arc::clone(&latch), latch);
            spawn_blocking(move || assert!(first.wait_blocking(PLENTY)));
            spawn_blocking(move || second.fire());
        }
    });
    let error = teardown_blocking(value, Duration::from_millis(50)).unwrap_err();
    assert!(
        matches!(
            error,
            TeardownError::TimedOut {
                unfinished: Unfinished { destructor_running: false, tasks: 0, closing: true, .. },
                ..
            }
        ),
        "{error:?}"
    );
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
    let value = on_drop({
        let stop = Arc::clone(&stop);
        move || again(stop)
    });
    let error = teardown_blocking(value, Duration::from_millis(50)).unwrap_err();
    assert!(
        matches!(
            error,
            TeardownError::TimedOut {
                unfinished: Unfinished { destructor_running: false, .. },
                ..
            }
        ),
        "{error:?}"
    );
    stop.store(true, Ordering::SeqCst);
}

#[test]
fn tasks_that_never_end_are_counted() {
    let value = on_drop(|| {
        for _ in 0..3 {
            spawn(pending::<()>());
        }
    });
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let error = current_thread().block_on(teardown(value, limit)).unwrap_err();
    assert!(began.elapsed() >= limit);
    assert!(
        matches!(
            error,
            TeardownError::TimedOut { unfinished: Unfinished { tasks: 3, closing: false, .. }, .. }
        ),
        "{error:?}"
    );
}

#[test]
fn a_limit_of_zero_still_tears_down_and_the_longest_is_none() {
    let latch = Arc::new(Latch::new());
    let value = on_drop({
        let latch = Arc::clone(&latch);
        move || {
            latch.fire();
        }
    });
    drop(teardown_blocking(value, Duration::ZERO));
    assert!(latch.wait_blocking(PLENTY));

    teardown_blocking(pool(&Started::default(), 1), Duration::MAX).unwrap();
    current_thread().block_on(teardown(pool(&Started::default(), 1), Duration::MAX)).unwrap();
}

#[test]
fn a_future_that_is_never_polled_tears_down_all_the_same() {
    let latch = Arc::new(Latch::new());
    let value = on_drop({
        let latch = Arc::clone(&latch);
        move || {
            spawn_blocking(move || latch.fire());
        }
    });
    drop(teardown(value, PLENTY));
    assert!(latch.wait_blocking(PLENTY));
}

#[test]
fn a_destructor_may_tear_down_in_its_turn() {
    let started = Started::default();
    let inner = pool(&started, 2);
    let value = on_drop(move || {
        teardown_blocking(inner, PLENTY).unwrap();
    });
    teardown_blocking(value, PLENTY).unwrap();
    started.all_of(2);
}

#[test]
fn the_phases_add_up_to_the_whole() {
    let started = Started::default();
    let TeardownReport { elapsed, starting, destructor, ending, .. } =
        teardown_blocking(pool(&started, 4), PLENTY).unwrap();
    assert_eq!(starting + destructor + ending, elapsed);
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(|| {
                for _ in 0..20 {
                    let started = Started::default();
                    teardown_blocking(pool(&started, 3), PLENTY).unwrap();
                    started.all_of(3);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
