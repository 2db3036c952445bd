//! 32 exit order: in which order may an application leave its process? In any, if the client is leaked
//! or dropped in a context, and in none otherwise: somebody is the last owner, on the main thread. An
//! exit runs the destructors of its thread-locals unless it is immediate. Page:
//! `docs/src/32-exit-order.md`.

use std::{cell::RefCell, fs, future::pending, mem, path::Path, process};

use experiments::{generation_named, prelude::*};
use leak_strategy::{
    app,
    ledger::{Ledger, Outcome},
    plan::{Exit, ExitPlan},
    resource::Policy,
};
use mock_sdk::app::global::Global;
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("In which order may an application tear things down when its process exits?")
        .hypothesis(
            "In any, as long as the last owner of the client is never dropped, or dropped in a \
             context. Clearing the caches first saves nothing if a cache is the last owner, and an \
             exit runs the destructors of the main thread's thread-locals unless it is immediate.",
        )
        .variants([
            control("*/leak/caches-first", in_order([clear_caches, leak_all]))
                .about("the write-up's order: caches cleared, then all four leaked, runtime first"),
            control("*/leak/caches-last", in_order([leak_all, clear_caches]))
                .about("all four leaked, then the caches cleared"),
            hazard(
                "*/leak/cache-is-last-owner",
                Aborted,
                in_order([drop_all, clear_caches, leak_all]),
            )
            .about(
                "the write-up's order, when a logout has emptied the statics and missed the cache",
            ),
            hazard("*/drop/caches-first", Aborted, in_order([clear_caches, drop_all, shut_down]))
                .about("caches cleared, client and sync service dropped, runtime shut down"),
            hazard("*/drop/runtime-first", Aborted, in_order([shut_down, clear_caches, drop_all]))
                .about("runtime shut down, caches cleared, client and sync service dropped"),
            hazard("*/cache-is-last/cleared-first", Aborted, |scene| cache_is_last(scene, true))
                .about("a logout emptied the statics in a context; cache cleared, runtime shut down"),
            hazard("*/cache-is-last/cleared-last", Aborted, |scene| cache_is_last(scene, false))
                .about("the same; runtime shut down, cache cleared"),
            control("*/cache-is-last/cleared-first-in-context", in_context(true))
                .about("cache cleared, runtime shut down, in the context of that runtime"),
            control("*/cache-is-last/cleared-last-in-context", in_context(false))
                .about("runtime shut down, cache cleared, in the context of that runtime"),
            control("*/nothing/statics-full", in_order([]))
                .about("nothing is done, and the client is in a static as well"),
            control("*/nothing/after-logout", |scene| after_logout(scene, true))
                .about("nothing is done, after a logout: statics, then cache, then runtime; a task holds the client"),
            hazard("*/nothing/after-logout/no-main-loop", Aborted, |scene| after_logout(scene, false))
                .about("the same, and no task holds the client"),
            hazard("*/nothing/cache-is-last-owner", Aborted, in_order([drop_all]))
                .about("nothing is done, and the client is in the cache alone"),
            hazard("*/process-exit/cache-is-last-owner", Aborted, |scene| {
                in_order([drop_all])(scene)?;
                scene.done();
                process::exit(0)
            })
            .about("the same, left by std::process::exit"),
            cure("*/plan/cache-is-last-owner", |scene| empty_plan(scene, Exit::Immediate))
                .about("the same, left by an empty plan"),
            cure("*/plan/cache-is-last-owner-normal", |scene| empty_plan(scene, Exit::Normal))
                .about("the same, left by an empty plan that exits normally"),
            cure("*/plan/torn-down", torn_down)
                .about("a plan that tears down every owner of the client, and leaks the runtime"),
        ])
        .part("tears-down", tear_down)
        .claim("A6a", "`mem::forget` works: what is forgotten does not panic at the end.")
        .supported_if(
            every("*/leak/caches-first").is(Clean)
                & every("*/leak/caches-last").is(Clean)
                & every("*/drop/*").is(Aborted),
        )
        .refuted_if(
            every("*/drop/*").is(Aborted)
                & (every("*/leak/caches-first").is(Aborted) | every("*/leak/caches-last").is(Aborted)),
        )
        .claim(
            "B3a",
            "A cache that holds the last of the client crashes if it is cleared when the runtime is closed.",
        )
        .supported_if(every("*/cache-is-last/cleared-last").is(Aborted))
        .refuted_if(every("*/cache-is-last/cleared-last").is(Clean))
        .claim("B3b", "The cache must be cleared before the runtime is leaked.")
        .supported_if(every("*/leak/caches-first").is(Clean) & every("*/leak/caches-last").is(Aborted))
        .refuted_if(every("*/leak/caches-first").is(Clean) & every("*/leak/caches-last").is(Clean))
        .finding(
            "B3d",
            "The order in which the cache is cleared and the runtime closed decides nothing: the context \
             does.",
        )
        .supported_if(
            every("*/cache-is-last/cleared-first").is(Aborted)
                & every("*/cache-is-last/cleared-last").is(Aborted)
                & every("*/cache-is-last/cleared-first-in-context").is(Clean)
                & every("*/cache-is-last/cleared-last-in-context").is(Clean),
        )
        .refuted_if(
            every("*/cache-is-last/cleared-first").is(Clean)
                | every("*/cache-is-last/cleared-last").is(Clean)
                | every("*/cache-is-last/cleared-first-in-context").is(Aborted)
                | every("*/cache-is-last/cleared-last-in-context").is(Aborted),
        )
        .claim("B14", "Clearing a cache that holds objects of the SDK can trigger the panic.")
        .supported_if(every("*/leak/cache-is-last-owner").is(Aborted))
        .refuted_if(every("*/leak/cache-is-last-owner").is(Clean))
        .claim("B4a", "Doing nothing at process exit is safe for a client in a static.")
        .supported_if(every("*/nothing/statics-full").is(Clean))
        .refuted_if(!every("*/nothing/statics-full").is(Clean))
        .claim("B4b", "Doing nothing at process exit is safe after a logout that cleared the caches.")
        .supported_if(every("*/nothing/after-logout").is(Clean))
        .refuted_if(!every("*/nothing/after-logout").is(Clean))
        .claim(
            "B17",
            "To forget everything at the exit may not be needed: doing nothing is as clean, for a client in a static and \
             after a logout that cleared the caches.",
        )
        .supported_if(
            every("*/leak/caches-first").is(Clean)
                & every("*/nothing/statics-full").is(Clean)
                & every("*/nothing/after-logout").is(Clean),
        )
        .refuted_if(
            every("*/leak/caches-first").is(Clean)
                & (!every("*/nothing/statics-full").is(Clean) | !every("*/nothing/after-logout").is(Clean)),
        )
        .finding(
            "B4c",
            "Doing nothing at process exit is not safe if a thread-local of the main thread still holds \
             the client.",
        )
        .supported_if(every("*/nothing/cache-is-last-owner").is(Aborted))
        .refuted_if(every("*/nothing/cache-is-last-owner").is(Clean))
        .run()
}

