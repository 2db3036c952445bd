//! # 32 · exit order
//!
//! At the end of its process an application has a runtime and a client in statics, and a cache in a
//! thread-local of its main thread, in which there is something derived from the client: a room, a
//! profile. The write-up of Robrix's logout cleans up in this order: clear the caches, "to prevent
//! thread-local destructor issues", then leak runtime, client, sync service and request sender. It
//! gives the history: earlier versions cleared the caches when the runtime might be closed already,
//! and crashed (claim B3). And it notes that doing nothing at all has not crashed so far either.
//!
//! Two things can be told apart that the account takes for one: *when* the cache is cleared, and
//! whether the cache is the *last owner* when it is. A clone that was leaked counts as an owner for
//! ever, so that whoever comes after it is not the last, and drops nothing but a count.
//!
//! - `leak/…`: all four are forgotten, with the cache cleared before that or after it, and with
//!   nothing left to forget, because a logout has emptied the statics and missed the cache;
//! - `drop/…`: the client is dropped and the runtime shut down, as a program that cleans up does it,
//!   in each order, and in a context;
//! - `nothing/…` and `process-exit/…`: everything stays where it is, and the process ends;
//! - `plan/…`: an exit plan ends the process.

use std::{
    cell::RefCell,
    fs, mem,
    path::Path,
    process::{self, ExitCode},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use experiments::{CONNECTIONS, Scene, control, cure, generation_named, hazard, runtime};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    TrialResult, every,
};
use leak_strategy::{
    app,
    ledger::{Ledger, Outcome},
    plan::{Exit, ExitPlan},
    resource::Policy,
};
use mock_sdk::store::{Generation, Store, residue};
use tokio::{
    runtime::Runtime,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("In which order may an application leave its process?")
        .hypothesis(
            "In any, as long as the last owner of the client is never dropped, or dropped in a \
             context. Clearing the caches first saves nothing where a cache is the last owner, \
             and an exit runs the destructors of the main thread's thread-locals unless it is \
             immediate.",
        )
        .variants([
            control("*/leak/caches-first", |scene| {
                start(scene)?;
                clear_caches();
                leak_all_four();
                Ok(())
            })
            .about("the write-up's order: caches cleared, then all four leaked, runtime first"),
            control("*/leak/caches-last", |scene| {
                start(scene)?;
                leak_all_four();
                clear_caches();
                Ok(())
            })
            .about("all four leaked, then the caches cleared"),
            hazard("*/leak/cache-is-last-owner", Aborted, |scene| {
                start(scene)?;
                empty_the_statics();
                clear_caches();
                leak_all_four();
                Ok(())
            })
            .about(
                "the write-up's order, when a logout has emptied the statics and missed the \
                 cache",
            ),
            hazard("*/drop/caches-first", Aborted, |scene| {
                start(scene)?;
                clear_caches();
                empty_the_statics();
                shut_the_runtime_down();
                Ok(())
            })
            .about("caches cleared, client and sync service dropped, runtime shut down"),
            hazard("*/drop/caches-last", Aborted, |scene| {
                start(scene)?;
                empty_the_statics();
                shut_the_runtime_down();
                clear_caches();
                Ok(())
            })
            .about("client and sync service dropped, runtime shut down, caches cleared"),
            hazard("*/drop/runtime-first", Aborted, |scene| {
                start(scene)?;
                shut_the_runtime_down();
                clear_caches();
                empty_the_statics();
                Ok(())
            })
            .about("runtime shut down, caches cleared, client and sync service dropped"),
            control("*/drop/caches-last-in-context", |scene| {
                start(scene)?;
                let runtime = taken(&RUNTIME).ok_or("the runtime is gone")?;
                let handle = runtime.handle().clone();
                let _context = handle.enter();
                empty_the_statics();
                runtime.shutdown_background();
                clear_caches();
                Ok(())
            })
            .about("the same order, in the context of the runtime that is shut down"),
            control("*/nothing/statics-full", start)
                .about("nothing is done, and the client is in a static as well"),
            hazard("*/nothing/cache-is-last-owner", Aborted, |scene| {
                start(scene)?;
                empty_the_statics();
                Ok(())
            })
            .about("nothing is done, and the client is in the cache alone"),
            hazard("*/process-exit/cache-is-last-owner", Aborted, |scene| {
                start(scene)?;
                empty_the_statics();
                scene.done();
                process::exit(0)
            })
            .about("the same, left by std::process::exit"),
            cure("*/plan/cache-is-last-owner", |scene| {
                start(scene)?;
                empty_the_statics();
                scene.done();
                ExitPlan::builder(LIMIT).build().leave(0)
            })
            .about("the same, left by an empty plan"),
            cure("*/plan/cache-is-last-owner-normal", |scene| {
                start(scene)?;
                empty_the_statics();
                scene.done();
                ExitPlan::builder(LIMIT).by(Exit::Normal).build().leave(0)
            })
            .about("the same, left by an empty plan that exits normally"),
            cure("*/plan/torn-down", torn_down)
                .about("a plan that tears down whoever owns the client, and leaks the runtime"),
        ])
        .part("tears-down", tear_down)
        .claim(
            "B3",
            "Clearing caches late crashes at exit, and clearing them first does not: the order \
             decides.",
        )
        .supported_if(
            every("*/drop/caches-last").is(Aborted)
                & every("*/leak/caches-last").is(Aborted)
                & every("*/drop/caches-first").is(Clean)
                & every("*/leak/caches-first").is(Clean),
        )
        .refuted_if(
            every("*/drop/caches-first").is(Aborted)
                & every("*/drop/caches-last-in-context").is(Clean)
                & every("*/leak/caches-last").is(Clean),
        )
        .claim("B4", "Doing nothing at process exit is safe.")
        .supported_if(every("*/nothing/*").is(Clean))
        .refuted_if(
            every("*/nothing/statics-full").is(Clean)
                & every("*/nothing/cache-is-last-owner").is(Aborted),
        )
        .run()
}

