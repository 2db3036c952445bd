//! 07 thread-local: what happens to a client that is left in a thread-local? Its thread's end drops it
//! without a context, and nothing can catch the panic there. A wrapper that enters a context in its
//! `Drop` works only if the thread touched Tokio before it touched the variable. Page:
//! `docs/src/07-thread-local.md`.

use std::{cell::RefCell, sync::OnceLock, thread::LocalKey};

use experiments::prelude::*;
use tokio::runtime::Handle;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What happens to a client that is left in a thread-local?")
        .hypothesis(
            "It aborts the process when its thread ends. A wrapper that enters a context in its \
             `Drop` saves it only where the thread touched Tokio before it touched the variable.",
        )
        .variants([
            hazard("*/left/main-thread", Aborted, |scene| left_on_main(scene, CONNECTIONS))
                .about("left in a thread-local of the main thread when main returns")
                .cured(),
            hazard("*/left/main-thread-one", Aborted, |scene| left_on_main(scene, 1))
                .about("the same with one idle connection")
                .cured(),
            hazard("*/left/spawned-thread", Aborted, left_on_spawned)
                .about("left in a thread-local of a plain thread that ends")
                .cured(),
            control("*/cleared", cleared)
                .about("taken out and dropped in a context before main returns"),
            hazard("*/enter-in-drop/touched-first", Aborted, touched_first)
                .about("the usual cure, in a variable that was touched before Tokio was"),
            control("*/enter-in-drop/touched-last", behind_the_usual_cure)
                .about("the usual cure, in a variable that was touched after Tokio was"),
            cure("*/kit/enter-in-drop/touched-first", guarded(kept_in_a_touched_variable))
                .about("a session's handle, in a variable that was touched before Tokio was"),
            cure("*/kit/teardown-in-drop/touched-first", with_teardown(kept_in_a_touched_variable))
                .about("the usual cure, with a teardown instead of the context"),
        ])
        .claim(
            "B3a",
            "A cache that is cleared late, by the destructors of the thread-locals, crashes; one that is \
             cleared in time does not.",
        )
        .supported_if(every("*/left/*").is(Aborted) & every("*/cleared").is(Clean))
        .refuted_if(every("*/left/*").is(Clean) | every("*/cleared").is(Aborted))
        .finding(
            "B3c",
            "A wrapper that enters a context in its destructor works only if the thread touched Tokio \
             before it touched the variable.",
        )
        .supported_if(
            every("*/enter-in-drop/touched-first").is(Aborted)
                & every("*/enter-in-drop/touched-last").is(Clean),
        )
        .refuted_if(
            every("*/enter-in-drop/touched-first").is(Clean)
                | every("*/enter-in-drop/touched-last").is(Aborted),
        )
        .kit_claim(
            "A session's handle, and a wrapper that tears down in its `Drop`, can be left in a \
             thread-local, whatever was touched first.",
        )
}

thread_local! {
    /// What a user interface keeps for itself.
    static CACHE: RefCell<Option<Protected<Store>>> = const { RefCell::new(None) };

    /// The same behind the usual cure.
    static CURED: RefCell<Option<EntersInDrop>> = const { RefCell::new(None) };
}

fn left_on_main(scene: &Scene<'_>, connections: usize) -> TrialResult {
    let (_runtime, store) = scene.warm_store_of(connections, ROWS)?;
    CACHE.set(Some(store));
    scene.leaves_it_to_exit();
    Ok(())
}

fn left_on_spawned(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    thread::spawn(|| CACHE.set(Some(store))).join().map_err(|_| "the thread panicked")?;
    Ok(())
}

fn cleared(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    CACHE.set(Some(store));

    let _context = runtime.enter();
    CACHE.set(None);
    Ok(())
}

/// Enters a context around the drop of what it holds, on whatever thread that is.
struct EntersInDrop {
    store: Option<Protected<Store>>,
    handle: Handle,
}

impl Drop for EntersInDrop {
    fn drop(&mut self) {
        let _context = self.handle.enter();
        drop(self.store.take());
    }
}

/// The runtime outlives `main`, as in an application that keeps it in a static.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn behind_the_usual_cure(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let handle = RUNTIME.get_or_init(|| runtime).handle().clone();
    CURED.set(Some(EntersInDrop { store: Some(store), handle }));
    Ok(())
}

fn touched_first(scene: &Scene<'_>) -> TrialResult {
    touch(scene, &CURED);
    behind_the_usual_cure(scene)
}

/// The same order, and what is in the variable is itself the cure.
fn kept_in_a_touched_variable(scene: &Scene<'_>) -> TrialResult {
    touch(scene, &CACHE);
    let (runtime, store) = scene.warm_store()?;
    RUNTIME.get_or_init(|| runtime);
    CACHE.set(Some(store));
    scene.leaves_it_to_exit();
    Ok(())
}

/// A look whether something is cached, before the thread has used Tokio.
fn touch<T>(scene: &Scene<'_>, variable: &'static LocalKey<RefCell<Option<T>>>) {
    scene.check("the cache is empty at first", variable.with_borrow(Option::is_none));
}
