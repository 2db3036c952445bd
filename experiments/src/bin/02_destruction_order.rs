//! 02 destruction order: is it enough to drop the store before the runtime? Without a context either
//! order aborts, and in a context either is clean. The one order that matters is that of the guard and
//! the store. Page: `docs/src/02-destruction-order.md`.

use experiments::prelude::*;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Is it enough to drop the store before the runtime?")
        .hypothesis(
            "Without a context either order fails, and in a context either is clean: the order of the \
             store and the runtime decides nothing.",
        )
        .variants([
            hazard("*/fields/runtime-first", Aborted, fields_runtime_first)
                .about("a struct that declares the runtime before the store")
                .cured(),
            hazard("*/fields/store-first", Aborted, fields_store_first)
                .about("a struct that declares the store before the runtime")
                .cured(),
            hazard("*/locals/runtime-first", Aborted, locals_runtime_first)
                .about("locals: the runtime is declared last and dropped first")
                .cured(),
            hazard("*/locals/store-first", Aborted, locals_store_first)
                .about("locals: the store is declared last and dropped first")
                .cured(),
            hazard("*/guard/dropped-before", Aborted, guard_dropped_before)
                .about("the store is dropped before the runtime, but after the guard")
                .cured(),
            control("*/guard/store-first", guard_store_first)
                .about("the store is dropped before the runtime, and both before the guard"),
            control("*/guard/runtime-first", guard_runtime_first)
                .about("the runtime is dropped before the store, and both before the guard"),
        ])
        .finding("A5b", "The order in which the runtime and the client are dropped decides nothing.")
        .supported_if(
            every("*/fields/*").is(Aborted)
                & every("*/locals/*").is(Aborted)
                & every("*/guard/*-first").is(Clean),
        )
        .refuted_if(
            every("*/fields/store-first").is(Clean) | every("*/locals/store-first").is(Clean),
        )
        .kit_claim(
            "A session's handle and the runtime may go in any order, with any guard or none.",
        )
}

/// A struct: its fields are dropped in the order of their declaration.
struct App<A, B> {
    _first: A,
    _last: B,
}

fn fields_runtime_first(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    drop(App { _first: runtime, _last: store });
    Ok(())
}

fn fields_store_first(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    drop(App { _first: store, _last: runtime });
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

/// The guard is where one would write it, and gone when it is needed.
fn guard_dropped_before(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let _store = store;
    let _context = runtime.enter();
    Ok(())
}

fn guard_store_first(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let handle = runtime.handle().clone();
    let _context = handle.enter();
    let _runtime = runtime;
    let _store = store;
    Ok(())
}

fn guard_runtime_first(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let handle = runtime.handle().clone();
    let _context = handle.enter();
    let _store = store;
    let _runtime = runtime;
    Ok(())
}
