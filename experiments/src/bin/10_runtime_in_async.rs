//! # 10 · runtime in async
//!
//! A client that brings its own runtime is convenient until somebody drops it in a task. Dropping a
//! `Runtime` *waits* for its threads, and waiting is what async code must not do; so Tokio panics:
//!
//! ```text
//! Cannot drop a runtime in a context where blocking is not allowed.
//! ```
//!
//! It does so whether the runtime is dropped by name, as a field of something that goes, or as the
//! last clone of an `Arc`, of which nobody can tell by reading which clone it is. Experiment 01 asked
//! for a context, and here there is one. What is wrong is a second mark beside it: the thread is
//! *driving async code*, and must not block. The remedies are those that do not wait, or wait
//! elsewhere: `shutdown_background()`, a thread that may block, or `block_in_place`, which makes the
//! worker one. The first of them is the one that leaves work running (experiment 09).
//!
//! Blocking *on* another runtime inside async code panics for the same reason.
//!
//! In the cures whatever owns the runtime belongs to a session. Its last handle may be dropped where
//! nobody may wait: it only hands the runtime over. `RuntimeOwner` has a `block_on` of its own.

use std::{
    error::Error,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
};

use experiments::{
    Scene, control, cure, hazard,
    probe::{Probe, probe},
    runtime,
    scene::{LIMIT, guarded},
};
use lab::{Experiment, Outcome::Panicked, TrialResult};
use mock_sdk::store::Store;
use sundown::runtime::RuntimeOwner;
use tokio::{
    runtime::Runtime,
    task::{block_in_place, spawn_blocking},
};

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Can a runtime be dropped inside async code?")
        .hypothesis(
            "Dropping it waits, and so panics there, whoever holds it. Giving it away to a thread \
             that may wait, or not waiting at all, is clean.",
        )
        .variants([
            hazard("drop", Panicked, refused(dropped))
                .about("a runtime, dropped in a task of another"),
            hazard("*/field-of-a-client", Panicked, refused(field_of_a_client)).about(
                "a client that owns its runtime and its store, dropped in a task of another",
            ),
            hazard("last-clone", Panicked, refused(last_clone))
                .about("the last of two clones of an Arc, in a task"),
            hazard("block-on", Panicked, blocked_on)
                .about("block_on of one runtime inside another"),
            control("shutdown-background", shutdown_background)
                .about("not waiting: shutdown_background() in a task"),
            control("block-in-place", in_place)
                .about("waiting in a worker that has been told: block_in_place"),
            control("spawn-blocking", elsewhere_blocking)
                .about("waiting on a blocking thread of the other runtime"),
            control("plain-thread", elsewhere_plain).about("waiting on a plain thread"),
            cure("kit/drop", guarded(taken(dropped)))
                .about("a runtime in a session, whose handle is dropped in a task of another"),
            cure("*/kit/field-of-a-client", guarded(taken(field_of_a_client)))
                .about("a client that owns its runtime and its store, in a session"),
            cure("kit/last-clone", guarded(taken(last_clone)))
                .about("the last of two handles of a session, in a task"),
            cure("kit/block-on", blocked_on_owned)
                .about("block_on of a runtime with an owner, inside another"),
        ])
        .kit_claim(
            "A session's handle of a runtime can be dropped in async code, and one that has an \
             owner can be blocked on.",
        )
}

/// Drops something that owns a runtime in a task of another, and tells whether that panicked, with a
/// probe of a task on the runtime that was dropped.
type Drops = fn(&Scene<'_>) -> Result<(bool, Probe), Box<dyn Error>>;

/// The drop panics.
fn refused(drops: Drops) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (panicked, _task) = drops(scene)?;
        scene.trial.check("the drop panicked", panicked);
        Ok(())
    }
}

/// The drop does not panic, and when the session has closed the runtime has ended.
fn taken(drops: Drops) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (panicked, task) = drops(scene)?;
        scene.trial.check("the drop did not panic", !panicked);
        scene.close()?;
        scene.trial.check("the runtime has ended", task.has_ended());
        Ok(())
    }
}

/// A task that runs for as long as its runtime does.
fn task_on(runtime: &Runtime) -> Probe {
    let (probe, mut responder) = probe();
    runtime.spawn(async move { responder.answer().await });
    probe
}

/// Runs async code in a task of the application's own runtime, and says whether it panicked.
fn panics(task: impl Future<Output = ()> + Send + 'static) -> Result<bool, std::io::Error> {
    let application = runtime()?;
    let ended = application.block_on(application.spawn(task));
    Ok(ended.is_err_and(|error| error.is_panic()))
}

fn dropped(scene: &Scene<'_>) -> Result<(bool, Probe), Box<dyn Error>> {
    let inner = runtime()?;
    let task = task_on(&inner);
    let inner = scene.keeper.keep(inner)?;
    Ok((panics(async move { drop(inner) })?, task))
}

fn field_of_a_client(scene: &Scene<'_>) -> Result<(bool, Probe), Box<dyn Error>> {
    struct Client {
        _store: Store,
        _runtime: Runtime,
    }
    let (_runtime, _store) = scene.unkept_store()?;
    let task = task_on(&_runtime);
    let client = scene.keeper.keep(Client { _store, _runtime })?;
    Ok((panics(async move { drop(client) })?, task))
}

fn last_clone(scene: &Scene<'_>) -> Result<(bool, Probe), Box<dyn Error>> {
    let inner = runtime()?;
    let task = task_on(&inner);
    let first = scene.keeper.keep(Arc::new(inner))?;
    let second = first.clone();
    let panicked = panics(async move { drop(first) })?;
    scene.trial.check("the first clone to go is harmless", !panicked);
    Ok((panics(async move { drop(second) })?, task))
}

fn blocked_on(trial: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let handle = inner.handle().clone();
    let panicked = panics(async move { handle.block_on(async {}) })?;
    trial.check("block_on panicked", panicked);
    Ok(())
}

fn blocked_on_owned(trial: &Scene<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("inner").workers(2).start()?;
    let (inner, (answer, answered)) = (owner.clone(), mpsc::channel());
    let panicked = panics(async move {
        let _ = answer.send(inner.block_on(async { 6 * 7 }));
    })?;
    trial.check("block_on did not panic", !panicked);
    trial.check("and did what it was asked", answered.recv()? == Ok(42));
    let _ = owner.shutdown_blocking(LIMIT)?;
    Ok(())
}

fn shutdown_background(trial: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move { inner.shutdown_background() })?;
    trial.check("nothing panicked", !panicked);
    Ok(())
}

fn in_place(trial: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move { block_in_place(|| drop(inner)) })?;
    trial.check("nothing panicked", !panicked);
    Ok(())
}

fn elsewhere_blocking(trial: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move {
        let dropped = spawn_blocking(move || drop(inner)).await;
        dropped.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    })?;
    trial.check("nothing panicked", !panicked);
    Ok(())
}

fn elsewhere_plain(trial: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let (hand_over, take) = mpsc::channel();
    let elsewhere = thread::spawn(move || take.recv().map(drop::<Runtime>));
    let panicked = panics(async move { hand_over.send(inner).unwrap_or_default() })?;
    trial.check("nothing panicked", !panicked);
    elsewhere.join().map_err(|_| "the thread panicked")??;
    Ok(())
}
