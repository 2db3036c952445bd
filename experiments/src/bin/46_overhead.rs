//! 46 overhead: does it cost about 40 bytes and nothing in normal operation that a task can be told
//! to stop, as the pattern's write-up claims (D7)? Bytes are exact, and decide. Times are recorded,
//! and decide nothing: experiments are built without optimisation. Page: `docs/src/46-overhead.md`.

use std::{
    alloc::System,
    future::pending,
    hint::black_box,
    sync::{
        LazyLock, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use experiments::{
    pattern::Manager,
    prelude::*,
    probe::{on_one_thread, one_thread},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use sundown::{group::TaskGroup, task::BackgroundTask};
use tokio::{sync::oneshot, task::yield_now};

/// `stats_alloc` counts, because a counting allocator of our own would take `unsafe`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many components share what is allocated once.
const COMPONENTS: usize = 1000;

/// What is timed in one piece, and how often.
const TURNS: u32 = 1000;
const READS: u32 = 10_000;
const ROUNDS: usize = 9;

/// The claim's bytes for a component with something to spare, and what is well beyond them.
const ABOUT_40: i64 = 56;
const TWICE: i64 = 80;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does it cost that a task can be told to stop?")
        .hypothesis(
            "More than the 40 bytes of a flag and a channel: the pattern's component takes at least \
             twice that beyond a bare task.",
        )
        .variants([
            control("bytes/pattern", bytes_of_the_pattern)
                .about("heap of a component of the pattern, beyond a bare task")
                .trials(5),
            cure("bytes/kit-task", |scene| bytes(scene, || BackgroundTask::spawn("idle", idle)))
                .about("heap of a BackgroundTask, beyond a bare task")
                .trials(5),
            cure("bytes/kit-group-member", |scene| bytes(scene, || GROUP.spawn("idle", idle)))
                .about("heap of a member of a TaskGroup, beyond a bare task")
                .trials(5),
            control("flag", flag).about("reading a flag: an atomic, and in an RwLock").trials(5),
            control("turns", on_one_thread(turns))
                .about("a turn of a busy loop: bare, with the pattern's signal, with the kit's")
                .trials(5),
        ])
        .claim(
            "D7",
            "About 40 bytes for each component; 1–2 cycles to read the flag against 50–100 for an \
             RwLock; no cost in normal operation.",
        )
        .supported_if(every("bytes/pattern").observed("bytes_added").always_at_most(ABOUT_40))
        .refuted_if(every("bytes/pattern").observed("bytes_added").always_at_least(TWICE))
        .run()
}

static GROUP: LazyLock<TaskGroup> = LazyLock::new(|| TaskGroup::new("idle"));

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

fn bytes<T>(scene: &Scene<'_>, make: impl Fn() -> T) -> TrialResult {
    let runtime = one_thread()?;
    let _context = runtime.enter();
    let bare = bytes_of_one(|| tokio::spawn(idle(pending::<()>())));
    scene.record("bytes_of_a_bare_task", bare);
    scene.record("bytes_added", bytes_of_one(make).saturating_sub(bare));
    Ok(())
}

fn bytes_of_the_pattern(scene: &Scene<'_>) -> TrialResult {
    scene.record("bytes_of_the_flag", bytes_of_one(|| Arc::new(AtomicBool::new(false))));
    scene.record("bytes_of_the_channel", bytes_of_one(oneshot::channel::<()>));
    bytes(scene, || Manager::spawn(idle))
}

fn flag(scene: &Scene<'_>) -> TrialResult {
    let (atomic, locked) = (AtomicBool::new(false), RwLock::new(false));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(time_of_reads(|| atomic.load(Ordering::SeqCst)));
        best[1] = best[1].min(time_of_reads(|| locked.read().is_ok_and(|flag| *flag)));
    }
    scene.record("atomic_10000_reads", best[0]);
    scene.record("rwlock_10000_reads", best[1]);
    Ok(())
}

fn time_of_reads(read: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    for _ in 0..READS {
        black_box(read());
    }
    began.elapsed()
}

async fn turns(scene: &Scene<'_>) -> TrialResult {
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
    scene.record("bare_1000_turns", best[0]);
    scene.record("pattern_1000_turns", best[1]);
    scene.record("kit_1000_turns", best[2]);
    Ok(())
}

async fn bare_turns() -> Duration {
    let began = Instant::now();
    for _ in 0..TURNS {
        yield_now().await;
    }
    began.elapsed()
}

async fn selecting_turns<S: Future + Unpin>(mut stop: S) -> Duration {
    let began = Instant::now();
    for _ in 0..TURNS {
        tokio::select! {
            biased;
            _ = &mut stop => break,
            () = yield_now() => {}
        }
    }
    began.elapsed()
}
