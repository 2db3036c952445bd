//! 44 abort latency: is an abort instant, and guaranteed to stop the task, as the pattern's
//! write-up claims (D5)? It takes effect when the task yields, and never on one that does not. The
//! kit cannot stop such a task either, but returns at its limit and names it. Page:
//! `docs/src/44-abort-latency.md`.

use std::{future::pending, time::Instant};

use experiments::{
    pattern::Owner,
    prelude::*,
    probe::{Stuck, Work, stuck},
};
use sundown::{
    shutdown::{ShutdownError, ShutdownErrorKind::TimedOut},
    task::BackgroundTask,
};
use tokio::runtime::Builder;

/// How long a trial looks at a task that only the trial can end.
const LOOK: Duration = Duration::from_millis(20);

/// The kit's limit, and when it must have returned, on a busy machine too.
const LIMIT: Duration = Duration::from_millis(20);
const AT_THE_LATEST: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Has a task been stopped when it has been aborted?")
        .hypothesis(
            "Only if it yields to its runtime. A task that does not yield runs on after an abort, \
             until it reaches an await by itself; the kit then returns at its limit and names it.",
        )
        .variants([
            control("pattern/waits", |scene| drop_the_owner(scene, PLENTY, wait))
                .about("the owner of a task that awaits is dropped"),
            control("pattern/yields", |scene| drop_the_owner(scene, PLENTY, yield_each_turn))
                .about("the owner of a busy task that yields in each turn is dropped"),
            hazard("pattern/never-yields", Failed, |scene| {
                drop_the_owner(scene, LOOK, never_yield)
            })
            .about("the owner of a task that does not yield is dropped"),
            hazard("blocking-closure", Failed, blocking_closure)
                .about("a closure on a blocking thread is aborted by its handle"),
            cure("kit/yields", |scene| drop_the_owner(scene, PLENTY, yield_each_turn))
                .about("the last handle of a busy BackgroundTask that yields is dropped"),
            cure("kit/never-yields", |scene| kit_never_yields(scene, runtime()?))
                .about("shutdown_within of a BackgroundTask that does not yield"),
            cure("kit/never-yields-one-thread", |scene| {
                kit_never_yields(scene, Builder::new_multi_thread().worker_threads(1).build()?)
            })
            .about("the same on a runtime with one worker, which the task holds, and no timer"),
        ])
        .keeps("stopped", [])
        .keeps("names", [])
        .claim("D5", "An abort is instant, under 1 ms, and guaranteed to stop the task.")
        .supported_if(
            every("pattern/*").is(Clean)
                & every("pattern/*").observed("latency").mostly_at_most(1_000_000),
        )
        .refuted_if(every("pattern/never-yields").observed("stopped").never_reads("true"))
        .claim("D4", "Dropped without a shutdown, the task always stops.")
        .supported_if(every("pattern/*").is(Clean))
        .refuted_if(every("pattern/never-yields").observed("stopped").never_reads("true"))
        .claim(
            "D10",
            "The fallback is safe in a `Drop`: it does not block, whatever the task does.",
        )
        .supported_if(
            every("pattern/never-yields").observed("returned_first").always_reads("true")
                & !every("pattern/*").is(Hung),
        )
        .refuted_if(
            every("pattern/never-yields").observed("returned_first").never_reads("true")
                | every("pattern/never-yields").is(Hung),
        )
        .run()
}

async fn wait(work: Work) {
    work.begin();
    pending().await
}

async fn yield_each_turn(work: Work) {
    work.begin();
    loop {
        tokio::task::yield_now().await;
    }
}

/// Reaches an await only after the trial has let it go.
async fn never_yield(work: Work) {
    work.block();
    pending().await
}

/// Aborts work, and waits this long for its end; then ends it.
fn look(scene: &Scene<'_>, stuck: &Stuck, patience: Duration, abort: impl FnOnce()) {
    let began = Instant::now();
    abort();
    if patience == LOOK {
        // What only the trial can end is still there, unless the call has waited for it.
        scene.record("returned_first", stuck.exists());
    }
    let stopped = stuck.ends_within(patience);
    if stopped {
        scene.record("latency", began.elapsed());
    }
    scene.record("stopped", stopped);
    scene.check("the task has ended", stopped);
    stuck.end();
}

fn drop_the_owner<F>(scene: &Scene<'_>, patience: Duration, task: fn(Work) -> F) -> TrialResult
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime()?;
    let _context = runtime.enter();
    let (stuck, work) = stuck();
    let owner = Owner::spawn(scene, "a task", move |_| task(work))?;
    stuck.wait_begun()?;
    look(scene, &stuck, patience, || drop(owner));
    Ok(())
}

fn blocking_closure(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let (stuck, work) = stuck();
    let closure = runtime.spawn_blocking(move || work.block());
    stuck.wait_begun()?;
    look(scene, &stuck, LOOK, || closure.abort());
    Ok(())
}

fn kit_never_yields(scene: &Scene<'_>, runtime: Runtime) -> TrialResult {
    let (stuck, work) = stuck();
    let task = BackgroundTask::spawn_on(runtime.handle(), "stuck", |_| never_yield(work));
    stuck.wait_begun()?;

    // The caller is on another executor, without a timer of its own.
    let began = Instant::now();
    let answer = block_on(task.shutdown_within(LIMIT));
    let returned_after = began.elapsed();
    scene.record("returned_after", returned_after);
    scene.check("it returns at its limit", (LIMIT..AT_THE_LATEST).contains(&returned_after));
    let names = match answer {
        Err(ShutdownError { kind: TimedOut, still_running, .. }) => {
            still_running.into_iter().map(|running| running.name).collect()
        }
        _ => "nobody".to_owned(),
    };
    scene.check("it names the task", names == "stuck");
    scene.record("names", names);

    scene.check("the task is still running", stuck.exists());
    stuck.end();
    scene.check("let go, it ends", block_on(task.shutdown()).is_ok());
    Ok(())
}
