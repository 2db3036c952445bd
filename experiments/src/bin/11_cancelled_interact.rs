//! # 11 · cancelled interact
//!
//! Every use of the store is a closure on a blocking thread, and a task that awaits it. A runtime
//! that shuts down takes no more closures: one that comes too late is dropped unrun, and its task is
//! told that it was *cancelled*. In deadpool-runtime 0.1.4 nobody expected that answer. It takes
//! every failure for a panic of the closure's, asks for the panic, and panics itself, because there
//! is none (deadpool's issue 460):
//!
//! ```text
//! `JoinError` reason is not a panic
//! ```
//!
//! This is a panic in a worker, in context, while the runtime goes down: not the one of experiment
//! 01, and the only one in this part that really is a race. To lose it, a worker must still be
//! running a task after the blocking threads have closed for business. One does, because a worker
//! looks up only now and then whether it should stop.
//!
//! - **`in-a-loop`** runs the race: 64 tasks use the store as fast as they can, and
//!   `shutdown_background()` is called in the middle of it. Most trials panic, and how many workers
//!   happen to be caught decides whether it is one task or nearly all.
//! - **`held-over`** takes the luck out of it: a task uses the store in the same poll in which it
//!   has seen the shutdown return. Every trial panics.
//! - **`opening`** does the same with a connection that is still to be opened. The current
//!   generation reports a *use* that comes too late as an error; of an *opening* that comes too late
//!   it, too, makes a panic.
//!
//! The cures change the order: the tasks are a group, which is told to stop and drained; the session
//! of the store is closed; and only then is the runtime shut down. A use that comes late finds
//! everything there.
//!
//! Why the race has 40 trials: run 400 times on two cores, it panicked 373 times while they were
//! otherwise idle (95 % interval 90…95 %), 341 times beside two busy loops (81…88 %), and 246 times
//! beside six (57…66 %). With 40 trials, a run that misses it is a one-in-a-million event even if
//! the rate is as low as 29 %.

use std::{error::Error, process::ExitCode, sync::mpsc, thread};

use experiments::{
    Scene, control, cure, hazard, runtime,
    scene::{LIMIT, ROWS, guarded},
    warm_store,
};
use lab::{
    Experiment,
    Outcome::{Clean, Panicked},
    Trial, TrialResult, seen,
};
use mock_sdk::store::{Generation, Store};
use sundown::group::TaskGroup;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

const WORKERS: usize = 4;
const TASKS: usize = 64;
const CONNECTIONS: usize = 16;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What happens to tasks that use the store while the runtime shuts down?")
        .hypothesis(
            "In the old generation a use that comes too late panics in the worker; in the current \
             one it is an error, and only an opening that comes too late panics.",
        )
        .variants([
            hazard("old/in-a-loop", seen(Panicked).allowing([Clean]), |trial| {
                in_a_loop(trial, Generation::Old)
            })
            .about("64 tasks use the store in a loop during shutdown_background()")
            .trials(40),
            control("current/in-a-loop", |trial| in_a_loop(trial, Generation::Current))
                .about("the same: a use that comes too late is an error")
                .trials(40),
            hazard("old/held-over", Panicked, |trial| held_over(trial, Generation::Old))
                .about("a task uses the store in the poll that outlasts the shutdown"),
            control("current/held-over", |trial| held_over(trial, Generation::Current))
                .about("the same: a use that comes too late is an error"),
            hazard("*/opening", Panicked, opening)
                .about("a task opens another store in the poll that outlasts the shutdown"),
            cure("*/kit/in-a-loop", guarded(drained_in_a_loop))
                .about("the 64 tasks are a group, drained before the runtime is shut down")
                .trials(40),
            cure("*/kit/held-over", guarded(drained_held_over))
                .about("a task of a group, which is drained before the runtime is shut down"),
            cure("*/kit/opening", guarded(drained_opening))
                .about("the same, and the task opens another store"),
        ])
        .kit_claim(
            "No use comes too late for a runtime that is shut down when the group of tasks has \
             been drained and the session has closed.",
        )
}

