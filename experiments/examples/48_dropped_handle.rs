//! 48 dropped handle: does dropping the handle of a task stop the task, as dropping a future stops a
//! future? No. (The experiment of the chapter *Writing an experiment*: an example, which a test runs.)
//! Page: `docs/src/48-dropped-handle.md`, once you have written it.

use std::{future::pending, pin::Pin};

use experiments::prelude::*;
use sundown::{oneshot, task::BackgroundTask};
use tokio::runtime::Handle;

/// How long a trial waits for the end of the task. If the end comes, it comes at once; if it does not,
/// a longer wait would not help.
const MOMENT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does dropping the handle of a task stop the task?")
        .hypothesis("No: the task runs on without an owner, unless somebody aborts it.")
        .variants([
            hazard("dropped", Failed, |scene| {
                let_go(scene, |runtime, work| drop(runtime.spawn(work)))
            })
            .about("tokio::spawn, and its handle is dropped"),
            control("aborted", |scene| let_go(scene, |runtime, work| runtime.spawn(work).abort()))
                .about("the same, but the task is aborted"),
            cure("kit/dropped", |scene| {
                let_go(scene, |runtime, work| {
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
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns a task that owns a sender, lets go of the task, and waits until the receiver learns that the
/// sender is gone: then the future has been dropped, and the task is over.
fn let_go(scene: &Scene<'_>, spawn: impl FnOnce(&Handle, Work)) -> TrialResult {
    let runtime = runtime()?;
    let (owned, mut gone) = oneshot::channel::<()>();
    let work: Work = Box::pin(async move {
        let _owned = owned;
        pending::<()>().await;
    });
    spawn(runtime.handle(), work);
    let over = matches!(gone.wait_blocking(MOMENT), Err(oneshot::WaitError::Abandoned(_)));
    scene.record("over", over);
    scene.check("the task is over", over);
    Ok(())
}
