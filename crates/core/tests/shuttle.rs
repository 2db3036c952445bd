//! Random schedules, for groups of a size that loom cannot explore in full.
//!
//! `cargo xtask loom` runs these after the models; by hand:
//! `RUSTFLAGS="--cfg loom --cfg shuttle" cargo test -p core --release --test shuttle`. A schedule
//! that fails is printed by shuttle, and can be replayed.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use std::{
    future::{Future, pending},
    // `TaskSet` keeps its own references.
    sync::Arc as StdArc,
    time::{Duration, Instant},
};

use shuttle::{
    check_random,
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{
    latch::Latch,
    stop::Stop,
    task_set::{Label, Member, Place, SpawnedBy, TaskSet},
};

/// How many schedules are tried.
const SCHEDULES: usize = 20_000;

fn try_out(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    check_random(model, SCHEDULES);
    println!("model {name}: {SCHEDULES} interleavings, at random, {:.2?}", began.elapsed());
}

/// A task that is spawned from outside, to be polled by a thread of the model. `None` if it is refused.
fn member<W, F>(tasks: &StdArc<TaskSet>, work: W) -> Option<Member<W, F>>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    let place = Place::new(tasks, Label::new("task"), SpawnedBy::Outsider).ok()?;
    Some(Member::new(place, work))
}

#[test]
fn a_group_of_many_is_accounted_for_when_spawning_races_with_stop_and_abort() {
    try_out("tasks, 4 threads × 6 tasks against stop and abort", || {
        let (tasks, accepted) = (TaskSet::new(), Arc::new(AtomicUsize::new(0)));
        let workers: Vec<_> = (0..4)
            .map(|at| {
                let (tasks, accepted) = (StdArc::clone(&tasks), Arc::clone(&accepted));
                thread::spawn(move || {
                    for task in 0..6 {
                        let ignores_it = (at + task) % 3 == 0;
                        let task = member(&tasks, move |stop| async move {
                            if ignores_it { pending().await } else { stop.await }
                        });
                        if let Some(task) = task {
                            accepted.fetch_add(1, Ordering::SeqCst);
                            // It ends by itself, or because everything is aborted.
                            block_on(task);
                        }
                    }
                })
            })
            .collect();
        let stopping = thread::spawn({
            let tasks = StdArc::clone(&tasks);
            move || tasks.stop()
        });
        tasks.abort();
        block_on(tasks.closed().wait());
        for worker in workers {
            worker.join().unwrap();
        }
        stopping.join().unwrap();
        let (count, refused) = (tasks.registry().count(), tasks.tally().refused);
        let ended = count.completed + count.aborted;
        assert_eq!((ended, count.running), (accepted.load(Ordering::SeqCst), 0));
        assert_eq!(ended + refused, 24);
    });
}

#[test]
fn generations_of_groups_end_together() {
    try_out("tasks, three generations against a stop", || {
        let parent = TaskSet::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let parent = StdArc::clone(&parent);
                thread::spawn(move || {
                    let Ok(child) = parent.child(Label::new("child")) else { return };
                    let grandchild = child.child(Label::new("grandchild")).ok();
                    for tasks in [Some(&child), grandchild.as_ref()].into_iter().flatten() {
                        if let Some(task) = member(tasks, |stop| stop) {
                            block_on(task);
                        }
                    }
                    block_on(child.closed().wait());
                })
            })
            .collect();
        parent.stop();
        block_on(parent.closed().wait());
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(parent.registry().count().running, 0);
    });
}

#[test]
fn a_latch_wakes_many_who_come_and_go() {
    try_out("latch, 8 waiters that come and go", || {
        let latch = Arc::new(Latch::new());
        let waiters: Vec<_> = (0..8)
            .map(|at| {
                let latch = Arc::clone(&latch);
                thread::spawn(move || {
                    if at % 2 == 0 {
                        let _ = latch.wait_blocking(Duration::ZERO);
                    }
                    block_on(latch.wait());
                })
            })
            .collect();
        assert!(latch.fire());
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}
