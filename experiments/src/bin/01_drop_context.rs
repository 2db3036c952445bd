//! # 01 · drop context
//!
//! A Matrix client keeps its data in SQLite, behind a pool of connections. When the client goes,
//! the pool goes, and with it every connection that sat idle in it. Closing a connection may block,
//! so its wrapper does not close it where it is dropped: its destructor posts the closing to the
//! blocking threads of a Tokio runtime. *Which* runtime, nobody told it. It asks for the one that
//! the dropping thread is in the context of, and where there is none it panics:
//!
//! ```text
//! there is no reactor running, must be called from the context of a Tokio 1.x runtime
//! ```
//!
//! One connection that panics starts an unwinding. The next one in the same pool panics during it,
//! and two panics at once end the process.
//!
//! The message speaks of a reactor that is not running. The demo project *rust-logout-issue* took
//! it at its word, and blames a runtime that is shut down while tasks still run (claim A2). So here
//! the two things are told apart. A warm store is dropped
//!
//! - *outside* any context or *inside* one, and
//! - with its runtime *alive*, *down*, or taken *down while busy*,
//!
//! and nothing else changes. If the claim were right, the columns would decide. It is the rows:
//! outside always aborts, with the runtime in the best of health; inside is always clean, be the
//! runtime dead or another one altogether.
//!
//! The cures are the two hazards again, the same functions: with the store in a session, of which the
//! dropped clone is a handle, and with a `teardown` in the place of the drop. When the kit says that
//! it is over, the trial looks from outside whether it is.
//!
//! The dependency chain that the same source gives (claim A1) is read from a lock file of the real
//! SDK. It is nearly right: the pool stands on `rusqlite`, not under it, and the crate in between,
//! `deadpool-sync`, whose destructor it is, is missing.

use std::process::ExitCode;

use experiments::{
    Scene, control, cure, hazard, runtime,
    scene::{guarded, torn_down},
    warm_store,
};
use lab::{
    Condition, Experiment,
    Outcome::{Aborted, Clean},
    TrialResult, every,
};
use toml::Table;

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
                .about("no context, and the runtime is alive"),
            hazard("*/outside-down", Aborted, outside_down)
                .about("no context, and the runtime is shut down"),
            control("*/inside-alive", inside_alive)
                .about("in the context of the runtime, which is alive"),
            control("*/inside-down", inside_down)
                .about("in the context of the runtime, which is shut down"),
            control("*/inside-down-busy", inside_down_busy)
                .about("in the context of the runtime, which was shut down while tasks ran"),
            control("*/inside-another", inside_another)
                .about("in the context of a runtime that the pool has never seen"),
            control("dependency-chain", dependency_chain)
                .about("no pool: who depends on whom, from a lock file of matrix-sdk 0.13.0")
                .trials(5),
            cure("*/kit/outside-alive", guarded(outside_alive))
                .about("no context, and the runtime is alive: the handle of a session"),
            cure("*/kit/outside-down", guarded(outside_down))
                .about("no context, and the runtime is shut down: the handle of a session"),
            cure("*/kit/outside-alive-teardown", torn_down(outside_alive)).about(
                "no context, and the runtime is alive: a teardown where the store was dropped",
            ),
            cure("*/kit/outside-down-teardown", torn_down(outside_down))
                .about("no context, and the runtime is shut down: a teardown in its place"),
        ])
        .claim(
            "A1",
            "The chain is matrix-sdk → matrix-sdk-sqlite → rusqlite → deadpool-sqlite → \
             deadpool-runtime.",
        )
        .supported_if(every_claimed_link_is_there())
        .refuted_if(!every_claimed_link_is_there())
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
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    let _context = runtime.enter();
    drop(store);
    Ok(())
}

fn inside_down(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _context = handle.enter();
    drop(store);
    Ok(())
}

/// The situation that the claim names, with everything in it but a thread without context.
fn inside_down_busy(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    for _ in 0..8 {
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
    let Scene { trial, generation, .. } = *scene;
    let (own, store) = warm_store(trial, generation)?;
    own.shutdown_background();
    let another = runtime()?;
    let _context = another.enter();
    drop(store);
    Ok(())
}

/// The links of the chain as claim A1 gives it.
const CLAIMED: [&str; 4] = [
    "matrix-sdk → matrix-sdk-sqlite",
    "matrix-sdk-sqlite → rusqlite",
    "rusqlite → deadpool-sqlite",
    "deadpool-sqlite → deadpool-runtime",
];

/// The links, other than those, by which the SDK really reaches the crate that panics.
const REAL: [&str; 4] = [
    "matrix-sdk-sqlite → deadpool-sqlite",
    "deadpool-sqlite → rusqlite",
    "deadpool-sqlite → deadpool-sync",
    "deadpool-sync → deadpool-runtime",
];

fn dependency_chain(trial: &Scene<'_>) -> TrialResult {
    let lock: Table = include_str!("../../locks/matrix-sdk-0.13.0.lock").parse()?;
    for link in CLAIMED.into_iter().chain(REAL) {
        let (from, to) = link.split_once(" → ").ok_or("a link has two ends")?;
        trial.record(link, depends(&lock, from, to));
    }
    Ok(())
}

/// Whether a lock file has one package depend on another, directly.
fn depends(lock: &Table, from: &str, to: &str) -> bool {
    let packages = lock.get("package").and_then(|packages| packages.as_array());
    let dependencies = packages
        .into_iter()
        .flatten()
        .filter(|package| package.get("name").and_then(|name| name.as_str()) == Some(from))
        .filter_map(|package| package.get("dependencies")?.as_array())
        .flatten();
    // Of a name that occurs in several versions, the entry is `name version`.
    dependencies
        .filter_map(|entry| entry.as_str()?.split(' ').next())
        .any(|dependency| dependency == to)
}

fn every_claimed_link_is_there() -> Condition {
    let [first, second, third, fourth] =
        CLAIMED.map(|link| every("dependency-chain").observed(link).always_reads("true"));
    first & second & third & fourth
}