/// The exit code of the process that is looked at from outside, and its ledger.
const CODE: i32 = 7;
const LEDGER: &str = "exit.json";

/// What the write-up's application keeps in statics.
static RUNTIME: Global<Option<Runtime>> = Global::new(None);
static CLIENT: Global<Option<Store>> = Global::new(None);
/// The sync service belongs to the client, and keeps a clone of it.
static SYNC_SERVICE: Global<Option<Store>> = Global::new(None);
static REQUEST_SENDER: Global<Option<UnboundedSender<String>>> = Global::new(None);

thread_local! {
    /// The user interface's own: something derived from the client.
    static CACHE: RefCell<Option<Store>> = const { RefCell::new(None) };
}

/// Starts the application, takes these steps on the main thread, and returns from `main`.
fn in_order<const N: usize>(steps: [fn(); N]) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| {
        start(scene.directory(), scene.generation)?;
        steps.iter().for_each(|step| step());
        Ok(())
    }
}

fn start(directory: &Path, generation: Generation) -> TrialResult {
    let runtime = runtime()?;
    let store = runtime.block_on(Store::open(directory, generation, CONNECTIONS))?;
    let (sender, mut requests) = unbounded_channel();
    runtime.spawn(async move { while requests.recv().await.is_some() {} });
    CACHE.set(Some(store.clone()));
    SYNC_SERVICE.replace(Some(store.clone()));
    CLIENT.replace(Some(store));
    REQUEST_SENDER.replace(Some(sender));
    RUNTIME.replace(Some(runtime));
    Ok(())
}

