//! # 41 · second caller
//!
//! `shutdown()` may be called twice, says the write-up of the *graceful-with-fallback* pattern, and
//! on every clone: the second call is a no-op (claim D2). What is a second caller told? When
//! `shutdown().await` returns, it takes the task to have ended, and goes on to close what the task
//! was using.
//!
//! That holds as long as the first caller sees it through. But a future can be dropped while it is
//! pending: a limit passes, a `select!` goes the other way, the task that awaits it is aborted. The
//! pattern raises its flag first and awaits afterwards. A first caller who is dropped half-way leaves
//! the flag raised, and the second one returns at once, with the task still running.
//!
//! The task of this experiment needs a while to end: told to stop, it goes on until it is let go. Of
//! two callers the first calls and
//!
//! - `…/sees-it-through`: gets its answer, or
//! - `…/gives-up`: is dropped while pending, and
//! - `…/gives-up-clone`: the same, the second caller having another clone.
//!
//! Then the second one calls, is polled once, and if that gives it an answer the task is asked
//! whether it runs. Only then it is let go, and a second caller who had no answer yet waits for that.
//! A trial fails where it was answered while the task ran.

use std::{future::Future, pin::pin, process::ExitCode};

use experiments::{
    control, cure, hazard,
    pattern::Manager,
    poll_once,
    probe::{Probe, Responder, probe},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, every,
};
use sundown::task::BackgroundTask;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Has the task ended when a second caller's shutdown returns?")
        .hypothesis(
            "In the pattern only if the first caller saw it through: after one that was dropped \
             half-way the second returns at once, with the task still running. In the kit, always.",
        )
        .variants([
            control("pattern/sees-it-through", |trial| {
                pattern(trial, First::SeesItThrough, Second::SameHandle)
            })
            .about("the first caller waits for the end"),
            control("pattern/sees-it-through-clone", |trial| {
                pattern(trial, First::SeesItThrough, Second::Clone)
            })
            .about("the first caller waits for the end; the second has a clone"),
            hazard("pattern/gives-up", Failed, |trial| {
                pattern(trial, First::GivesUp, Second::SameHandle)
            })
            .about("the first caller's future is dropped while pending"),
            hazard("pattern/gives-up-clone", Failed, |trial| {
                pattern(trial, First::GivesUp, Second::Clone)
            })
            .about("the first caller's future is dropped while pending; the second has a clone"),
            cure("kit/sees-it-through", |trial| {
                kit(trial, First::SeesItThrough, Second::SameHandle)
            })
            .about("BackgroundTask; the first caller waits for the end"),
            cure("kit/gives-up", |trial| kit(trial, First::GivesUp, Second::SameHandle))
                .about("BackgroundTask; the first caller's future is dropped while pending"),
            cure("kit/gives-up-clone", |trial| kit(trial, First::GivesUp, Second::Clone))
                .about("BackgroundTask; the same, and the second has a clone"),
        ])
        .claim("D2", "Shutdown is idempotent, on clones too: a second call is a harmless no-op.")
        .supported_if(every("pattern/*").is(Clean))
        .refuted_if(
            every("pattern/gives-up*").observed("answered_while_running").always_reads("true"),
        )
        .run()
}

/// What the first caller does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    SeesItThrough,
    GivesUp,
}

/// Which handle the second caller has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    SameHandle,
    Clone,
}

/// One thread: while the trial looks, no task moves, and a question is answered in its turn.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().build()
}

/// Runs until it is told to stop, and then until it is let go.
async fn reluctant<S: Future>(stop: S, let_go: oneshot::Receiver<()>, mut responder: Responder) {
    tokio::select! {
        _ = stop => {}
        () = responder.answer() => {}
    }
    tokio::select! {
        _ = let_go => {}
        () = responder.answer() => {}
    }
}

fn pattern(trial: &Trial<'_>, first: First, second: Second) -> TrialResult {
    one_thread()?.block_on(async {
        let ((probe, responder), (let_go, is_let_go)) = (probe(), oneshot::channel());
        let manager = Manager::spawn(|signal| reluctant(signal, is_let_go, responder));
        let other = manager.clone();
        let for_second = if second == Second::Clone { &other } else { &manager };
        two_callers(trial, &probe, first, let_go, manager.shutdown(), for_second.shutdown()).await
    })
}

fn kit(trial: &Trial<'_>, first: First, second: Second) -> TrialResult {
    one_thread()?.block_on(async {
        let ((probe, responder), (let_go, is_let_go)) = (probe(), oneshot::channel());
        let task =
            BackgroundTask::spawn("reluctant", |stop| reluctant(stop, is_let_go, responder))?;
        let other = task.clone();
        let for_second = if second == Second::Clone { &other } else { &task };
        two_callers(trial, &probe, first, let_go, task.shutdown(), for_second.shutdown()).await
    })
}

async fn two_callers(
    trial: &Trial<'_>,
    probe: &Probe,
    first: First,
    let_go: oneshot::Sender<()>,
    first_call: impl Future,
    second_call: impl Future,
) -> TrialResult {
    trial.check("the task has begun", probe.is_running().await);
    let mut let_go = Some(let_go);
    {
        let mut first_call = pin!(first_call);
        let answer = poll_once(first_call.as_mut()).await;
        trial.check("the first caller has to wait", answer.is_pending());
        if first == First::SeesItThrough {
            let_go.take();
            first_call.await;
        }
    }
    let mut second_call = pin!(second_call);
    let answer = poll_once(second_call.as_mut()).await;
    let running = probe.is_running().await;
    let answered_while_running = answer.is_ready() && running;
    trial.record("answered_while_running", answered_while_running);
    trial.check("the second caller is answered when the task has ended", !answered_while_running);

    let_go.take();
    if answer.is_pending() {
        second_call.await;
        trial.check("the task has ended", probe.has_ended());
    }
    // A task that was left running ends all the same, before the trial does.
    probe.ended().await;
    Ok(())
}
