//! 43 cancelled shutdown: does the pattern's fallback always stop the task (claims D4, D9)? Not after a
//! shutdown that was begun and dropped: it disarms the fallback, and a task deaf to its signal runs
//! on without an owner. Page: `docs/src/43-cancelled-shutdown.md`.

use std::pin::pin;

use experiments::{
    pattern::{Owner, StopSignal, abort_at},
    poll_once,
    prelude::*,
    probe::{Probe, Responder, on_one_thread, probe},
};
use lab::Condition;

/// A limit that a deaf task outlasts.
const LIMIT: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does the task always stop, when a shutdown of it was begun and dropped?")
        .hypothesis(
            "In the pattern a dropped shutdown disarms the fallback: a task deaf to its signal then \
             runs without an owner. In the kit the last handle aborts it.",
        )
        .variants([
            control("pattern/deaf-forgotten", on_one_thread(forgotten))
                .about("a deaf task, dropped without a shutdown"),
            control("pattern/heeding", on_one_thread(async |scene| begun_and_dropped(scene, heeding).await))
                .about("a task that heeds its signal; the shutdown is dropped while pending"),
            hazard("pattern/deaf", Failed, on_one_thread(async |scene| begun_and_dropped(scene, deaf).await))
                .about("a deaf task; the shutdown is dropped while pending"),
            hazard("pattern/deaf-timed-out", Failed, on_one_thread(timed_out))
                .about("a deaf task; the limit around its handle passes"),
            control("pattern/deaf-aborted", on_one_thread(timed_out))
                .about("a deaf task; the limit passes, and the handle was kept and is told to abort"),
            cure("kit/deaf-forgotten", on_one_thread(forgotten))
                .about("BackgroundTask, deaf, dropped without a shutdown"),
            cure("kit/deaf", on_one_thread(async |scene| begun_and_dropped(scene, deaf).await))
                .about("BackgroundTask, deaf; the shutdown is dropped while pending"),
            cure("kit/deaf-timed-out", on_one_thread(timed_out))
                .about("BackgroundTask, deaf; the limit of shutdown_within passes"),
        ])
        .keeps("still_running", [])
        .claim("D4", "Dropped without a shutdown, the task always stops.")
        .supported_if(every("pattern/deaf-forgotten").is(Clean))
        .refuted_if(every("pattern/deaf-forgotten").observed("still_running").always_reads("true"))
        .finding("D4b", "After a shutdown that was dropped half-way, the fallback does not stop the task.")
        .supported_if(every("pattern/deaf").observed("still_running").always_reads("true"))
        .refuted_if(every("pattern/deaf").is(Clean))
        .claim("D9", "A limit, and an abort when it passes, end a task that takes too long to stop.")
        // A deaf task stays if nobody aborts it: then the limit alone does not end it.
        .supported_if(every("pattern/deaf-aborted").is(Clean) & runs_on("pattern/deaf-timed-out"))
        .refuted_if(runs_on("pattern/deaf-aborted"))
        .finding(
            "D9b",
            "The line as sketched, a timeout that is given the handle, detaches the task, which runs on.",
        )
        .supported_if(runs_on("pattern/deaf-timed-out"))
        .refuted_if(every("pattern/deaf-timed-out").is(Clean))
        .run()
}

fn runs_on(variant: &str) -> Condition {
    every(variant).observed("still_running").always_reads("true")
}

/// Has its signal and never polls it.
async fn deaf(stop: StopSignal, mut responder: Responder) {
    let _never_polled = stop;
    responder.answer().await;
}

async fn heeding(stop: StopSignal, mut responder: Responder) {
    responder.until(stop).await;
}

/// Spawns the task and waits until it has begun.
async fn begin<F>(
    scene: &Scene<'_>,
    task: fn(StopSignal, Responder) -> F,
) -> TrialResult<(Probe, Owner)>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (probe, responder) = probe();
    let owner = Owner::spawn(scene, "deaf", move |stop| task(stop, responder))?;
    scene.check("the task has begun", probe.is_running().await);
    Ok((probe, owner))
}

async fn look(scene: &Scene<'_>, probe: &Probe) -> TrialResult {
    let still_running = probe.is_running().await;
    scene.record("still_running", still_running);
    scene.check("the task has ended", !still_running);
    Ok(())
}

async fn forgotten(scene: &Scene<'_>) -> TrialResult {
    let (probe, owner) = begin(scene, deaf).await?;
    drop(owner);
    look(scene, &probe).await
}

async fn begun_and_dropped<F>(
    scene: &Scene<'_>,
    task: fn(StopSignal, Responder) -> F,
) -> TrialResult
where
    F: Future<Output = ()> + Send + 'static,
{
    let (probe, owner) = begin(scene, task).await?;
    let first_poll = poll_once(pin!(owner.shutdown())).await;
    scene.check("the shutdown is dropped while pending", first_poll.is_pending());
    if matches!(owner, Owner::Kit(_)) {
        scene.check("the task is deaf", probe.is_running().await);
    }
    drop(owner);
    look(scene, &probe).await
}

async fn timed_out(scene: &Scene<'_>) -> TrialResult {
    let (probe, owner) = begin(scene, deaf).await?;
    // The kit does not leave the abort to the last handle, so that is kept.
    let _last_handle = match owner {
        Owner::Pattern(manager) => {
            let ended = match scene.case() {
                "deaf-aborted" => manager.shutdown_or_abort(LIMIT).await,
                _ => manager.shutdown_within(LIMIT).await,
            };
            scene.check("the limit passes", ended.is_err());
            None
        }
        Owner::Kit(task) => {
            abort_at(LIMIT, &task, scene).await?;
            Some(task)
        }
    };
    look(scene, &probe).await
}
