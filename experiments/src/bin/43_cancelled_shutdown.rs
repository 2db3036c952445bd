//! # 43 · cancelled shutdown
//!
//! The *graceful-with-fallback* pattern has a safety net: where `shutdown()` was not called, the
//! destructor aborts, so that "the task always stops" (claim D4). Whether it was called, a flag
//! tells, and `shutdown()` raises that flag before it awaits anything.
//!
//! So a `shutdown()` that is dropped half-way disarms the net. The flag says that all went well; the
//! handle by which the task could be aborted was taken out, and went with the future. A task that
//! heeds its signal ends all the same, because the signal was sent before the wait. One that is *deaf*
//! to it (its signal is polled nowhere: it is in the middle of something, or has a bug) runs on with
//! no owner at all. To catch such a task is what the net was for.
//!
//! - `pattern/deaf-forgotten`: no shutdown; the net holds.
//! - `pattern/heeding`: a shutdown dropped half-way, and a task that heeds its signal.
//! - `pattern/deaf`: a shutdown dropped half-way, and a deaf task.
//! - `pattern/deaf-timed-out`: the same by the limit that the write-up proposes as an extension,
//!   `tokio::time::timeout` around the task's handle. When it passes the handle is dropped, and a
//!   Tokio task whose handle is dropped goes on.
//! - `kit/…`: the same with `BackgroundTask`.
//!
//! Afterwards the last owner is dropped, and the task is asked whether it runs. A trial fails where
//! it does.

use std::{future::pending, pin::pin, process::ExitCode, time::Duration};

use experiments::{
    Scene, control, cure, hazard,
    pattern::{Manager, Signal},
    poll_once,
    probe::{Probe, Responder, probe},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, every,
};
use sundown::{stop::Stop, task::BackgroundTask};
use tokio::runtime::{Builder, Runtime};

/// A limit that a deaf task outlasts, whatever it is.
const LIMIT: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does the task always stop, when a shutdown of it was begun and dropped?")
        .hypothesis(
            "In the pattern a dropped shutdown disarms the fallback: a task deaf to its signal \
             then runs without an owner. In the kit the last handle aborts it.",
        )
        .variants([
            control("pattern/deaf-forgotten", pattern_deaf_forgotten)
                .about("a deaf task, dropped without a shutdown"),
            control("pattern/heeding", pattern_heeding)
                .about("a task that heeds its signal; the shutdown is dropped while pending"),
            hazard("pattern/deaf", Failed, pattern_deaf)
                .about("a deaf task; the shutdown is dropped while pending"),
            hazard("pattern/deaf-timed-out", Failed, pattern_deaf_timed_out)
                .about("a deaf task; the limit around its handle passes"),
            cure("kit/deaf-forgotten", kit_deaf_forgotten)
                .about("BackgroundTask, deaf, dropped without a shutdown"),
            cure("kit/deaf", kit_deaf)
                .about("BackgroundTask, deaf; the shutdown is dropped while pending"),
            cure("kit/deaf-timed-out", kit_deaf_timed_out)
                .about("BackgroundTask, deaf; the limit of shutdown_within passes"),
        ])
        .claim("D4", "The fallback prevents leaks: the task always stops.")
        .supported_if(every("pattern/*").is(Clean))
        .refuted_if(every("pattern/deaf").observed("still_running").always_reads("true"))
        .run()
}

/// One thread: while the trial looks, no task moves, and a question is answered in its turn.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Has its signal and never looks at it.
async fn deaf<S>(signal: S, mut responder: Responder) {
    let _never_polled = signal;
    responder.answer().await;
    pending().await
}

/// Looks at its signal first: it does not answer a question in passing, on its way out.
async fn heeding(signal: Signal, mut responder: Responder) {
    tokio::select! {
        biased;
        _ = signal => {}
        () = responder.answer() => {}
    }
}

/// The last owner is gone: does the task run?
async fn look(trial: &Trial<'_>, probe: &Probe) -> TrialResult {
    let still_running = probe.is_running().await;
    trial.record("still_running", still_running);
    trial.check("the task has ended", !still_running);
    Ok(())
}

fn pattern_deaf_forgotten(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let manager = Manager::spawn(|signal| deaf(signal, responder));
        trial.check("the task has begun", probe.is_running().await);

        drop(manager);
        look(trial, &probe).await
    })
}

fn pattern_heeding(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let manager = Manager::spawn(|signal| heeding(signal, responder));
        trial.check("the task has begun", probe.is_running().await);

        let first_poll = poll_once(pin!(manager.shutdown())).await;
        trial.check("the shutdown is dropped while pending", first_poll.is_pending());
        drop(manager);
        look(trial, &probe).await
    })
}

fn pattern_deaf(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let manager = Manager::spawn(|signal| deaf(signal, responder));
        trial.check("the task has begun", probe.is_running().await);

        let first_poll = poll_once(pin!(manager.shutdown())).await;
        trial.check("the shutdown is dropped while pending", first_poll.is_pending());
        drop(manager);
        look(trial, &probe).await
    })
}

fn pattern_deaf_timed_out(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let manager = Manager::spawn(|signal| deaf(signal, responder));
        trial.check("the task has begun", probe.is_running().await);

        trial.check("the limit passes", manager.shutdown_within(LIMIT).await.is_err());
        drop(manager);
        look(trial, &probe).await
    })
}

fn kit_deaf_forgotten(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let task = BackgroundTask::spawn("deaf", |stop: Stop| deaf(stop, responder))?;
        trial.check("the task has begun", probe.is_running().await);

        drop(task);
        look(trial, &probe).await
    })
}

fn kit_deaf(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let task = BackgroundTask::spawn("deaf", |stop: Stop| deaf(stop, responder))?;
        trial.check("the task has begun", probe.is_running().await);

        let first_poll = poll_once(pin!(task.shutdown())).await;
        trial.check("the shutdown is dropped while pending", first_poll.is_pending());
        trial.check("the task is deaf", probe.is_running().await);
        drop(task);
        look(trial, &probe).await
    })
}

/// Here the abort is not left to the last handle: the answer says that it was needed.
fn kit_deaf_timed_out(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let task = BackgroundTask::spawn("deaf", |stop: Stop| deaf(stop, responder))?;
        trial.check("the task has begun", probe.is_running().await);

        // The abort is told within the limit. On a busy machine it may take effect after it, and
        // then this is an error: so the end is waited for.
        let _ = task.shutdown_within(LIMIT).await;
        let report = task.shutdown().await?;
        trial.record("aborted", report.aborted);
        look(trial, &probe).await
    })
}
