//! # 07 · thread-local
//!
//! User interfaces keep what only their main thread uses in thread-locals, and a client is easily
//! among it. The destructors of the main thread's thread-locals run when `main` has returned: off
//! context, and so late that nothing can catch what they do. A single panic in one ends the process;
//! here one idle connection is as bad as four.
//!
//! The usual cure is a wrapper that keeps a `Handle` and enters it in its own `Drop`. It works, and
//! it does not, and which of the two is decided by something that nobody looks at. Tokio keeps the
//! context of a thread in a thread-local *of its own*. Destructors of thread-locals run, on Linux, in
//! the reverse order of that in which the variables were first touched. So there are two orders:
//!
//! - the thread used Tokio first and the wrapper's variable after it: the wrapper is destroyed
//!   first, finds Tokio's variable alive, and the cure works;
//! - the variable was touched first, to look whether something was in it, say: by the time the
//!   wrapper is destroyed, Tokio's variable is gone, and *entering* panics, in a destructor, in a
//!   thread-local.
//!
//! The write-up of Robrix's logout says that clearing caches late crashes and that the order decides
//! (claim B3). So it is, and the order that decides is not one that the program text shows.

use std::{cell::RefCell, process::ExitCode, sync::OnceLock, thread};

use experiments::{
    Scene, control, cure, hazard,
    scene::{Kept, ROWS, guarded, guarded_at_exit, torn_down_at_exit},
    warm_store,
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, every,
};
use mock_sdk::store::{Generation, Store};
use tokio::runtime::{Handle, Runtime};

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What happens to a client that is left in a thread-local?")
        .hypothesis(
            "It aborts the process when its thread ends. A wrapper that enters a context in its \
             `Drop` saves it only where the thread touched Tokio before it touched the variable.",
        )
        .variants([
            hazard("*/left/main-thread", Aborted, left_on_main)
                .about("left in a thread-local of the main thread when main returns"),
            hazard("*/left/main-thread-one", Aborted, left_on_main_one)
                .about("the same with one idle connection: one panic is enough here"),
            hazard("*/left/spawned-thread", Aborted, left_on_spawned)
                .about("left in a thread-local of a plain thread that ends"),
            control("*/cleared", cleared)
                .about("taken out and dropped in a context before main returns"),
            hazard("*/enter-in-drop/touched-first", Aborted, touched_first)
                .about("the usual cure, in a variable that was touched before Tokio was"),
            control("*/enter-in-drop/touched-last", touched_last)
                .about("the usual cure, in a variable that was touched after Tokio was"),
            cure("*/kit/left/main-thread", guarded_at_exit(left_on_main))
                .about("a session's handle, left on the main thread when main returns"),
            cure("*/kit/left/main-thread-one", guarded_at_exit(left_on_main_one))
                .about("the same with one idle connection"),
            cure("*/kit/left/spawned-thread", guarded(left_on_spawned))
                .about("a session's handle, left on a plain thread that ends"),
            cure("*/kit/enter-in-drop/touched-first", guarded_at_exit(in_a_touched_variable))
                .about("a session's handle, in a variable that was touched before Tokio was"),
            cure("*/kit/teardown-in-drop/touched-first", torn_down_at_exit(in_a_touched_variable))
                .about("the usual cure with a teardown in the place of the context"),
        ])
        .claim("B3", "Clearing caches late crashes; the order decides.")
        .supported_if(
            every("*/left/*").is(Aborted)
                & every("*/cleared").is(Clean)
                & every("*/enter-in-drop/touched-first").is(Aborted)
                & every("*/enter-in-drop/touched-last").is(Clean),
        )
        .refuted_if(every("*/left/*").is(Clean) | every("*/cleared").is(Aborted))
        .kit_claim(
            "A session's handle, and a wrapper that tears down in its `Drop`, can be left in a \
             thread-local, whatever was touched first.",
        )
}

thread_local! {
    /// What a user interface keeps for itself.
    static CACHE: RefCell<Option<Kept<Store>>> = const { RefCell::new(None) };

    /// The same behind the usual cure.
    static CURED: RefCell<Option<EntersInDrop>> = const { RefCell::new(None) };
}

fn left_on_main(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    CACHE.set(Some(store));
    Ok(())
}

fn left_on_main_one(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store_of(1, ROWS)?;
    CACHE.set(Some(store));
    Ok(())
}

fn left_on_spawned(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    thread::spawn(|| CACHE.set(Some(store))).join().map_err(|_| "the thread panicked")?;
    Ok(())
}

fn cleared(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    CACHE.set(Some(Kept::Bare(store)));

    let _context = runtime.enter();
    CACHE.set(None);
    Ok(())
}

/// Enters a context around the drop of what it holds, on whatever thread that is.
struct EntersInDrop {
    store: Option<Store>,
    handle: Handle,
}

impl Drop for EntersInDrop {
    fn drop(&mut self) {
        let _context = self.handle.enter();
        drop(self.store.take());
    }
}

/// The runtime is alive in both orders, as it is in an application that keeps it in a static.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn touched_first(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let anything_cached = CURED.with_borrow(Option::is_some);
    trial.check("the cache is empty at first", !anything_cached);
    put_behind_the_cure(trial, generation)
}

fn touched_last(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    put_behind_the_cure(trial, generation)
}

fn put_behind_the_cure(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let handle = RUNTIME.get_or_init(|| runtime).handle().clone();
    CURED.set(Some(EntersInDrop { store: Some(store), handle }));
    Ok(())
}

/// As in `touched-first`, and what is in the variable brings the cure itself.
fn in_a_touched_variable(scene: &Scene<'_>) -> TrialResult {
    let anything_cached = CACHE.with_borrow(Option::is_some);
    scene.trial.check("the cache is empty at first", !anything_cached);
    let (runtime, store) = scene.warm_store()?;
    RUNTIME.get_or_init(|| runtime);
    CACHE.set(Some(store));
    Ok(())
}
