//! 11 cancelled interact: what happens to tasks that use the store while the runtime shuts down? A use
//! that comes too late is cancelled: the old generation panics, in the worker, and the current one
//! returns an error, except for an opening, which panics too. The page says why the race has 40 trials.
//! Page: `docs/src/11-cancelled-interact.md`.

use std::{pin::Pin, sync::mpsc};

use experiments::prelude::*;
use sundown::{group::TaskGroup, runtime::RuntimeOwner, shutdown::CutOff};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

const WORKERS: usize = 4;
const TASKS: usize = 64;
const CONNECTIONS: usize = 16;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What happens to tasks that use the store while the runtime shuts down?")
        .hypothesis(
            "In the old generation a use that comes too late panics in the worker. In the current one \
             it is an error, and only an opening that comes too late panics.",
        )
        .holds_only_if(every("old/*|current/opening").panics_on("tokio-rt-worker"))
        .variants([
            hazard("old/in-a-loop", seen(Panicked).allowing([Clean]), in_a_loop)
                .about("64 tasks use the store in a loop during shutdown_background()")
                .trials(40),
            control("current/in-a-loop", in_a_loop)
                .about("the same: a use that comes too late is an error")
                .trials(40),
            hazard("old/held-over", Panicked, |scene| held_over(scene, use_the_store))
                .about("a task uses the store in the poll that outlasts the shutdown"),
            control("current/held-over", |scene| held_over(scene, use_the_store))
                .about("the same: a use that comes too late is an error"),
            hazard("*/opening", Panicked, |scene| held_over(scene, open_a_store))
                .about("a task opens another store in the poll that outlasts the shutdown"),
            cure("*/kit/in-a-loop", guarded(in_a_loop_in_a_group))
                .about("the 64 tasks are a group, drained before the runtime is shut down")
                .trials(40),
            cure("*/kit/held-over", guarded(|scene| held_over_in_a_group(scene, use_the_store)))
                .about("a task of a group, which is drained before the runtime is shut down"),
            cure("*/kit/at-rest", at_rest)
                .about("tasks of the first hazard, which nobody stops, on a RuntimeOwner")
                .trials(40),
            cure("*/kit/opening", guarded(|scene| held_over_in_a_group(scene, open_a_store)))
                .about("the same, and the task opens another store"),
        ])
        .claim(
            "A2b",
            "Tasks that still run when the runtime is shut down try to use the pool, and that panics.",
        )
        // The generation of the report. A task that is held over comes too late in every trial.
        .supported_if(
            every("old/held-over").is(Panicked)
                & every("old/in-a-loop").is(seen(Panicked).allowing([Clean])),
        )
        .refuted_if(every("old/held-over").is(Clean) & every("old/in-a-loop").is(Clean))
        .finding(
            "A2c",
            "A newer pool answers such a use with an error, and only an opening that comes too late panics.",
        )
        .supported_if(
            every("current/held-over").is(Clean)
                & every("current/in-a-loop").is(Clean)
                & every("current/opening").is(Panicked),
        )
        .refuted_if(every("current/held-over").is(Panicked) | every("current/opening").is(Clean))
        .kit_claim(
            "No use comes too late for a runtime that is shut down when the group of tasks has \
             been drained and the session has closed.",
        )
}

/// The race: whether a worker still runs a task when the blocking pool has closed.
fn in_a_loop(scene: &Scene<'_>) -> TrialResult {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let opening = Store::open(scene.directory(), scene.generation, CONNECTIONS);
    let store = runtime.block_on(opening)?;

    let (used, uses) = mpsc::channel();
    let tasks = use_in_a_loop(runtime.handle(), store, &used);
    for _ in 0..4 * TASKS {
        uses.recv()?;
    }

    runtime.shutdown_background();
    scene.record("tasks_panicked", how_many_panicked(tasks)?);
    Ok(())
}

/// The same, and the kit takes the runtime down: it is at rest before the blocking pool closes.
fn at_rest(scene: &Scene<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("client").workers(WORKERS).start()?;
    let opening = Store::open(scene.directory(), scene.generation, CONNECTIONS);
    let store = owner.block_on(opening)??;
    let (used, uses) = mpsc::channel();
    let handle = owner.handle()?;
    let tasks = use_in_a_loop(&handle, store, &used);
    for _ in 0..4 * TASKS {
        uses.recv()?;
    }
    let report = owner.shutdown_blocking(PLENTY)?;
    scene.check("every task was cut off", report.foreign == TASKS);
    scene.check("at rest", report.cut_off == CutOff::AtRest);
    scene.record("tasks_panicked", how_many_panicked(tasks)?);
    Ok(())
}

