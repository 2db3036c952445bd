//! 10 runtime in async: can a runtime be dropped inside async code? Its drop waits, which async code
//! must not do, and so it panics, whoever holds the runtime. What does not wait, or waits on another
//! thread, is clean. Page: `docs/src/10-runtime-in-async.md`.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use experiments::{
    prelude::*,
    probe::{Probe, probe},
};
use sundown::{runtime::RuntimeOwner, teardown::teardown};
use tokio::{
    runtime::{Builder, Handle},
    task::{block_in_place, spawn_blocking},
};

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Can a runtime be dropped inside async code?")
        .hypothesis(
            "Its drop waits, and therefore panics there, whoever holds it. Handing it to a thread that \
             may wait, or not waiting at all, is clean.",
        )
        .variants([
            hazard("drop", Panicked, in_a_task(dropped))
                .about("a runtime, dropped in a task of another")
                .cured(),
            hazard("*/field-of-a-client", Panicked, in_a_task(field_of_a_client))
                .about("a client that owns its runtime and its store, dropped in a task of another")
                .cured(),
            hazard("last-clone", Panicked, in_a_task(last_clone))
                .about("the last of two clones of an Arc, in a task")
                .cured(),
            hazard("block-on", Panicked, blocked_on)
                .about("block_on of one runtime inside another"),
            hazard("waits-in-drop", Panicked, waits_in_a_task)
                .about("a destructor that waits by block_in_place, in a task that has the only worker"),
            control("shutdown-background", harmless(|inner| async { inner.shutdown_background() }))
                .about("not waiting: shutdown_background() in a task"),
            control("block-in-place", harmless(|inner| async { block_in_place(|| drop(inner)) }))
                .about("waiting on a worker that has been told: block_in_place"),
            control("spawn-blocking", harmless(on_a_blocking_thread))
                .about("waiting on a blocking thread of the other runtime"),
            control("plain-thread", on_a_plain_thread).about("waiting on a plain thread"),
            cure("kit/block-on", blocked_on_owned)
                .about("block_on of a runtime with an owner, inside another"),
            cure("kit/waits-in-drop", waits_in_a_teardown)
                .about("a destructor that waits by block_in_place; a teardown in place of the drop"),
        ])
        .kit_claim(
            "A session's handle of a runtime can be dropped in async code, one that has an owner \
             can be blocked on, and what waits in its destructor can be torn down.",
        )
}

/// Drops something that owns a runtime in a task of another. Returns whether that panicked, and a
/// probe of a task on the runtime that was dropped.
type Drops = fn(&Scene<'_>) -> TrialResult<(bool, Probe)>;

/// The drop panics. With the kit it does not, and when the session has closed the runtime has ended.
fn in_a_task(drops: Drops) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| {
        let (panicked, task) = drops(scene)?;
        if !scene.is_cured() {
            scene.check("the drop panicked", panicked);
            return Ok(());
        }
        scene.check("the drop did not panic", !panicked);
        scene.close()?;
        scene.check("the runtime has ended", task.has_ended());
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

fn dropped(scene: &Scene<'_>) -> TrialResult<(bool, Probe)> {
    let inner = runtime()?;
    let task = task_on(&inner);
    let inner = scene.protection.protect(inner)?;
    Ok((panics(async move { drop(inner) })?, task))
}

fn field_of_a_client(scene: &Scene<'_>) -> TrialResult<(bool, Probe)> {
    struct Client {
        _store: Store,
        _runtime: Runtime,
    }
    let (_runtime, _store) = scene.unprotected_store()?;
    let task = task_on(&_runtime);
    let client = scene.protection.protect(Client { _store, _runtime })?;
    Ok((panics(async move { drop(client) })?, task))
}

fn last_clone(scene: &Scene<'_>) -> TrialResult<(bool, Probe)> {
    let inner = runtime()?;
    let task = task_on(&inner);
    let first = scene.protection.protect(Arc::new(inner))?;
    let second = first.clone();
    let panicked = panics(async move { drop(first) })?;
    scene.check("dropping the first clone is harmless", !panicked);
    Ok((panics(async move { drop(second) })?, task))
}

fn blocked_on(scene: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let handle = inner.handle().clone();
    let panicked = panics(async move { handle.block_on(async {}) })?;
    scene.check("block_on panicked", panicked);
    Ok(())
}

fn blocked_on_owned(scene: &Scene<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("inner").workers(2).start()?;
    let (inner, (answer, answered)) = (owner.clone(), mpsc::channel());
    let panicked = panics(async move {
        let _ = answer.send(inner.block_on(async { 6 * 7 }));
    })?;
    scene.check("block_on did not panic", !panicked);
    scene.check("block_on returned the answer", answered.recv()? == Ok(42));
    let _ = owner.shutdown_blocking(PLENTY)?;
    Ok(())
}

/// Whose destructor gives something back, and waits until that is done.
struct Lease(Arc<AtomicBool>);

impl Drop for Lease {
    fn drop(&mut self) {
        let given_back = tokio::time::sleep(Duration::from_millis(1));
        block_in_place(|| Handle::current().block_on(given_back));
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A runtime whose only worker is the thread that is in its `block_on`, a lease, and whether that was given
/// back.
fn leased() -> TrialResult<(Runtime, Lease, Arc<AtomicBool>)> {
    let given_back = Arc::<AtomicBool>::default();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok((runtime, Lease(Arc::clone(&given_back)), given_back))
}

fn waits_in_a_task(scene: &Scene<'_>) -> TrialResult {
    let (runtime, lease, given_back) = leased()?;
    let ended = runtime.block_on(runtime.spawn(async { drop(lease) }));
    scene.check("the drop panicked", ended.is_err_and(|error| error.is_panic()));
    scene.check("it was not given back", !given_back.load(Ordering::Relaxed));
    Ok(())
}

/// Nothing else happens in this process. So nobody but the teardown itself sees to it that its own runtime is
/// driven while the destructor waits.
fn waits_in_a_teardown(scene: &Scene<'_>) -> TrialResult {
    let (runtime, lease, given_back) = leased()?;
    let _ = runtime.block_on(runtime.spawn(teardown(lease, PLENTY)))??;
    scene.check("it was given back", given_back.load(Ordering::Relaxed));
    Ok(())
}

/// Gets rid of a runtime in a task of another, without a panic.
fn harmless<F>(get_rid_of: fn(Runtime) -> F) -> impl Fn(&Scene<'_>) -> TrialResult
where
    F: Future<Output = ()> + Send + 'static,
{
    move |scene| {
        scene.check("nothing panicked", !panics(get_rid_of(runtime()?))?);
        Ok(())
    }
}

async fn on_a_blocking_thread(inner: Runtime) {
    let dropped = spawn_blocking(move || drop(inner)).await;
    dropped.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
}

fn on_a_plain_thread(scene: &Scene<'_>) -> TrialResult {
    let inner = runtime()?;
    let (hand_over, take) = mpsc::channel();
    let plain = thread::spawn(move || take.recv().map(drop::<Runtime>));
    let panicked = panics(async move { hand_over.send(inner).unwrap_or_default() })?;
    scene.check("nothing panicked", !panicked);
    plain.join().map_err(|_| "the thread panicked")??;
    Ok(())
}