fn in_a_loop(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let store = runtime.block_on(Store::open(trial.directory(), generation, CONNECTIONS))?;

    let (used, uses) = mpsc::channel();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, used) = (store.clone(), used.clone());
            runtime.spawn(async move {
                while store.interact("look at", |_| Ok(())).await.is_ok() {
                    let _ = used.send(());
                }
            })
        })
        .collect();
    // Not the last owner: the tasks go on for as long as their runtime does.
    drop(store);
    for _ in 0..4 * TASKS {
        uses.recv()?;
    }

    runtime.shutdown_background();
    trial.record("tasks_panicked", how_many_panicked(tasks)?);
    Ok(())
}

fn held_over(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let (started, has_started) = mpsc::channel();
    let (shut_down, is_shut_down) = mpsc::channel::<()>();
    let task = runtime.spawn(async move {
        let _ = started.send(());
        let _ = is_shut_down.recv();
        let _ = store.rooms().await;
    });
    has_started.recv()?;

    runtime.shutdown_background();
    drop(shut_down);
    trial.record("tasks_panicked", how_many_panicked(vec![task])?);
    Ok(())
}

fn opening(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let directory = trial.directory().to_owned();
    let runtime = runtime()?;
    let (started, has_started) = mpsc::channel();
    let (shut_down, is_shut_down) = mpsc::channel::<()>();
    let task = runtime.spawn(async move {
        let _ = started.send(());
        let _ = is_shut_down.recv();
        let _ = Store::open(directory, generation, 1).await;
    });
    has_started.recv()?;

    runtime.shutdown_background();
    drop(shut_down);
    trial.record("tasks_panicked", how_many_panicked(vec![task])?);
    Ok(())
}

fn drained_in_a_loop(scene: &Scene<'_>) -> TrialResult {
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

fn drained_held_over(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let group = held_over_in_a_group(&runtime, async move { store.rooms().await.is_ok() })?;
    end_the_work_first(scene, &group, runtime, 1)
}

fn drained_opening(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let (directory, generation) = (scene.trial.directory().to_owned(), scene.generation);
    let keeper = scene.keeper.clone();
    let opening = async move {
        let Ok(store) = Store::open(directory, generation, 1).await else { return false };
        keeper.keep(store).is_ok()
    };
    let group = held_over_in_a_group(&runtime, opening)?;
    end_the_work_first(scene, &group, runtime, 1)
}

/// A task that is in the middle of a poll when it is told to stop, and uses the store after that: as
/// late as the one that is held over, but its runtime waits for it.
fn held_over_in_a_group(
    runtime: &Runtime,
    late: impl Future<Output = bool> + Send + 'static,
) -> Result<TaskGroup, Box<dyn Error>> {
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
    Ok(group)
}

/// Tasks first, then the store, then the runtime; each says that it has ended before the next.
fn end_the_work_first(
    scene: &Scene<'_>,
    group: &TaskGroup,
    runtime: Runtime,
    members: usize,
) -> TrialResult {
    let report = group.drain_blocking(LIMIT);
    scene.trial.record("tasks_panicked", report.panicked.len());
    scene.trial.check("every task ended by itself", report.ended == members);
    scene.close()?;
    runtime.shutdown_background();
    Ok(())
}

/// Waits for the end of tasks whose runtime is gone: each was cancelled, returned, or panicked.
fn how_many_panicked(tasks: Vec<JoinHandle<()>>) -> Result<usize, Box<dyn Error>> {
    let mut panicked = 0;
    let waiting = Builder::new_current_thread().build()?;
    for task in tasks {
        panicked += usize::from(waiting.block_on(task).is_err_and(|error| error.is_panic()));
    }
    Ok(panicked)
}
