//! 43 cancelled shutdown: does the pattern's fallback always stop the task (claim D4)? Not after a
//! shutdown that was begun and dropped: it disarms the fallback, and a task deaf to its signal runs
//! on without an owner. Page: `docs/src/43-cancelled-shutdown.md`.

use std::{
    future::{Future, pending},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use experiments::{
    Scene, control, cure, hazard,
    pattern::{Owner, StopSignal},
    poll_once,
    probe::{Probe, Responder, one_thread, probe},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    TrialResult, every,
};

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
            control("pattern/deaf-forgotten", forgotten)
                .about("a deaf task, dropped without a shutdown"),
            control("pattern/heeding", |scene| begun_and_dropped(scene, heeding))
                .about("a task that heeds its signal; the shutdown is dropped while pending"),
            hazard("pattern/deaf", Failed, |scene| begun_and_dropped(scene, deaf))
                .about("a deaf task; the shutdown is dropped while pending"),
            hazard("pattern/deaf-timed-out", Failed, timed_out)
                .about("a deaf task; the limit around its handle passes"),
            cure("kit/deaf-forgotten", forgotten)
                .about("BackgroundTask, deaf, dropped without a shutdown"),
            cure("kit/deaf", |scene| begun_and_dropped(scene, deaf))
                .about("BackgroundTask, deaf; the shutdown is dropped while pending"),
            cure("kit/deaf-timed-out", timed_out)
                .about("BackgroundTask, deaf; the limit of shutdown_within passes"),
        ])
        .claim("D4", "The fallback prevents leaks: the task always stops.")
        .supported_if(every("pattern/*").is(Clean))
        .refuted_if(every("pattern/deaf").observed("still_running").always_reads("true"))
        .run()
}

/// Has its signal and never polls it.
async fn deaf(stop: StopSignal, mut responder: Responder) {
    let _never_polled = stop;
    responder.answer().await;
    pending().await
}

/// Polls its signal first, so that it does not answer a question on its way out.
async fn heeding(stop: StopSignal, mut responder: Responder) {
    tokio::select! {
        biased;
        () = stop => {}
        () = responder.answer() => {}
    }
}

/// Spawns the task and waits until it has begun.
async fn begin<F>(
    scene: &Scene<'_>,
    task: fn(StopSignal, Responder) -> F,
) -> Result<(Probe, Owner), Box<dyn std::error::Error>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (probe, responder) = probe();
    let owner = Owner::spawn(scene, "deaf", move |stop| task(stop, responder))?;
    scene.check("the task has begun", probe.is_running().await);
    Ok((probe, owner))
}

async fn look(scene: &Scene<'_>, probe: &Probe) {
    let still_running = probe.is_running().await;
    scene.record("still_running", still_running);
    scene.check("the task has ended", !still_running);
}

fn forgotten(scene: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, owner) = begin(scene, deaf).await?;
        drop(owner);
        look(scene, &probe).await;
        Ok(())
    })
}

fn begun_and_dropped<F>(scene: &Scene<'_>, task: fn(StopSignal, Responder) -> F) -> TrialResult
where
    F: Future<Output = ()> + Send + 'static,
{
    one_thread()?.block_on(async {
        let (probe, owner) = begin(scene, task).await?;
        let first_poll = poll_once(pin!(owner.shutdown())).await;
        scene.check("the shutdown is dropped while pending", first_poll.is_pending());
        if matches!(owner, Owner::Kit(_)) {
            scene.check("the task is deaf", probe.is_running().await);
        }
        drop(owner);
        look(scene, &probe).await;
        Ok(())
    })
}

fn timed_out(scene: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, owner) = begin(scene, deaf).await?;
        match owner {
            Owner::Pattern(manager) => {
                scene.check("the limit passes", manager.shutdown_within(LIMIT).await.is_err());
                drop(manager);
                look(scene, &probe).await;
            }
            // The abort is not left to the last handle, so the task is looked at before that is
            // dropped.
            Owner::Kit(task) => {
                // The abort is ordered within the limit. On a busy machine it may take effect
                // later, and this is an error then: so wait for the end.
                let _ = task.shutdown_within(LIMIT).await;
                scene.record("aborted", task.shutdown().await?.aborted);
                look(scene, &probe).await;
            }
        }
        Ok(())
    })
}
