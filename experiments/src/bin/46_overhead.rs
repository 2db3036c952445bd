//! # 46 · overhead
//!
//! What does it cost that a task can be told to stop? The write-up of the *graceful-with-fallback*
//! pattern gives three figures (claim D7): about 40 bytes for each component, a flag that takes 1–2
//! processor cycles to read where an `RwLock` would take 50–100, and nothing at all in normal
//! operation, because the flag is looked at only on shutdown. Here they are measured.
//!
//! - `bytes/…`: what a component has on the heap beyond a bare task with the same body, which nobody
//!   can tell anything, over [`COMPONENTS`] of each; and the flag and the channel of the pattern
//!   alone. By an allocator that counts (`stats_alloc`, because counting takes `unsafe`, which this
//!   workspace forbids). These are the bytes asked for, without what the allocator adds.
//! - `flag`: how long it takes to read an atomic, and a flag in an `RwLock`, with nobody else there.
//! - `turns`: how long a turn of a busy loop takes without a signal, and selecting on one.
//!
//! The kit stands beside it: it is not free either.
//!
//! Bytes are exact, and decide. Times are recorded, each the best of several rounds that take turns,
//! and decide nothing: experiments are built without optimisation, and share their machine. They tell
//! which is dearer, and not by how much; cycles are not measured at all. `cargo xtask bench` is for
//! that.

use std::{
    alloc::System,
    future::{Future, pending},
    hint::black_box,
    process::ExitCode,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use experiments::pattern::{Manager, Signal};
use lab::{Experiment, Outcome::Clean, Trial, TrialResult, always, control, cure, every};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use sundown::{group::TaskGroup, stop::Stop, task::BackgroundTask};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::yield_now,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many components share what is allocated once.
const COMPONENTS: usize = 1000;

/// What is measured in one piece, and how often.
const TURNS: u32 = 1000;
const READS: u32 = 10_000;
const ROUNDS: usize = 9;

/// What the claim says of a component, with something to spare, and what is well beyond it.
const ABOUT_40: i64 = 56;
const TWICE: i64 = 80;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What does it cost that a task can be told to stop?")
        .hypothesis(
            "More than the 40 bytes of a flag and a channel: the pattern's component takes at least \
             twice that beyond a bare task.",
        )
        .variant(
            control("bytes/pattern", always(Clean), bytes_of_the_pattern)
                .about("heap of a component of the pattern, beyond a bare task")
                .trials(5),
        )
        .variant(
            cure("bytes/kit-task", always(Clean), bytes_of_a_task)
                .about("heap of a BackgroundTask, beyond a bare task")
                .trials(5),
        )
        .variant(
            cure("bytes/kit-group-member", always(Clean), bytes_of_a_member)
                .about("heap of a member of a TaskGroup, beyond a bare task")
                .trials(5),
        )
        .variant(
            control("flag", always(Clean), flag)
                .about("reading a flag: an atomic, and in an RwLock")
                .trials(5),
        )
        .variant(
            control("turns", always(Clean), turns)
                .about("a turn of a busy loop: bare, with the pattern's signal, with the kit's")
                .trials(5),
        )
        .claim(
            "D7",
            "About 40 bytes for each component; 1–2 cycles to read the flag against 50–100 for an \
             RwLock; no cost in normal operation.",
        )
        .supported_if(every("bytes/pattern").observed("bytes_added").always_at_most(ABOUT_40))
        .refuted_if(every("bytes/pattern").observed("bytes_added").always_at_least(TWICE))
        .run()
}

/// Nothing moves but what the trial awaits.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().build()
}

/// A loop that does nothing, and can be told to stop.
async fn idle<S: Future>(stop: S) {
    tokio::select! {
        _ = stop => {}
        () = pending() => {}
    }
}

/// How much heap a thing takes that is made a thousand times.
fn bytes_of_one<T>(mut make: impl FnMut() -> T) -> usize {
    // What is made first brings along what all of them share.
    let _first = make();
    let mut made = Vec::with_capacity(COMPONENTS);
    let region = Region::new(ALLOCATOR);
    made.extend((0..COMPONENTS).map(|_| make()));
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated) / COMPONENTS
}

fn record_added(trial: &Trial<'_>, of_one: usize) -> TrialResult {
    let bare = bytes_of_one(|| tokio::spawn(idle(pending::<()>())));
    trial.record("bytes_of_a_bare_task", bare);
    trial.record("bytes_added", of_one.saturating_sub(bare));
    Ok(())
}

fn bytes_of_the_pattern(trial: &Trial<'_>) -> TrialResult {
    let runtime = one_thread()?;
    let _context = runtime.enter();
    trial.record("bytes_of_the_flag", bytes_of_one(|| Arc::new(AtomicBool::new(false))));
    trial.record("bytes_of_the_channel", bytes_of_one(oneshot::channel::<()>));
    record_added(trial, bytes_of_one(|| Manager::spawn(|signal: Signal| idle(signal))))
}

fn bytes_of_a_task(trial: &Trial<'_>) -> TrialResult {
    let runtime = one_thread()?;
    let _context = runtime.enter();
    record_added(trial, bytes_of_one(|| BackgroundTask::spawn("idle", |stop: Stop| idle(stop))))
}

fn bytes_of_a_member(trial: &Trial<'_>) -> TrialResult {
    let runtime = one_thread()?;
    let _context = runtime.enter();
    let group = TaskGroup::new("idle");
    record_added(trial, bytes_of_one(|| group.spawn("idle", |stop: Stop| idle(stop))))
}

fn flag(trial: &Trial<'_>) -> TrialResult {
    let (atomic, locked) = (AtomicBool::new(false), RwLock::new(false));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(time_of_reads(|| atomic.load(Ordering::SeqCst)));
        best[1] = best[1].min(time_of_reads(|| locked.read().is_ok_and(|flag| *flag)));
    }
    trial.record("atomic_10000_reads", best[0]);
    trial.record("rwlock_10000_reads", best[1]);
    Ok(())
}

fn time_of_reads(read: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    for _ in 0..READS {
        black_box(read());
    }
    began.elapsed()
}

fn turns(trial: &Trial<'_>) -> TrialResult {
    let runtime = one_thread()?;
    let mut best = [Duration::MAX; 3];
    runtime.block_on(async {
        for _ in 0..ROUNDS {
            best[0] = best[0].min(tokio::spawn(bare_turns()).await?);

            let (measured, measurement) = oneshot::channel();
            let manager = Manager::spawn(|signal| async move {
                let _ = measured.send(selecting_turns(signal).await);
            });
            best[1] = best[1].min(measurement.await?);
            manager.shutdown().await;

            let (measured, measurement) = oneshot::channel();
            let task = BackgroundTask::spawn("busy", |stop| async move {
                let _ = measured.send(selecting_turns(stop).await);
            })?;
            best[2] = best[2].min(measurement.await?);
            let _ = task.shutdown().await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    trial.record("bare_1000_turns", best[0]);
    trial.record("pattern_1000_turns", best[1]);
    trial.record("kit_1000_turns", best[2]);
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
