//! 09 shutdown methods: what has ended when a runtime's shutdown returns? `shutdown_background()` waits
//! for nothing, and a limit that is too short ends like it: the query still runs and its files are
//! open. After `drop`, or a limit that is long enough, neither. Page:
//! `docs/src/09-shutdown-methods.md`.

use std::time::Instant;

use experiments::{
    prelude::*,
    query::{QUERY, Query, TOO_SHORT, UNTIL_RELEASED},
};

/// Longer than anything takes that ends by itself.
const A_WHILE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What has ended when a runtime's shutdown returns?")
        .hypothesis(
            "After `shutdown_background()`, or a limit that was too short, work of the pool still \
             runs and its files are open. After `drop`, or a limit that was long enough, neither is so.",
        )
        .variants([
            hazard("*/background", Failed, after(UNTIL_RELEASED, Runtime::shutdown_background))
                .about("shutdown_background()"),
            hazard("*/background-then-wait", Failed, after(UNTIL_RELEASED, background_then_wait))
                .about("the same, looked at after a wait, as before a restart")
                .waits(),
            hazard("*/timeout-too-short", Failed, after(UNTIL_RELEASED, too_short))
                .about("shutdown_timeout() with a limit that the query outlasts"),
            control("*/timeout-long-enough", after(QUERY, long_enough))
                .about("shutdown_timeout() with a limit that outlasts the query"),
            control("*/drop", after(QUERY, drop)).about("drop(runtime)"),
            cure("*/kit/background", guarded(closed_before(Runtime::shutdown_background)))
                .about("the session is closed first, and then shutdown_background()"),
            cure("*/kit/background-then-wait", guarded(closed_before(background_then_wait)))
                .about("the same, looked at after the wait")
                .waits(),
            cure("*/kit/timeout-too-short", guarded(closed_twice))
                .about("closed within a limit that is too short, which it says, and then again"),
        ])
        .claim("A3", "`shutdown_background()` does not wait for tasks.")
        .supported_if(
            every("*/background").observed("query_running").always_reads("true")
                & every("*/drop").observed("query_running").never_reads("true"),
        )
        .refuted_if(
            every("*/background").observed("query_running").never_reads("true")
                | every("*/background").is(Hung),
        )
        .claim(
            "A8",
            "Tasks of the pool are still present after `shutdown_background()`, and after a wait behind it.",
        )
        .supported_if(
            every("*/background").observed("query_running").always_reads("true")
                & every("*/background-then-wait").observed("query_running").always_reads("true")
                & every("*/background-then-wait").observed("files_open").always_at_least(1),
        )
        .refuted_if(
            every("*/background").observed("query_running").never_reads("true")
                & every("*/background").observed("files_open").always_at_most(0),
        )
        .claim("A10", "Connection pools need time to destruct, which a shutdown has to wait for.")
        .supported_if(
            every("*/background").observed("files_open").always_at_least(1)
                & every("*/drop").observed("files_open").always_at_most(0),
        )
        .refuted_if(every("*/background").observed("files_open").always_at_most(0))
        .kit_claim(
            "A session says whether it has closed; when it has, no query runs and no file is open, \
             and any shutdown of the runtime will do.",
        )
}

/// A wait before the restart, as the write-up had one for its look with tokio-console.
fn background_then_wait(runtime: Runtime) {
    runtime.shutdown_background();
    thread::sleep(A_WHILE);
}

fn too_short(runtime: Runtime) {
    runtime.shutdown_timeout(TOO_SHORT);
}

fn long_enough(runtime: Runtime) {
    runtime.shutdown_timeout(PLENTY);
}

fn after(takes: Duration, shut_down: fn(Runtime)) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| {
        look_after(scene, takes, |runtime, _| {
            shut_down(runtime);
            Ok(())
        })
    }
}

/// The task has a handle of the session, so closing waits until the task has dropped it.
fn closed_before(shut_down: fn(Runtime)) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| {
        look_after(scene, QUERY, |runtime, _| {
            scene.close()?;
            shut_down(runtime);
            Ok(())
        })
    }
}

/// `shutdown_timeout` returns at its limit as it does at the end. `close` returns an error.
fn closed_twice(scene: &Scene<'_>) -> TrialResult {
    look_after(scene, UNTIL_RELEASED, |runtime, query| {
        let told = scene.one_handle_is_left(TOO_SHORT);
        scene.check("the session says that the task has a handle", told);
        query.release();
        scene.close()?;
        runtime.shutdown_background();
        Ok(())
    })
}

/// Shuts down a runtime on which a task, the only owner of the store, awaits a query, and looks at
/// once when that returns. Unless the shutdown waits for it, the query is released only after the look.
fn look_after(
    scene: &Scene<'_>,
    takes: Duration,
    shut_down: impl FnOnce(Runtime, &Query) -> TrialResult,
) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let metrics = runtime.metrics();
    let query = Query::start(&runtime, store, takes)?;

    let start = Instant::now();
    shut_down(runtime, &query)?;
    scene.record("took", start.elapsed());
    query.check_ended(scene)?;
    scene.record("tasks_alive", metrics.num_alive_tasks());
    scene.record("wal_left", scene.residue()?.wal_bytes.is_some());
    query.end();
    Ok(())
}