/// Long enough for a store to be closed on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(8);

/// What the process that is looked at from outside leaves with, and where its ledger is.
const CODE: i32 = 7;
const LEDGER: &str = "exit.json";

/// What the write-up's application keeps in statics.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
static CLIENT: Mutex<Option<Store>> = Mutex::new(None);
static SYNC_SERVICE: Mutex<Option<SyncService>> = Mutex::new(None);
static REQUEST_SENDER: Mutex<Option<UnboundedSender<String>>> = Mutex::new(None);

/// It belongs to the client, and keeps it.
struct SyncService {
    _client: Store,
}

thread_local! {
    /// What the user interface keeps for itself: something derived from the client.
    static CACHE: RefCell<Option<Store>> = const { RefCell::new(None) };
}

fn taken<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// The application is up.
fn start(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    start_in(trial.directory(), generation)
}

fn start_in(directory: &Path, generation: Generation) -> TrialResult {
    let runtime = runtime()?;
    let store = runtime.block_on(Store::open(directory, generation, CONNECTIONS))?;
    let (sender, mut requests) = unbounded_channel();
    runtime.spawn(async move { while requests.recv().await.is_some() {} });
    CACHE.set(Some(store.clone()));
    put(&SYNC_SERVICE, SyncService { _client: store.clone() });
    put(&CLIENT, store);
    put(&REQUEST_SENDER, sender);
    put(&RUNTIME, runtime);
    Ok(())
}

fn clear_caches() {
    CACHE.set(None);
}

/// The write-up's order. Of what is not there nothing is leaked.
fn leak_all_four() {
    mem::forget(taken(&RUNTIME));
    mem::forget(taken(&CLIENT));
    mem::forget(taken(&SYNC_SERVICE));
    mem::forget(taken(&REQUEST_SENDER));
}

/// What a logout does. Whoever is the last owner drops the pool.
fn empty_the_statics() {
    drop(taken(&CLIENT));
    drop(taken(&SYNC_SERVICE));
    drop(taken(&REQUEST_SENDER));
}

fn shut_the_runtime_down() {
    if let Some(runtime) = taken(&RUNTIME) {
        runtime.shutdown_background();
    }
}

fn torn_down(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let left = trial.part("tears-down")?.arg(generation.word()).output()?;
    trial.check("the code is the one that was asked for", left.status.code() == Some(CODE));
    trial.check("nothing panicked", left.stderr.is_empty());
    let ledger: Ledger = serde_json::from_slice(&fs::read(trial.directory().join(LEDGER))?)?;
    let became = |name| ledger.entries.iter().find(|entry| entry.name == name).map(|e| e.outcome);
    trial.check("the client was torn down", became(app::CLIENT) == Some(Outcome::TornDown));
    trial.check("the runtime was leaked", became(app::RUNTIME) == Some(Outcome::Leaked));
    let wal_left = !residue(&trial.directory().join("store.sqlite3"))?.is_none();
    trial.record("wal_left", wal_left);
    trial.check("its connections were closed, the last of them last", !wal_left);
    Ok(())
}

/// The process that the trial looks at from outside.
fn tear_down(arguments: &[String]) -> TrialResult {
    let generation = arguments.first().ok_or("which generation?")?;
    start_in(Path::new("."), generation_named(generation)?)?;
    let owners = (CACHE.take(), taken(&SYNC_SERVICE), taken(&CLIENT));
    let plan = ExitPlan::builder(LIMIT).ledger(LEDGER).build();
    plan.add(app::leaked_runtime(taken(&RUNTIME)))?;
    plan.add(app::client(Policy::TearDownOrLeak { within: LIMIT }, owners))?;
    plan.leave(CODE)
}
