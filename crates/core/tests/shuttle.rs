//! Random schedules, for groups of a size that loom cannot explore in full.
//!
//! `cargo xtask loom` runs these after the models; by hand:
//! `RUSTFLAGS="--cfg loom --cfg shuttle" cargo test -p core --release --test shuttle`. A schedule
//! that fails is printed by shuttle, and can be replayed.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use std::{future::pending, time::Instant};

use shuttle::{
    check_random,
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{latch::Latch, modelled::Crew};

/// How many schedules are tried.
const SCHEDULES: usize = 20_000;

fn try_out(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    check_random(model, SCHEDULES);
    println!("model {name}: {SCHEDULES} interleavings, at random, {:.2?}", began.elapsed());
}

#[test]
fn a_group_of_many_is_accounted_for_when_spawning_races_with_stop_and_abort() {
    try_out("crew, 4 threads × 6 members against stop and abort", || {
        let crew = Crew::new();
        let accepted = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..4)
            .map(|at| {
                let (crew, accepted) = (crew.clone(), Arc::clone(&accepted));
                thread::spawn(move || {
                    for member in 0..6 {
                        let deaf = (at + member) % 3 == 0;
                        let member = crew.member(move |stop| async move {
                            if deaf { pending().await } else { stop.await }
                        });
                        if let Some(member) = member {
                            accepted.fetch_add(1, Ordering::SeqCst);
                            // Of its own accord, or because everything is aborted.
                            block_on(member);
                        }
                    }
                })
            })
            .collect();
        let stopping = thread::spawn({
            let crew = crew.clone();
            move || crew.stop()
        });
        crew.abort();
        block_on(crew.closed().wait());
        for worker in workers {
            worker.join().unwrap();
        }
        stopping.join().unwrap();
        let tally = crew.tally();
        let accepted = accepted.load(Ordering::SeqCst);
        assert_eq!(tally.completed + tally.aborted, accepted);
        assert_eq!(tally.completed + tally.aborted + tally.refused, 24);
        assert_eq!(crew.at_work(), 0);
    });
}

#[test]
fn generations_of_groups_end_together() {
    try_out("crew, three generations against a stop", || {
        let parent = Crew::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let parent = parent.clone();
                thread::spawn(move || {
                    let Some(child) = parent.child() else { return };
                    let grandchild = child.child();
                    for crew in [Some(&child), grandchild.as_ref()].into_iter().flatten() {
                        if let Some(member) = crew.member(|stop| stop) {
                            block_on(member);
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
        assert_eq!(parent.at_work(), 0);
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
                        let _ = latch.wait_blocking(std::time::Duration::ZERO);
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
