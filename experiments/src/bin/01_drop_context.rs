//! 01 drop context: must a pool's runtime be alive when the pool is dropped, or must the dropping
//! thread have a runtime context? Without a context the process aborts, even if the runtime is alive:
//! each idle connection panics, and the second panic aborts. With a context the drop is clean, even if
//! the runtime is shut down. Page: `docs/src/01-drop-context.md`.

use experiments::prelude::*;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What does dropping a pool of connections depend on: its runtime, or the thread?")
        .hypothesis(
            "A pool can be dropped on a thread that has a runtime context, and on no other. \
             Whether its runtime is alive makes no difference.",
        )
        // `*/` declares a variant for each generation of the pool, and `cured` its cure `*/kit/…`: the
        // same body, with the store in a session.
        .variants([
            hazard("*/outside-alive", Aborted, outside_alive)
                .about("no context, and the runtime is alive")
                .cured(),
            hazard("*/outside-down", Aborted, outside_down)
                .about("no context, and the runtime is shut down")
                .cured(),
            control("*/inside-alive", inside_alive)
                .about("in the context of the runtime, which is alive"),
            control("*/inside-down", |scene| inside_down(scene, 0))
                .about("in the context of the runtime, which is shut down"),
            control("*/inside-down-busy", |scene| inside_down(scene, 8))
                .about("the same, shut down while tasks ran (they do not use the pool: see 11)"),
            control("*/inside-another", inside_another)
                .about("in the context of a runtime that the pool has never seen"),
            cure("*/kit/outside-alive-teardown", with_teardown(outside_alive))
                .about("no context, and the runtime is alive; a teardown in place of the drop"),
            cure("*/kit/outside-down-teardown", with_teardown(outside_down))
                .about("no context, and the runtime is shut down; a teardown in place of the drop"),
        ])
        .claim("A2a", "The panic of the drop comes from a shutdown of the runtime.")
        // A pattern matches cures, too, but with a kit claim only that claim counts them.
        .supported_if(every("*/outside-alive").is(Clean) & every("*-down*").is(Aborted))
        .refuted_if(every("*/outside-alive").is(Aborted) & every("*/inside-down*").is(Clean))
        .kit_claim(
            "A value in a session, or passed to `teardown`, can be dropped without a context.",
        )
}

fn outside_alive(scene: &Scene<'_>) -> TrialResult {
    // The runtime lives until after the drop.
    let (_runtime, store) = scene.warm_store()?;
    drop(store);
    Ok(())
}

fn outside_down(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    runtime.shutdown_background();
    drop(store);
    Ok(())
}

fn inside_alive(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let _context = runtime.enter();
    drop(store);
    Ok(())
}

/// With tasks, this is the situation of claim A2a, plus a runtime context.
fn inside_down(scene: &Scene<'_>, tasks: usize) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    for _ in 0..tasks {
        runtime.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
    }
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _context = handle.enter();
    drop(store);
    Ok(())
}

fn inside_another(scene: &Scene<'_>) -> TrialResult {
    let (original, store) = scene.warm_store()?;
    original.shutdown_background();
    let unrelated = runtime()?;
    let _context = unrelated.enter();
    drop(store);
    Ok(())
}
