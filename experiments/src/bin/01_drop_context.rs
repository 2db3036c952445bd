//! 01 drop context: must a pool's runtime be alive when the pool is dropped, or must the dropping
//! thread have a runtime context? Outside a context it aborts, with the runtime in the best of health;
//! inside one it is clean, even if that runtime is dead. Page: `docs/src/01-drop-context.md`.

use experiments::prelude::*;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What does dropping a pool of connections depend on: its runtime, or the thread?")
        .hypothesis(
            "A pool can be dropped on a thread that has a runtime context, and on no other. \
             Whether its runtime is alive makes no difference.",
        )
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
                .about("in the context of the runtime, which was shut down while tasks ran"),
            control("*/inside-another", inside_another)
                .about("in the context of a runtime that the pool has never seen"),
            cure("*/kit/outside-alive-teardown", torn_down(outside_alive))
                .about("no context, and the runtime is alive; a teardown in place of the drop"),
            cure("*/kit/outside-down-teardown", torn_down(outside_down))
                .about("no context, and the runtime is shut down; a teardown in place of the drop"),
        ])
        .claim("A2", "The panic comes from shutting the runtime down while async tasks still run.")
        .supported_if(every("*/outside-alive").is(Clean) & every("*-down*").is(Aborted))
        .refuted_if(every("*/outside-alive").is(Aborted) & every("*/inside-down*").is(Clean))
        .kit_claim("What a session guards, or a teardown drops, needs no context.")
}

fn outside_alive(scene: &Scene<'_>) -> TrialResult {
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

/// With tasks that run, this is the situation that claim A2 names, except for the context.
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
    let (own, store) = scene.warm_store()?;
    own.shutdown_background();
    let another = runtime()?;
    let _context = another.enter();
    drop(store);
    Ok(())
}
