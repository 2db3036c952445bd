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
//! for a context; here there is one, and it is the wrong kind: a *worker's*. The remedies are those
//! that do not wait, or wait elsewhere: `shutdown_background()`, a thread that may block, or
//! `block_in_place`, which makes the worker one. The first of them is the one that leaves work
//! running (experiment 09).
//!
//! Blocking *on* another runtime inside async code panics for the same reason.

use std::{process::ExitCode, sync::Arc, thread};

use experiments::{each_generation, runtime, warm_store};
use lab::{
    Experiment,
    Outcome::{Clean, Panicked},
    Trial, TrialResult, always, control, hazard,
};
use mock_sdk::store::{Generation, Store};
use tokio::{
    runtime::Runtime,
    task::{block_in_place, spawn_blocking},
};

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Can a runtime be dropped inside async code?")
        .hypothesis(
            "Dropping it waits, and so panics there, whoever holds it. Giving it away to a thread \
             that may wait, or not waiting at all, is clean.",
        )
        .variant(
            hazard("drop", always(Panicked), dropped)
                .about("a runtime, dropped in a task of another"),
        )
        .variants(
            each_generation(hazard, "field-of-a-client", always(Panicked), field_of_a_client)
                .about(
                    "a client that owns its runtime and its store, dropped in a task of another",
                ),
        )
        .variant(
            hazard("last-clone", always(Panicked), last_clone)
                .about("the last of two clones of an Arc, in a task"),
        )
        .variant(
            hazard("block-on", always(Panicked), blocked_on)
                .about("block_on of one runtime inside another"),
        )
        .variant(
            control("shutdown-background", always(Clean), shutdown_background)
                .about("not waiting: shutdown_background() in a task"),
        )
        .variant(
            control("block-in-place", always(Clean), in_place)
                .about("waiting in a worker that has been told: block_in_place"),
        )
        .variant(
            control("spawn-blocking", always(Clean), elsewhere_blocking)
                .about("waiting on a blocking thread of the other runtime"),
        )
        .variant(
            control("plain-thread", always(Clean), elsewhere_plain)
                .about("waiting on a plain thread"),
        )
        .run()
}

/// Runs async code in a task of the application's own runtime, and says whether it panicked.
fn panics(task: impl Future<Output = ()> + Send + 'static) -> Result<bool, std::io::Error> {
    let application = runtime()?;
    let ended = application.block_on(application.spawn(task));
    Ok(ended.is_err_and(|error| error.is_panic()))
}

fn dropped(trial: &Trial<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move { drop(inner) })?;
    trial.check("the drop panicked", panicked);
    Ok(())
}

fn field_of_a_client(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    struct Client {
        _store: Store,
        _runtime: Runtime,
    }
    let (_runtime, _store) = warm_store(trial, generation)?;
    let client = Client { _store, _runtime };
    let panicked = panics(async move { drop(client) })?;
    trial.check("the drop panicked", panicked);
    Ok(())
}

fn last_clone(trial: &Trial<'_>) -> TrialResult {
    let first = Arc::new(runtime()?);
    let second = Arc::clone(&first);
    trial.check("the first clone to go is harmless", !panics(async move { drop(first) })?);
    trial.check("the last is not", panics(async move { drop(second) })?);
    Ok(())
}

fn blocked_on(trial: &Trial<'_>) -> TrialResult {
    let inner = runtime()?;
    let handle = inner.handle().clone();
    let panicked = panics(async move { handle.block_on(async {}) })?;
    trial.check("block_on panicked", panicked);
    Ok(())
}

fn shutdown_background(trial: &Trial<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move { inner.shutdown_background() })?;
    trial.check("nothing panicked", !panicked);
    Ok(())
}

fn in_place(trial: &Trial<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move { block_in_place(|| drop(inner)) })?;
    trial.check("nothing panicked", !panicked);
    Ok(())
}

fn elsewhere_blocking(trial: &Trial<'_>) -> TrialResult {
    let inner = runtime()?;
    let panicked = panics(async move {
        let dropped = spawn_blocking(move || drop(inner)).await;
        dropped.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    })?;
    trial.check("nothing panicked", !panicked);
    Ok(())
}

fn elsewhere_plain(trial: &Trial<'_>) -> TrialResult {
    let inner = runtime()?;
    let (hand_over, take) = std::sync::mpsc::channel();
    let elsewhere = thread::spawn(move || take.recv().map(drop::<Runtime>));
    let panicked = panics(async move { hand_over.send(inner).unwrap_or_default() })?;
    trial.check("nothing panicked", !panicked);
    elsewhere.join().map_err(|_| "the thread panicked")??;
    Ok(())
}
