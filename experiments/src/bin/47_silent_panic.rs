//! 47 silent panic: who notices that a background task has panicked, or that nobody shuts it down? With
//! the *graceful-with-fallback* pattern nobody is told of the panic, and a test that forgot the
//! shutdown ends all the same (claim D8). Page: `docs/src/47-silent-panic.md`.

use std::panic::resume_unwind;

use experiments::{
    pattern::{Manager, lines_logged},
    prelude::*,
    probe::{Responder, on_one_thread, one_thread, probe},
    scene::Body,
};
use sundown::{shutdown::ShutdownErrorKind, task::BackgroundTask};
use tokio::{runtime::Handle, task::yield_now};

/// For what hangs: a moment, because it cannot end at all. Its twins have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(600);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Who notices that a background task has panicked, or that nobody shuts it down?")
        .hypothesis(
            "The pattern's owner learns nothing of the panic, not even from `shutdown()`. A test \
             that waits for the end of a leaked task hangs; where a destructor aborts the task, \
             the test ends. The kit's shutdown returns the panic.",
        )
        .variants([
            hazard("panic/pattern", Failed, on_one_thread(panic_in_pattern))
                .about("the loop panics; what the pattern tells its owner"),
            cure("panic/kit", on_one_thread(panic_in_kit))
                .about("the loop panics; what BackgroundTask tells its owner"),
            hang("end-of-test/leaked", end_of_test(leaked))
                .about("a test waits for the end of a task that was leaked")
                .deadline(DEADLINE),
            control("end-of-test/pattern", end_of_test(in_pattern))
                .about("the same with the pattern, dropped without a shutdown"),
            cure("end-of-test/kit", end_of_test(in_kit))
                .about("the same with BackgroundTask, dropped without a shutdown"),
            control("end-of-runtime/leaked", end_of_runtime)
                .about("a test that does not wait: its runtime is dropped with the leaked task"),
        ])
        .claim(
            "D8",
            "A panic in the loop ends the task silently. Aborting in the destructor keeps a test \
             that forgot the shutdown from hanging.",
        )
        .supported_if(
            every("panic/pattern").observed("logged_before_shutdown").always_at_most(0)
                & every("panic/pattern").observed("owner_learns").always_reads("nothing")
                & every("end-of-test/leaked").is(Hung)
                & every("end-of-test/pattern").is(Clean),
        )
        .refuted_if(
            every("panic/pattern").observed("owner_learns").never_reads("nothing")
                | every("end-of-test/leaked").is(Clean)
                | every("end-of-test/pattern").is(Hung),
        )
        .run()
}

/// Panics when it is first asked: without the panic hook, because the harness would count the panic,
/// and here the outcome is to say what the owner was told.
async fn broken(mut responder: Responder) {
    responder.until(yield_now()).await;
    resume_unwind(Box::new("row 3 is broken"))
}

async fn panic_in_pattern(scene: &Scene<'_>) -> TrialResult {
    let (probe, responder) = probe();
    let manager = Manager::spawn(|_| broken(responder));
    probe.ended().await;
    scene.record("logged_before_shutdown", lines_logged());

    // There is nothing but this to ask. An answer without a size is the same whatever happened.
    let told = size_of_val(&manager.shutdown().await) > 0;
    scene.record("logged_by_shutdown", lines_logged());
    scene.record("owner_learns", if told { "something" } else { "nothing" });
    scene.check("the owner is told of the panic", told);
    Ok(())
}

async fn panic_in_kit(scene: &Scene<'_>) -> TrialResult {
    let (probe, responder) = probe();
    let task = BackgroundTask::spawn("writer", |_| broken(responder))?;
    probe.ended().await;

    let message = match task.shutdown().await.map_err(|error| error.kind) {
        Err(ShutdownErrorKind::Panicked(panicked)) => {
            panicked.into_iter().map(|panicked| panicked.message).collect()
        }
        _ => "nothing".to_owned(),
    };
    scene.check("the owner is told of the panic", message == "row 3 is broken");
    scene.record("owner_learns", message);
    Ok(())
}

fn leaked(mut task: Responder) -> impl Send {
    tokio::spawn(async move { task.answer().await })
}

fn in_pattern(mut task: Responder) -> impl Send {
    Manager::spawn(|signal| async move { task.until(signal).await })
}

fn in_kit(mut task: Responder) -> impl Send {
    let work = |stop| async move { task.until(stop).await };
    BackgroundTask::spawn_on(&Handle::current(), "answering", work)
}

/// A test that forgot to shut its task down, and waits for the end of it: as one does that looks at
/// what the task has left behind.
fn end_of_test<Owner>(own: impl Fn(Responder) -> Owner + Send + Sync + 'static) -> impl Body {
    on_one_thread(async move |scene| {
        let (probe, responder) = probe();
        let owner = own(responder);
        scene.record("begun", probe.is_running().await);
        drop(owner);
        probe.ended().await;
        Ok(())
    })
}

fn end_of_runtime(scene: &Scene<'_>) -> TrialResult {
    let (probe, responder) = probe();
    let runtime = one_thread()?;
    let owner = runtime.block_on(async { leaked(responder) });
    scene.record("begun", runtime.block_on(probe.is_running()));
    drop(owner);
    drop(runtime);
    scene.check("the task has ended", probe.has_ended());
    Ok(())
}