fn clear_caches() {
    CACHE.set(None);
}

/// In the write-up's order. What is not there is not leaked.
fn leak_all() {
    mem::forget(RUNTIME.take());
    mem::forget(CLIENT.take());
    mem::forget(SYNC_SERVICE.take());
    mem::forget(REQUEST_SENDER.take());
}

/// Empties the statics. The last owner drops the pool.
fn drop_all() {
    drop(CLIENT.take());
    drop(SYNC_SERVICE.take());
    drop(REQUEST_SENDER.take());
}

fn shut_down() {
    if let Some(runtime) = RUNTIME.take() {
        runtime.shutdown_background();
    }
}

fn handle() -> TrialResult<Handle> {
    RUNTIME.with(|it| it.as_ref().map(|it| it.handle().clone())).ok_or("no runtime".into())
}

/// As a logout does, in a task: empties the statics in a context.
fn log_out(handle: &Handle) {
    let _context = handle.enter();
    drop_all();
}

/// Logs out in the write-up's order: the statics in a task, the cache on the user interface's thread,
/// and then the runtime, whose main loop may hold the client until it goes.
fn after_logout(scene: &Scene<'_>, main_loop: bool) -> TrialResult {
    start(scene.directory(), scene.generation)?;
    let handle = handle()?;
    if main_loop {
        let client = CLIENT.with(|it| it.as_ref().cloned());
        handle.spawn(async move {
            let _client = client;
            pending::<()>().await;
        });
    }
    log_out(&handle);
    clear_caches();
    shut_down();
    Ok(())
}

/// The statics are empty, and the cache is the last owner.
fn cache_is_last(scene: &Scene<'_>, cleared_first: bool) -> TrialResult {
    start(scene.directory(), scene.generation)?;
    log_out(&handle()?);
    end(cleared_first);
    Ok(())
}

fn end(cleared_first: bool) {
    let steps: [fn(); 2] =
        if cleared_first { [clear_caches, shut_down] } else { [shut_down, clear_caches] };
    steps.iter().for_each(|step| step());
}

fn in_context(cleared_first: bool) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| {
        start(scene.directory(), scene.generation)?;
        let handle = handle()?;
        log_out(&handle);
        let _context = handle.enter();
        end(cleared_first);
        Ok(())
    }
}

fn empty_plan(scene: &Scene<'_>, exit: Exit) -> TrialResult {
    in_order([drop_all])(scene)?;
    scene.done();
    ExitPlan::builder(PLENTY).by(exit).build().leave(0)
}

fn torn_down(scene: &Scene<'_>) -> TrialResult {
    let left = scene.part("tears-down")?.arg(scene.generation.word()).output()?;
    scene.check("the code is the one that was asked for", left.status.code() == Some(CODE));
    scene.check("nothing panicked", left.stderr.is_empty());
    let ledger: Ledger = serde_json::from_slice(&fs::read(scene.directory().join(LEDGER))?)?;
    let became = |name| ledger.entries.iter().find(|entry| entry.name == name).map(|e| e.outcome);
    scene.check("the client was torn down", became(app::CLIENT) == Some(Outcome::TornDown));
    scene.check("the runtime was leaked", became(app::RUNTIME) == Some(Outcome::Leaked));
    let wal_left = !scene.residue()?.is_none();
    scene.record("wal_left", wal_left);
    scene.check("its connections were closed, the last of them last", !wal_left);
    Ok(())
}

/// The process that `torn_down` looks at.
fn tear_down(arguments: &[String]) -> TrialResult {
    let generation = arguments.first().ok_or("which generation?")?;
    start(Path::new("."), generation_named(generation)?)?;
    let owners = (CACHE.take(), SYNC_SERVICE.take(), CLIENT.take());
    let plan = ExitPlan::builder(PLENTY).ledger(LEDGER).build();
    plan.add(app::leaked_runtime(RUNTIME.take()))?;
    plan.add(app::client(Policy::TearDownOrLeak { within: PLENTY }, owners))?;
    plan.leave(CODE)
}
