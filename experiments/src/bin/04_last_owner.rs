//! 04 last owner: where can the last owner of a client be, and where is it safe? What a runtime *runs*,
//! it also drops, in its context. What has left the runtime (a result that nobody has read, a message
//! in a channel, a cache) is dropped by whoever lets go of it. Page: `docs/src/04-last-owner.md`.

use std::{collections::BTreeMap, future::pending, sync::mpsc};

use experiments::prelude::*;
use mock_sdk::app::global::Global;
use tokio::sync::oneshot;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question(
            "Where can the last owner of a client be, and in which of these places is it safe?",
        )
        .hypothesis(
            "What a task or a blocking closure owns is dropped in context, even at shutdown. What a \
             handle, a channel or a plain thread owns is dropped by whichever thread lets go of it.",
        )
        .variants([
            control("*/running-task", running_task)
                .about("a task that is waiting when its runtime is dropped"),
            control("*/blocking-closure", blocking_closure)
                .about("a blocking closure that is running when its runtime is dropped"),
            hazard("*/finished-task", Aborted, finished_task)
                .about("the handle of a task that has returned the store, dropped unread")
                .cured(),
            control("*/finished-task-read", finished_task_read)
                .about("the same, but the result is read, and dropped, inside the runtime"),
            hazard("*/channel", Aborted, channel)
                .about("the buffer of a channel whose receiver is dropped unread")
                .cured(),
            hazard("*/plain-thread", Aborted, plain_thread)
                .about("a thread that does not belong to the runtime")
                .cured(),
            hazard("*/derived-handle", Aborted, derived_handle)
                .about("a room that holds the client it came from, and outlives it")
                .cured(),
            hazard("*/cache", Aborted, cache)
                .about("a static cache that the main thread clears")
                .cured(),
            cure("*/kit/derived-by-map", guarded(derived_by_map))
                .about("a room that holds a bare clone of the client, derived by the session"),
        ])
        .kit_claim("A session's handle can be the last owner in each of these places.")
}

fn running_task(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let (started, has_started) = oneshot::channel();
    runtime.spawn(async move {
        let _store = store;
        let _ = started.send(());
        pending::<()>().await;
    });
    has_started.blocking_recv()?;
    drop(runtime);
    Ok(())
}

/// `drop(runtime)` waits for closures that are running; this one is released just before it.
fn blocking_closure(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let (started, has_started) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || {
        let _store = store;
        let _ = started.send(());
        let _ = is_released.recv();
    });
    has_started.recv()?;
    drop(release);
    drop(runtime);
    Ok(())
}

/// Tokio catches and swallows a panic in what a handle drops, so one idle connection would look
/// clean. With several, the second panic aborts.
fn finished_task(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let task = runtime.spawn(async move { store });
    while !task.is_finished() {
        thread::yield_now();
    }
    drop(task);
    Ok(())
}

fn finished_task_read(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let task = runtime.spawn(async move { store });
    runtime.block_on(async { task.await.map(drop) })?;
    Ok(())
}

fn channel(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let (sender, receiver) = mpsc::channel();
    runtime.block_on(runtime.spawn(async move { sender.send(store) }))??;
    drop(receiver);
    Ok(())
}

fn plain_thread(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    thread::spawn(move || drop(store)).join().map_err(|_| "the thread panicked and was caught")?;
    Ok(())
}

/// A handle that the SDK derives from the client, and that holds a clone of it.
struct Room<C> {
    _client: C,
}

fn derived_handle(scene: &Scene<'_>) -> TrialResult {
    let (runtime, client) = scene.warm_store()?;
    let room = Room { _client: client.clone() };
    runtime.block_on(async { drop(client) });
    drop(room);
    Ok(())
}

/// What `map` derives from a handle belongs to the session, so the room may hold a bare clone.
fn derived_by_map(scene: &Scene<'_>) -> TrialResult {
    let (runtime, client) = scene.warm_store()?;
    let Protected::Guarded(client) = client else { return Err("nobody guards the store".into()) };
    let room = client.map(|client| Room { _client: client.clone() });
    runtime.block_on(async { drop(client) });
    drop(room);
    Ok(())
}

fn cache(scene: &Scene<'_>) -> TrialResult {
    static CACHE: Global<BTreeMap<String, Protected<Store>>> = Global::new(BTreeMap::new());

    let (runtime, store) = scene.warm_store()?;
    CACHE.with(|cache| cache.insert("!room:example.org".to_owned(), store.clone()));
    runtime.block_on(async { drop(store) });
    drop(CACHE.take());
    Ok(())
}
