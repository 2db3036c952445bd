//! 47 silent panic: who notices that a background task has panicked, or that nobody shuts it down? With
//! the *graceful-with-fallback* pattern the owner is told nothing, standard error is; and does its abort
//! keep a test that forgot the shutdown from hanging (claim D8)? Page: `docs/src/47-silent-panic.md`.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicUsize, Ordering},
};

use experiments::{
    pattern::{Manager, logged},
    prelude::*,
    probe::{Responder, on_one_thread, one_thread, probe},
    scene::Body,
};
use sundown::task::BackgroundTask;
use tokio::{runtime::Handle, task::yield_now};

/// For what hangs: a moment, because it cannot end at all. Its twins have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(600);

/// What the panic says.
const MESSAGE: &str = "row 3 is broken";

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Who notices that a background task has panicked, or that nobody shuts it down?")
        .hypothesis(
            "The panic hook does, on standard error. The pattern's owner learns nothing of the \
             panic, not even from what `shutdown()` returns; its log has it then. A test that waits \
             for the end of a leaked task hangs; where a destructor aborts the task, the test ends. A \
             test that does not wait ends either way. The kit's shutdown returns the panic.",
        )
        .first_expected(
            "The pattern's owner learns nothing of the panic, not even from `shutdown()`. A test that \
             waits for the end of a leaked task hangs; where a destructor aborts the task, the test \
             ends. The kit's shutdown returns the panic.",
        )
        .variants([
            hazard("panic/pattern", Failed, panic_of_the_loop)
                .about("the loop panics; what the pattern tells its owner"),
            cure("panic/kit", panic_of_the_loop)
                .about("the loop panics; what BackgroundTask tells its owner"),
            control("error/pattern", on_one_thread(error_in_the_loop))
                .about("an error in the loop, which handles it as the write-up says"),
            hang("end-of-test/leaked", end_of_test(leaked))
                .about("a test waits for the end of a task that was leaked")
                .deadline(DEADLINE),
            control("end-of-test/pattern", end_of_test(in_pattern))
                .about("the same with the pattern, dropped without a shutdown"),
            cure("end-of-test/kit", end_of_test(in_kit))
                .about("the same with BackgroundTask, dropped without a shutdown"),
            control("end-of-runtime/leaked", end_of_runtime(leaked))
                .about("a test that does not wait: its runtime is dropped with the leaked task"),
            control("end-of-runtime/pattern", end_of_runtime(in_pattern))
                .about("the same with the pattern, dropped without a shutdown"),
        ])
        .part("panics", panics)
        .keeps("owner_learns", [])
        .keeps("stderr_has_it", [])
        .keeps("log_has_it_before", [])
        .keeps("log_has_it_after", [])
        .keeps("ends_the_task", [])
        .claim("D8a", "An abort in the destructor keeps a test that waits for the task from hanging.")
        .supported_if(
            every("end-of-test/leaked").is(Hung)
                & every("end-of-test/leaked").observed("begun").always_reads("true")
                & every("end-of-test/pattern").is(Clean),
        )
        .refuted_if(every("end-of-test/leaked").is(Clean) | every("end-of-test/pattern").is(Hung))
        .claim("D8b", "An abort in the destructor keeps a test that only forgot the shutdown from hanging.")
        .supported_if(
            every("end-of-runtime/leaked").is(Hung) & every("end-of-runtime/pattern").is(Clean),
        )
        .refuted_if(
            every("end-of-runtime/leaked").is(Clean) | every("end-of-runtime/pattern").is(Hung),
        )
        .claim("D11", "A panic in the loop ends the task; an error that is handled does not.")
        .supported_if(
            every("panic/pattern").observed("ends_the_task").always_reads("true")
                & every("error/pattern").observed("ends_the_task").always_reads("false"),
        )
        .refuted_if(
            every("panic/pattern").is(Hung)
                | every("error/pattern").observed("ends_the_task").always_reads("true"),
        )
        .finding(
            "D8c",
            "Of a panic in the loop the owner of the pattern learns nothing. Standard error has it, and \
             from the shutdown on the pattern's log.",
        )
        .supported_if(
            every("panic/pattern").observed("owner_learns").always_reads("false")
                & every("panic/pattern").observed("log_has_it_before").always_reads("false")
                & every("panic/pattern").observed("log_has_it_after").always_reads("true")
                & every("panic/pattern").observed("stderr_has_it").always_reads("true"),
        )
        .refuted_if(
            every("panic/pattern").observed("owner_learns").always_reads("true")
                | every("panic/pattern").observed("log_has_it_before").always_reads("true")
                | every("panic/pattern").observed("stderr_has_it").always_reads("false"),
        )
        .run()
}

