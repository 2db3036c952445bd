//! # 02 · destruction order
//!
//! Rust drops the fields of a struct in the order in which they are declared, and the locals of a
//! function in the reverse order. An application that owns a runtime and a store can thus choose
//! which of them goes first, and the write-ups of the panic recommend to choose well: *adjusting the
//! order helps, but does not fully solve it* (claim A5).
//!
//! Here the order is the only thing that changes, in a struct and among locals; and then it is
//! changed again with a context entered around it, by a guard that lives longer than the store or
//! not quite as long.
//!
//! Without a guard, either order aborts: that the runtime is still there when the store goes is of
//! no use to a thread that is not in its context. With a guard that outlives the store, either order
//! is clean. The one order that matters is that of the guard and the store, and it is an easy one to
//! get wrong: a guard is most naturally entered *after* the store was made, and so is dropped before
//! it.

use std::process::ExitCode;

use experiments::{
    Scene, control, cure, hazard,
    scene::{Kept, guarded},
    warm_store,
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    TrialResult, every,
};
use mock_sdk::store::Store;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Is it enough to drop the store before the runtime?")
        .hypothesis(
            "Either order fails without a context, and either is clean while one is entered: the \
             order of the store and the runtime decides nothing.",
        )
        .variants([
            hazard("*/fields/runtime-first", Aborted, fields_runtime_first)
                .about("a struct that declares the runtime before the store"),
            hazard("*/fields/store-first", Aborted, fields_store_first)
                .about("a struct that declares the store before the runtime"),
            hazard("*/locals/runtime-first", Aborted, locals_runtime_first)
                .about("locals, of which the runtime is declared last and dropped first"),
            hazard("*/locals/store-first", Aborted, locals_store_first)
                .about("locals, of which the store is declared last and dropped first"),
            hazard("*/guard/dropped-before", Aborted, guard_dropped_before)
                .about("the store goes before the runtime, but after the guard"),
            control("*/guard/store-first", guard_store_first)
                .about("the store goes before the runtime, and both before the guard"),
            control("*/guard/runtime-first", guard_runtime_first)
                .about("the runtime goes before the store, and both before the guard"),
            cure("*/kit/fields/runtime-first", guarded(fields_runtime_first))
                .about("a struct that declares the runtime before the session's handle"),
            cure("*/kit/fields/store-first", guarded(fields_store_first))
                .about("a struct that declares the session's handle before the runtime"),
            cure("*/kit/locals/runtime-first", guarded(locals_runtime_first))
                .about("locals, of which the runtime goes first and the session's handle last"),
            cure("*/kit/locals/store-first", guarded(locals_store_first))
                .about("locals, of which the session's handle goes first"),
            cure("*/kit/guard/dropped-before", guarded(guard_dropped_before))
                .about("the session's handle goes before the runtime, but after the guard"),
        ])
        .claim("A5", "The order of destruction helps, but does not fully solve it.")
        .supported_if(
            every("*/fields/store-first").is(Clean) & every("*/locals/store-first").is(Clean),
        )
        .refuted_if(
            every("*/fields/*").is(Aborted)
                & every("*/locals/*").is(Aborted)
                & every("*/guard/*-first").is(Clean),
        )
        .kit_claim(
            "A session's handle and the runtime may go in any order, with any guard or none.",
        )
}

fn fields_runtime_first(scene: &Scene<'_>) -> TrialResult {
    struct App {
        _runtime: Runtime,
        _store: Kept<Store>,
    }
    let (_runtime, _store) = scene.warm_store()?;
    drop(App { _runtime, _store });
    Ok(())
}

fn fields_store_first(scene: &Scene<'_>) -> TrialResult {
    struct App {
        _store: Kept<Store>,
        _runtime: Runtime,
    }
    let (_runtime, _store) = scene.warm_store()?;
    drop(App { _store, _runtime });
    Ok(())
}

fn locals_runtime_first(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let _store = store;
    let _runtime = runtime;
    Ok(())
}

fn locals_store_first(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let _runtime = runtime;
    let _store = store;
    Ok(())
}

/// A guard where one would write it, and where it is gone by the time it is needed.
fn guard_dropped_before(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let _store = store;
    let _context = runtime.enter();
    Ok(())
}

fn guard_store_first(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    let handle = runtime.handle().clone();
    let _context = handle.enter();
    let _runtime = runtime;
    let _store = store;
    Ok(())
}

fn guard_runtime_first(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    let handle = runtime.handle().clone();
    let _context = handle.enter();
    let _store = store;
    let _runtime = runtime;
    Ok(())
}