/// Tasks that use the store for as long as their runtime lets them. The store is dropped with the last.
fn use_in_a_loop(runtime: &Handle, store: Store, used: &mpsc::Sender<()>) -> Vec<JoinHandle<()>> {
    let tasks = (0..TASKS).map(|_| {
        let (store, used) = (store.clone(), used.clone());
        runtime.spawn(async move {
            while store.interact("look at", |_| Ok(())).await.is_ok() {
                let _ = used.send(());
            }
        })
    });
    tasks.collect()
}

/// The same with the kit: each task also looks whether it should stop.
fn in_a_loop_in_a_group(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store_of(CONNECTIONS, ROWS)?;
    let (group, (used, uses)) = (TaskGroup::new("users of the store"), mpsc::channel());
    for _ in 0..TASKS {
        let (store, used) = (store.clone(), used.clone());
        group.spawn_on(runtime.handle(), "user", |stop| async move {
            while !stop.is_raised() && store.interact("look at", |_| Ok(())).await.is_ok() {
                let _ = used.send(());
            }
        })?;
    }
    drop(store);
    for _ in 0..4 * TASKS {
        uses.recv()?;
    }
    end_the_work_first(scene, &group, runtime, TASKS)
}

/// Something that a task does too late, and whether that succeeds.
type Late = Pin<Box<dyn Future<Output = bool> + Send>>;
type LateUse = fn(&Scene<'_>) -> TrialResult<(Runtime, Late)>;

fn use_the_store(scene: &Scene<'_>) -> TrialResult<(Runtime, Late)> {
    let (runtime, store) = scene.warm_store()?;
    Ok((runtime, Box::pin(async move { store.rooms().await.is_ok() })))
}

fn open_a_store(scene: &Scene<'_>) -> TrialResult<(Runtime, Late)> {
    let (directory, generation) = (scene.directory().to_owned(), scene.generation);
    let protection = scene.protection.clone();
    let late = async move {
        let Ok(store) = Store::open(directory, generation, 1).await else { return false };
        protection.protect(store).is_ok()
    };
    Ok((runtime()?, Box::pin(late)))
}

/// Takes the chance out of the race: a task waits, inside one poll, until the shutdown has returned.
fn held_over(scene: &Scene<'_>, late_use: LateUse) -> TrialResult {
    let (runtime, late) = late_use(scene)?;
    let (started, has_started) = mpsc::channel();
    let (shut_down, is_shut_down) = mpsc::channel::<()>();
    let task = runtime.spawn(async move {
        let _ = started.send(());
        let _ = is_shut_down.recv();
        let _ = late.await;
    });
    has_started.recv()?;

    runtime.shutdown_background();
    drop(shut_down);
    scene.record("tasks_panicked", how_many_panicked(vec![task])?);
    Ok(())
}

/// The same with the kit: the task is inside a poll when it is told to stop, and as late as the other.
/// But its runtime waits for it.
fn held_over_in_a_group(scene: &Scene<'_>, late_use: LateUse) -> TrialResult {
    let (runtime, late) = late_use(scene)?;
    let group = TaskGroup::new("late users of the store");
    let (started, has_started) = mpsc::channel();
    let (told, is_told) = mpsc::channel::<()>();
    group.spawn_on(runtime.handle(), "late user", |_| async move {
        let _ = started.send(());
        let _ = is_told.recv();
        assert!(late.await, "the late use was refused");
    })?;
    // On a thread of its own. A task of this runtime could be queued behind the one that blocks its
    // worker, and the other worker does not look there before something wakes it.
    let (stop, handle) = (group.stop_signal(), runtime.handle().clone());
    thread::spawn(move || {
        handle.block_on(stop);
        drop(told);
    });
    has_started.recv()?;
    end_the_work_first(scene, &group, runtime, 1)
}

/// Tasks first, then the store, then the runtime; each has ended before the next.
fn end_the_work_first(
    scene: &Scene<'_>,
    group: &TaskGroup,
    runtime: Runtime,
    members: usize,
) -> TrialResult {
    let report = group.drain_blocking(PLENTY);
    scene.record("tasks_panicked", report.panicked.len());
    scene.check("every task ended by itself", report.ended == members);
    scene.close()?;
    runtime.shutdown_background();
    Ok(())
}

/// Waits for the end of tasks whose runtime is gone: each was cancelled, returned, or panicked.
fn how_many_panicked(tasks: Vec<JoinHandle<()>>) -> TrialResult<usize> {
    let waiting = Builder::new_current_thread().build()?;
    let ended = tasks.into_iter().map(|task| waiting.block_on(task));
    Ok(ended.filter(|ended| ended.as_ref().is_err_and(|error| error.is_panic())).count())
}