/// Has the loop panic in a process of its own, with the standard library's panic hook, and looks at
/// everything that this process says.
fn panic_of_the_loop(scene: &Scene<'_>) -> TrialResult {
    let ended = scene.part("panics")?.arg(scene.case()).output()?;
    scene.check("the process ended well", ended.status.success());
    scene.record("stderr_has_it", String::from_utf8_lossy(&ended.stderr).contains(MESSAGE));
    for line in String::from_utf8(ended.stdout)?.lines() {
        let (name, flag) = line.split_once(' ').ok_or("a line without a flag")?;
        scene.record(name, flag == "true");
        scene.check("the owner is told of the panic", name != "owner_learns" || flag == "true");
    }
    Ok(())
}

/// The twin of a panic: the loop handles its error, and goes on until it is told to stop.
async fn error_in_the_loop(scene: &Scene<'_>) -> TrialResult {
    let ((probe, mut responder), failed) = (probe(), Arc::new(AtomicUsize::new(0)));
    let errors = Arc::clone(&failed);
    let manager = Manager::spawn(|signal| async move {
        responder.until(yield_now()).await;
        if "row 3".parse::<u32>().is_err() {
            errors.fetch_add(1, Ordering::Relaxed);
        }
        responder.until(signal).await;
    });
    while failed.load(Ordering::Relaxed) == 0 {
        yield_now().await;
    }
    let goes_on = probe.is_running().await;
    scene.record("ends_the_task", !goes_on);
    scene.check("the task goes on", goes_on);
    manager.shutdown().await;
    Ok(())
}

/// Prints what the owner of a task learns, and what the pattern's log has, before and after a shutdown.
/// The owner learns of the panic if the answer differs from that of a task which ended by itself.
fn panics(arguments: &[String]) -> TrialResult {
    let [owner] = arguments else { return Err("no owner".into()) };
    one_thread()?.block_on(async {
        let (of_an_end, _) = shut_down(owner, false).await?;
        let (of_a_panic, log_has_it_before) = shut_down(owner, true).await?;
        // Otherwise the wait for its end has not returned.
        println!("ends_the_task true");
        println!("owner_learns {}", of_a_panic != of_an_end);
        println!("log_has_it_before {log_has_it_before}");
        println!("log_has_it_after {}", log_has_it());
        Ok(())
    })
}

fn log_has_it() -> bool {
    logged().iter().any(|line| line.contains(MESSAGE))
}

/// The answer of a shutdown after the task has ended, and whether the log had the panic before that.
#[expect(clippy::panic, reason = "what the experiment is about")]
async fn shut_down(owner: &str, breaks: bool) -> TrialResult<(String, bool)> {
    let (probe, mut responder) = probe();
    let work = async move {
        responder.until(yield_now()).await;
        if breaks {
            panic!("{MESSAGE}");
        }
    };
    if owner == "kit" {
        let task = BackgroundTask::spawn("writer", |_| work)?;
        probe.ended().await;
        let before = log_has_it();
        let returned = async { task.shutdown().await.map(drop).map_err(|it| it.to_string()) };
        return Ok((answer(returned).await, before));
    }
    let manager = Manager::spawn(|_| work);
    probe.ended().await;
    let before = log_has_it();
    Ok((answer(manager.shutdown()).await, before))
}

/// Whatever a shutdown returns, as text.
async fn answer<T: Debug>(shutdown: impl Future<Output = T>) -> String {
    format!("{:?}", shutdown.await)
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

/// A test that forgot to shut its task down, and does not wait for it: as every `#[tokio::test]`, it drops
/// its runtime when it returns.
fn end_of_runtime<Owner>(own: impl Fn(Responder) -> Owner + Send + Sync + 'static) -> impl Body {
    move |scene: &Scene<'_>| {
        let (probe, responder) = probe();
        let runtime = one_thread()?;
        let owner = runtime.block_on(async { own(responder) });
        scene.record("begun", runtime.block_on(probe.is_running()));
        drop(owner);
        drop(runtime);
        scene.check("the task has ended", probe.has_ended());
        Ok(())
    }
}
