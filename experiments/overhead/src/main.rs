//! Measures what the *graceful-with-fallback* pattern and the kit add to a task, for experiment 46, which
//! builds this program optimized. `overhead WHAT` prints a line `NAME NUMBER` for each figure.

use std::{
    alloc::System,
    env,
    error::Error,
    future::pending,
    hint::black_box,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use sundown::{group::TaskGroup, task::BackgroundTask};
use tokio::{runtime::Builder, sync::oneshot, task::yield_now};

use crate::manager::Manager;

#[path = "../../src/pattern/manager.rs"]
#[allow(dead_code, reason = "the experiments use the rest")]
mod manager;

/// `stats_alloc` counts, because a counting allocator of our own would take `unsafe`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static GROUP: LazyLock<TaskGroup> = LazyLock::new(|| TaskGroup::new("idle"));

/// How many components share what is allocated once.
const COMPONENTS: usize = 1000;

/// What is timed in one piece, and how often. The best round counts: the others were disturbed.
const TURNS: u32 = 10_000;
const READS: u32 = 100_000;
const ROUNDS: usize = 25;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(10);

/// A step of [`time_of_the_chain`] takes this many cycles on every processor that shifts and adds in one.
const CYCLES_OF_A_STEP: u32 = 6;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let what = env::args().nth(1).ok_or("measure what?")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Not inside of `block_on`, where a spawn may also grow a queue.
    let _context = runtime.enter();
    match what.as_str() {
        "bytes/pattern" => {
            let flag = bytes_of_one(|| Arc::new(AtomicBool::new(false)));
            let channel = bytes_of_one(oneshot::channel::<()>);
            println!("bytes_of_the_flag {flag}\nbytes_of_the_channel {channel}");
            println!("flag_and_channel {}", flag + channel);
            // An `Arc` has two: of strong and of weak references.
            let counters = 2 * size_of::<AtomicUsize>();
            println!("without_counters {}", flag + channel - 2 * counters);
            bytes(|| Manager::spawn(idle));
        }
        "bytes/kit-task" => bytes(|| BackgroundTask::spawn("idle", idle)),
        "bytes/kit-group-member" => bytes(|| GROUP.spawn("idle", idle)),
        "flag" => flag(),
        "turns" => runtime.block_on(turns())?,
        _ => return Err(format!("there is no {what}").into()),
    }
    Ok(())
}

/// Does nothing until it is told to stop.
async fn idle<S: Future>(stop: S) {
    tokio::select! {
        _ = stop => {}
        () = pending() => {}
    }
}

/// The heap that one thing takes, if a thousand are made.
fn bytes_of_one<T>(make: impl Fn() -> T) -> usize {
    // The first one also allocates what all of them share.
    let _first = make();
    let mut made = Vec::with_capacity(COMPONENTS);
    let region = Region::new(ALLOCATOR);
    made.extend((0..COMPONENTS).map(|_| make()));
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated) / COMPONENTS
}

fn bytes<T>(make: impl Fn() -> T) {
    let bare = bytes_of_one(|| tokio::spawn(idle(pending::<()>())));
    println!("bytes_of_a_bare_task {bare}");
    println!("bytes_added {}", bytes_of_one(make).saturating_sub(bare));
}

/// The time of one read without contention, in hundredths of a processor cycle.
fn flag() {
    let flag = AtomicBool::new(false);
    let (lock, std_lock) = (parking_lot::RwLock::new(false), std::sync::RwLock::new(false));
    let mut best = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        // Whoever disturbs one round, such as another process on the same core, has gone at some later one.
        sleep(BETWEEN_ROUNDS);
        let times = [
            time_of_the_chain(),
            time_of(|| flag.load(Ordering::SeqCst)),
            time_of(|| *lock.read()),
            time_of(|| std_lock.read().is_ok_and(|flag| *flag)),
        ];
        best = std::array::from_fn(|nth| best[nth].min(times[nth]));
    }
    let [chain, reads @ ..] = best.map(|best| best.as_secs_f64());
    let names = ["atomic_centicycles", "rwlock_centicycles", "std_rwlock_centicycles"];
    for (name, read) in names.into_iter().zip(reads) {
        println!("{name} {:.0}", 100.0 * f64::from(CYCLES_OF_A_STEP) * read / chain);
    }
    let [atomic, lock, _] = reads;
    println!("lock_in_atomics {:.0}", lock / atomic);
}

fn time_of(read: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    for _ in 0..READS {
        black_box(read());
    }
    began.elapsed()
}

/// The yardstick: in each step six operations that wait for each other, each of one cycle.
fn time_of_the_chain() -> Duration {
    let (began, mut state) = (Instant::now(), black_box(1_u64));
    for _ in 0..READS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    began.elapsed()
}

/// What a turn of a busy loop costs: bare, and what a signal to select on adds to it.
async fn turns() -> Result {
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(tokio::spawn(bare_turns()).await?);

        let (measured, measurement) = oneshot::channel();
        let manager = Manager::spawn(|signal| async {
            let _ = measured.send(selecting_turns(signal).await);
        });
        best[1] = best[1].min(measurement.await?);
        manager.shutdown().await;

        let (measured, measurement) = oneshot::channel();
        let task = BackgroundTask::spawn("busy", |stop| async {
            let _ = measured.send(selecting_turns(stop).await);
        })?;
        best[2] = best[2].min(measurement.await?);
        let _ = task.shutdown().await?;
    }
    let [bare, pattern, kit] = best.map(|best| best / TURNS);
    println!("bare_turn {}ns", bare.as_nanos());
    println!("pattern_adds {}ns", pattern.saturating_sub(bare).as_nanos());
    println!("kit_adds {}ns", kit.saturating_sub(bare).as_nanos());
    Ok(())
}

async fn bare_turns() -> Duration {
    let began = Instant::now();
    for _ in 0..TURNS {
        yield_now().await;
    }
    began.elapsed()
}

/// The loop of the pattern's write-up: it selects between the signal and its work.
async fn selecting_turns<S: Future + Unpin>(mut stop: S) -> Duration {
    let began = Instant::now();
    for _ in 0..TURNS {
        tokio::select! {
            _ = &mut stop => break,
            () = yield_now() => {}
        }
    }
    began.elapsed()
}
