//! 47 silent panic: who notices that a background task has panicked, or that nobody shuts it down? With
//! the *graceful-with-fallback* pattern nobody is told of the panic, and a test that forgot the
//! shutdown ends all the same (claim D8). Page: `docs/src/47-silent-panic.md`.

use std::{error::Error, future::Future, panic::resume_unwind, process::ExitCode, time::Duration};

use experiments::{
    Scene, control, cure, hazard,
    pattern::{self, Manager, Signal},
    probe::{Responder, probe},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    TrialResult, every,
};
use sundown::{shutdown::ShutdownErrorKind, stop::Stop, task::BackgroundTask};
use tokio::runtime::{Builder, Runtime};

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
            hazard("panic/pattern", Failed, panic_in_pattern)
                .about("the loop panics; what the pattern tells its owner"),
            cure("panic/kit", panic_in_kit)
                .about("the loop panics; what BackgroundTask tells its owner"),
            hazard("end-of-test/leaked", Hung, |scene| end_of_test(scene, leaked))
                .about("a test waits for the end of a task that was leaked")
                .deadline(DEADLINE)
                .trials(5),
            control("end-of-test/pattern", |scene| end_of_test(scene, in_pattern))
                .about("the same with the pattern, dropped without a shutdown"),
            cure("end-of-test/kit", |scene| end_of_test(scene, in_kit))
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

/// One thread: while the trial looks no task moves, and a question is answered in its turn.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().build()
}

/// Panics when it is first asked: without the panic hook, because the harness would count the panic,
/// and here the outcome is to say what the owner was told.
async fn broken(mut responder: Responder) {
    tokio::select! {
        biased;
        () = tokio::task::yield_now() => resume_unwind(Box::new("row 3 is broken")),
        () = responder.answer() => {}
    }
}

fn panic_in_pattern(scene: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let manager = Manager::spawn(|_: Signal| broken(responder));
        probe.ended().await;
        scene.record("logged_before_shutdown", pattern::log().len());

        // There is nothing but this to ask.
        let told = size_of_answer(manager.shutdown()).await > 0;
        scene.record("logged_by_shutdown", pattern::log().len());
        scene.record("owner_learns", if told { "something" } else { "nothing" });
        scene.check("the owner is told of the panic", told);
        Ok(())
    })
}

/// An answer without a size is the same whatever happened.
async fn size_of_answer<F: Future>(question: F) -> usize {
    question.await;
    size_of::<F::Output>()
}

fn panic_in_kit(scene: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let task = BackgroundTask::spawn("writer", |_: Stop| broken(responder))?;
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
    })
}

/// The owner of a task, in a test that forgot to shut it down.
type Owner = Box<dyn Send>;

fn leaked(mut task: Responder) -> Result<Owner, Box<dyn Error>> {
    Ok(Box::new(tokio::spawn(async move { task.answer().await })))
}

fn in_pattern(task: Responder) -> Result<Owner, Box<dyn Error>> {
    Ok(Box::new(Manager::spawn(|signal| until(signal, task))))
}

fn in_kit(task: Responder) -> Result<Owner, Box<dyn Error>> {
    Ok(Box::new(BackgroundTask::spawn("answering", |stop| until(stop, task))?))
}

async fn until<S: Future>(stop: S, mut task: Responder) {
    tokio::select! {
        _ = stop => {}
        () = task.answer() => {}
    }
}

fn end_of_test(
    scene: &Scene<'_>,
    own: fn(Responder) -> Result<Owner, Box<dyn Error>>,
) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let owner = own(responder)?;
        scene.record("begun", probe.is_running().await);
        drop(owner);
        // As a test does that looks at what the task has left behind.
        probe.ended().await;
        Ok(())
    })
}

fn end_of_runtime(scene: &Scene<'_>) -> TrialResult {
    let (probe, responder) = probe();
    let runtime = one_thread()?;
    let owner = runtime.block_on(async { leaked(responder) })?;
    scene.record("begun", runtime.block_on(probe.is_running()));
    drop(owner);
    drop(runtime);
    scene.check("the task has ended", probe.has_ended());
    Ok(())
}
