//! # 04 · last owner
//!
//! A client is cloned freely: into tasks, into closures, into every handle derived from it. Each
//! clone is an owner, and dropping one does nothing, as long as another is left. The *last* owner
//! runs the destructor, on its thread, wherever that is. So the question of experiment 01 becomes:
//! on what threads can the last owner be?
//!
//! Each variant puts the last owner of a warm store somewhere else and takes it away there. What is
//! owned by a running task or a running closure is dropped by a thread of the runtime, which is in
//! its context, even while the runtime goes down. What merely *passed through* a task is not: a
//! result that nobody has fetched belongs to the `JoinHandle`, and a message that nobody has read to
//! the channel. These are the owners that nobody thinks of, and they are dropped by whichever thread
//! lets go of the handle or the receiver: a UI's main thread, say.

use std::{
    collections::HashMap,
    future::pending,
    process::ExitCode,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use experiments::{each_generation, warm_store};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, always, control, hazard,
};
use mock_sdk::store::{Generation, Store};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question(
            "Where can the last owner of a client be, and in which of these places is it safe?",
        )
        .hypothesis(
            "What a task or a blocking closure owns is dropped in context, even at shutdown. What \
             a handle, a channel or a plain thread owns is dropped wherever that is let go.",
        )
        .variants(
            each_generation(control, "running-task", always(Clean), running_task)
                .about("a task that is waiting when its runtime is dropped"),
        )
        .variants(
            each_generation(control, "blocking-closure", always(Clean), blocking_closure)
                .about("a blocking closure that is running when its runtime is dropped"),
        )
        .variants(
            each_generation(hazard, "finished-task", always(Aborted), finished_task)
                .about("the handle of a task that has returned the store, dropped unread"),
        )
        .variants(
            each_generation(control, "finished-task-read", always(Clean), finished_task_read)
                .about("the same, but what it returned is read, and dropped, inside the runtime"),
        )
        .variants(
            each_generation(hazard, "channel", always(Aborted), channel)
                .about("the buffer of a channel whose receiver is dropped unread"),
        )
        .variants(
            each_generation(hazard, "plain-thread", always(Aborted), plain_thread)
                .about("a thread that does not belong to the runtime"),
        )
        .variants(
            each_generation(hazard, "derived-handle", always(Aborted), derived_handle)
                .about("a room that holds the client it came from, and outlives it"),
        )
        .variants(
            each_generation(hazard, "cache", always(Aborted), cache)
                .about("a static cache that the main thread clears"),
        )
        .run()
}

fn running_task(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
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

/// `drop(runtime)` waits for closures that are running; this one is let go just before it.
fn blocking_closure(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let (started, has_started) = mpsc::channel();
    let (let_go, is_let_go) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || {
        let _store = store;
        let _ = started.send(());
        let _ = is_let_go.recv();
    });
    has_started.recv()?;
    drop(let_go);
    drop(runtime);
    Ok(())
}

fn finished_task(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let task = runtime.spawn(async move { store });
    while !task.is_finished() {
        thread::yield_now();
    }
    drop(task);
    Ok(())
}

fn finished_task_read(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let task = runtime.spawn(async move { store });
    runtime.block_on(async { task.await.map(drop) })?;
    Ok(())
}

fn channel(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let (sender, receiver) = mpsc::channel();
    runtime.block_on(runtime.spawn(async move { sender.send(store) }))??;
    drop(receiver);
    Ok(())
}

fn plain_thread(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (_runtime, store) = warm_store(trial, generation)?;
    thread::spawn(move || drop(store)).join().map_err(|_| "the thread panicked and was caught")?;
    Ok(())
}

fn derived_handle(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    #[derive(Clone)]
    struct Client {
        _store: Store,
    }
    struct Room {
        _client: Client,
    }
    let (runtime, store) = warm_store(trial, generation)?;
    let client = Client { _store: store };
    let room = Room { _client: client.clone() };
    runtime.block_on(async { drop(client) });
    drop(room);
    Ok(())
}

fn cache(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    static CACHE: Mutex<Option<HashMap<String, Store>>> = Mutex::new(None);
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);

    let (runtime, store) = warm_store(trial, generation)?;
    cache().get_or_insert_default().insert("!room:example.org".to_owned(), store.clone());
    runtime.block_on(async { drop(store) });
    *cache() = None;
    Ok(())
}
