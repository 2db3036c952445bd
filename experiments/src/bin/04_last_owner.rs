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

use experiments::{
    Scene, control, cure, hazard,
    scene::{Kept, guarded},
    warm_store,
};
use lab::{Experiment, Outcome::Aborted, TrialResult};
use mock_sdk::store::Store;
use tokio::sync::oneshot;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question(
            "Where can the last owner of a client be, and in which of these places is it safe?",
        )
        .hypothesis(
            "What a task or a blocking closure owns is dropped in context, even at shutdown. What \
             a handle, a channel or a plain thread owns is dropped wherever that is let go.",
        )
        .variants([
            control("*/running-task", running_task)
                .about("a task that is waiting when its runtime is dropped"),
            control("*/blocking-closure", blocking_closure)
                .about("a blocking closure that is running when its runtime is dropped"),
            hazard("*/finished-task", Aborted, finished_task)
                .about("the handle of a task that has returned the store, dropped unread"),
            control("*/finished-task-read", finished_task_read)
                .about("the same, but what it returned is read, and dropped, inside the runtime"),
            hazard("*/channel", Aborted, channel)
                .about("the buffer of a channel whose receiver is dropped unread"),
            hazard("*/plain-thread", Aborted, plain_thread)
                .about("a thread that does not belong to the runtime"),
            hazard("*/derived-handle", Aborted, derived_handle)
                .about("a room that holds the client it came from, and outlives it"),
            hazard("*/cache", Aborted, cache).about("a static cache that the main thread clears"),
            cure("*/kit/finished-task", guarded(finished_task))
                .about("the handle of a task that has returned a session's handle, dropped unread"),
            cure("*/kit/channel", guarded(channel)).about(
                "the buffer of a channel whose receiver is dropped unread: a session's handle",
            ),
            cure("*/kit/plain-thread", guarded(plain_thread))
                .about("a session's handle on a thread that does not belong to the runtime"),
            cure("*/kit/derived-handle", guarded(derived_handle))
                .about("a room that holds a session's handle, and outlives the client"),
            cure("*/kit/cache", guarded(cache))
                .about("a session's handle in a static cache that the main thread clears"),
            cure("*/kit/derived-by-map", guarded(derived_by_map))
                .about("a room with a clone taken out of the client, but derived by the session"),
        ])
        .kit_claim("A session's handle can be the last owner in each of these places.")
}

fn running_task(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
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
fn blocking_closure(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
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

/// Tokio catches a panic in what a handle drops, and says nothing: with a single idle connection
/// this would look clean. With several, the second panic is not to be caught.
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
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
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

fn derived_handle(scene: &Scene<'_>) -> TrialResult {
    #[derive(Clone)]
    struct Client {
        _store: Kept<Store>,
    }
    struct Room {
        _client: Client,
    }
    let (runtime, store) = scene.warm_store()?;
    let client = Client { _store: store };
    let room = Room { _client: client.clone() };
    runtime.block_on(async { drop(client) });
    drop(room);
    Ok(())
}

/// What is derived from a handle by `map` is a value of the session: the room may hold a bare clone.
fn derived_by_map(scene: &Scene<'_>) -> TrialResult {
    struct Room {
        _store: Store,
    }
    let (runtime, client) = scene.warm_store()?;
    let Kept::Guarded(client) = client else { return Err("nobody guards the store".into()) };
    let room = client.map(|store| Room { _store: store.clone() });
    runtime.block_on(async { drop(client) });
    drop(room);
    Ok(())
}

fn cache(scene: &Scene<'_>) -> TrialResult {
    static CACHE: Mutex<Option<HashMap<String, Kept<Store>>>> = Mutex::new(None);
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);

    let (runtime, store) = scene.warm_store()?;
    cache().get_or_insert_default().insert("!room:example.org".to_owned(), store.clone());
    runtime.block_on(async { drop(store) });
    *cache() = None;
    Ok(())
}
