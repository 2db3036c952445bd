//! # 47 · dropped handle
//!
//! `tokio::spawn` returns a handle. Does dropping it stop the task, as dropping a future stops a
//! future?
//!
//! In each variant a task waits for ever, and owns a sender. The trial lets go of the task, and
//! waits for a moment for what a receiver is told when the sender has gone: the future has been
//! dropped, and the task is over. Where that does not come, the task is still there.
//!
//! (This is the experiment of the chapter *Writing an experiment*. It is an example and not among
//! the experiments; a test runs it all the same.)

use std::{future::pending, process::ExitCode, time::Duration};

use experiments::{control, cure, hazard};
use lab::{Experiment, Outcome::Failed, Trial, TrialResult, every};
use sundown::{oneshot, task::BackgroundTask};
use tokio::runtime::Handle;

/// How long the trial waits for the end of the task. Where it comes it comes at once, and where it
/// does not, waiting longer would not help.
const MOMENT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does dropping the handle of a task stop the task?")
        .hypothesis("No: the task runs on without an owner, unless somebody aborts it.")
        .variants([
            hazard("dropped", Failed, |trial| {
                let_go(trial, |runtime, work| drop(runtime.spawn(work)))
            })
            .about("tokio::spawn, and its handle is dropped"),
            control("aborted", |trial| let_go(trial, |runtime, work| runtime.spawn(work).abort()))
                .about("the same, but the task is aborted"),
            cure("kit/dropped", |trial| {
                let_go(trial, |runtime, work| {
                    drop(BackgroundTask::spawn_on(runtime, "waiting", |_stop| work));
                })
            })
            .about("BackgroundTask, and its last handle is dropped"),
        ])
        .claim("Z1", "A task ends when its handle is dropped.")
        .supported_if(every("dropped").observed("over").always_reads("true"))
        .refuted_if(every("dropped").observed("over").never_reads("true"))
        .kit_claim("When the last handle of a background task is dropped, the task ends.")
        .run()
}

/// Work that waits for ever.
type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn let_go(trial: &Trial<'_>, spawn: impl FnOnce(&Handle, Work)) -> TrialResult {
    let runtime = experiments::runtime()?;
    let (owned, mut gone) = oneshot::channel::<()>();
    let work: Work = Box::pin(async move {
        let _owned = owned;
        pending::<()>().await;
    });
    spawn(runtime.handle(), work);
    let over = matches!(gone.wait_blocking(MOMENT), Err(oneshot::WaitError::Abandoned(_)));
    trial.record("over", over);
    trial.check("the task is over", over);
    Ok(())
}
