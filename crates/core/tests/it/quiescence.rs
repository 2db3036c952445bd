//! Nothing that a destructor starts ends after its teardown: for random trees of tasks, closers, timers
//! and what these start in their turn. With the usual way to wait, one fence, something does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestError},
};
use sundown::{latch::Latch, teardown::teardown_blocking};
use tokio::{
    runtime::{Builder, Handle},
    task::{spawn, spawn_blocking, yield_now},
    time::sleep,
};

use crate::fixtures::{PLENTY, runner};

/// Something that a destructor starts, and what that starts before it ends.
#[derive(Clone, Debug)]
pub struct Node {
    kind: Kind,
    children: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A task that yields this many times.
    Task { yields: u8 },
    /// A task that sleeps for this many quarters of a millisecond.
    Timer { quarters: u8 },
    /// A task that waits for a closer.
    TaskOnCloser,
    /// A closer.
    Closer,
    /// A closer that yields its thread this many times.
    SlowCloser { yields: u8 },
    /// A closer that blocks on a timer.
    CloserOnTimer,
}

/// How many nodes have been started, and how many of them have ended.
#[derive(Default)]
pub struct Tally {
    started: AtomicUsize,
    ended: AtomicUsize,
}

impl Tally {
    pub fn is_over(&self) -> bool {
        // In this order: a node that starts between the two loads shows as not ended.
        let ended = self.ended.load(Ordering::SeqCst);
        self.started.load(Ordering::SeqCst) == ended
    }
}

/// A node that runs. It has ended when this is dropped.
pub struct Running(Arc<Tally>);

impl Running {
    pub fn one(tally: &Arc<Tally>) -> Self {
        tally.started.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(tally))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

pub fn start(nodes: Vec<Node>, tally: &Arc<Tally>) {
    for Node { kind, children } in nodes {
        let running = Running::one(tally);
        // A node starts its children last, before it ends.
        let finish = move || start(children, &running.0);
        match kind {
            Kind::Task { yields } => drop(spawn(async move {
                for _ in 0..yields {
                    yield_now().await;
                }
                finish();
            })),
            Kind::Timer { quarters } => drop(spawn(async move {
                sleep(Duration::from_micros(250) * u32::from(quarters)).await;
                finish();
            })),
            Kind::TaskOnCloser => drop(spawn(async move {
                let _ = spawn_blocking(|| ()).await;
                finish();
            })),
            Kind::Closer => drop(spawn_blocking(finish)),
            Kind::SlowCloser { yields } => drop(spawn_blocking(move || {
                for _ in 0..yields {
                    thread::yield_now();
                }
                finish();
            })),
            Kind::CloserOnTimer => drop(spawn_blocking(move || {
                Handle::current().block_on(sleep(Duration::from_micros(250)));
                finish();
            })),
        }
    }
}

/// Starts the nodes when it is dropped.
struct Starts(Vec<Node>, Arc<Tally>);

impl Drop for Starts {
    fn drop(&mut self) {
        start(std::mem::take(&mut self.0), &self.1);
    }
}

pub fn forest() -> impl Strategy<Value = Vec<Node>> {
    let kind = prop_oneof![
        (0..20_u8).prop_map(|yields| Kind::Task { yields }),
        (0..8_u8).prop_map(|quarters| Kind::Timer { quarters }),
        Just(Kind::TaskOnCloser),
        Just(Kind::Closer),
        (0..50_u8).prop_map(|yields| Kind::SlowCloser { yields }),
        Just(Kind::CloserOnTimer),
    ];
    let leaf = kind.clone().prop_map(|kind| Node { kind, children: Vec::new() });
    let node = leaf.prop_recursive(5, 24, 3, move |below| {
        (kind.clone(), prop::collection::vec(below, 0..3))
            .prop_map(|(kind, children)| Node { kind, children })
    });
    prop::collection::vec(node, 0..5)
}

/// Whether everything that the nodes start has ended when `tear_down` returns.
fn all_ended(nodes: Vec<Node>, tear_down: impl Fn(Starts)) -> Result<(), TestCaseError> {
    let tally = Arc::new(Tally::default());
    tear_down(Starts(nodes, Arc::clone(&tally)));
    prop_assert!(tally.is_over());
    Ok(())
}

#[test]
fn nothing_ends_after_a_teardown() {
    let tear_down = |value| {
        teardown_blocking(value, PLENTY).unwrap();
    };
    runner(300).run(&forest(), |nodes| all_ended(nodes, tear_down)).unwrap();
}

/// The usual way: wait for one closure behind those that are known, and then until no task is alive.
fn single_fence(value: Starts) {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).enable_time().build();
    let runtime = runtime.unwrap();
    {
        let _context = runtime.enter();
        drop(value);
    }
    let fence = Arc::new(Latch::new());
    let passing = Arc::clone(&fence);
    runtime.spawn_blocking(move || passing.fire());
    assert!(fence.wait_blocking(PLENTY));
    while runtime.metrics().num_alive_tasks() > 0 {
        thread::yield_now();
    }
    // Does not wait for what is left, as a drop would.
    runtime.shutdown_background();
}

#[test]
fn with_a_single_fence_something_does() {
    let found = runner(300).run(&forest(), |nodes| all_ended(nodes, single_fence));
    assert!(matches!(found, Err(TestError::Fail(..))), "{found:?}");
}
