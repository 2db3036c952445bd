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
    each_generation,
    scene::{Kept, Scene, bare, guarded},
    warm_store,
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use mock_sdk::store::{Generation, Store};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Is it enough to drop the store before the runtime?")
        .hypothesis(
            "Either order fails without a context, and either is clean while one is entered: the \
             order of the store and the runtime decides nothing.",
        )
        .variants(
            each_generation(
                hazard,
                "fields/runtime-first",
                always(Aborted),
                bare(fields_runtime_first),
            )
            .about("a struct that declares the runtime before the store"),
        )
        .variants(
            each_generation(
                hazard,
                "fields/store-first",
                always(Aborted),
                bare(fields_store_first),
            )
            .about("a struct that declares the store before the runtime"),
        )
        .variants(
            each_generation(
                hazard,
                "locals/runtime-first",
                always(Aborted),
                bare(locals_runtime_first),
            )
            .about("locals, of which the runtime is declared last and dropped first"),
        )
        .variants(
            each_generation(
                hazard,
                "locals/store-first",
                always(Aborted),
                bare(locals_store_first),
            )
            .about("locals, of which the store is declared last and dropped first"),
        )
        .variants(
            each_generation(
                hazard,
                "guard/dropped-before",
                always(Aborted),
                bare(guard_dropped_before),
            )
            .about("the store goes before the runtime, but after the guard"),
        )
        .variants(
            each_generation(control, "guard/store-first", always(Clean), guard_store_first)
                .about("the store goes before the runtime, and both before the guard"),
        )
        .variants(
            each_generation(control, "guard/runtime-first", always(Clean), guard_runtime_first)
                .about("the runtime goes before the store, and both before the guard"),
        )
        .variants(
            each_generation(
                cure,
                "kit/fields/runtime-first",
                always(Clean),
                guarded(fields_runtime_first),
            )
            .about("a struct that declares the runtime before the session's handle"),
        )
        .variants(
            each_generation(
                cure,
                "kit/fields/store-first",
                always(Clean),
                guarded(fields_store_first),
            )
            .about("a struct that declares the session's handle before the runtime"),
        )
        .variants(
            each_generation(
                cure,
                "kit/locals/runtime-first",
                always(Clean),
                guarded(locals_runtime_first),
            )
            .about("locals, of which the runtime goes first and the session's handle last"),
        )
        .variants(
            each_generation(
                cure,
                "kit/locals/store-first",
                always(Clean),
                guarded(locals_store_first),
            )
            .about("locals, of which the session's handle goes first"),
        )
        .variants(
            each_generation(
                cure,
                "kit/guard/dropped-before",
                always(Clean),
                guarded(guard_dropped_before),
            )
            .about("the session's handle goes before the runtime, but after the guard"),
        )
        .claim("A5", "The order of destruction helps, but does not fully solve it.")
        .supported_if(
            every("*/fields/store-first").is(always(Clean))
                & every("*/locals/store-first").is(always(Clean)),
        )
        .refuted_if(
            every("*/fields/*").is(always(Aborted))
                & every("*/locals/*").is(always(Aborted))
                & every("*/guard/*-first").is(always(Clean)),
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

fn guard_store_first(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let handle = runtime.handle().clone();
    let _context = handle.enter();
    let _runtime = runtime;
    let _store = store;
    Ok(())
}

fn guard_runtime_first(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let handle = runtime.handle().clone();
    let _context = handle.enter();
    let _store = store;
    let _runtime = runtime;
    Ok(())
}
