//! # 40 · async drop options
//!
//! A destructor cannot await. What becomes of a long-lived task when its owner is dropped? The
//! *graceful-with-fallback* pattern of a kernel project lists four traditional answers, each with a
//! drawback, and offers itself as a fifth that has none (claim D1).
//!
//! Here one and the same task meets all of them. It keeps [`ROWS`] rows in memory, writes them when
//! it is told to stop, and needs to await something for each. A trial lets it begin, ends its owner,
//! and asks two things: does the task *still run* (it is asked, and answers or cannot), and how many
//! rows are *lost* because the task has ended without writing them. A trial fails where the task runs
//! on or rows are lost.
//!
//! - `leak`: the handle is dropped, and the task with nobody to end it runs on.
//! - `abort-in-drop`: the task ends, and what it held is gone.
//! - `manual/…`: there is a `shutdown()`, called or forgotten.
//! - `coordinator/…`: somebody else ends all tasks, and is told of the end of the program and not of
//!   that of one owner.
//! - `pattern/…` and `kit/…`: with a shutdown, and without.
//!
//! What the fallback does is the second option: where `shutdown()` is forgotten the task ends, and
//! the rows are lost, in the pattern as in the kit. A destructor that may not wait cannot do better.
//!
//! `panic/…`: what the owner learns of a loop that has panicked, first half of claim D8. The panic is
//! raised by `resume_unwind`, which does not run the panic hook: the harness would count it, and here
//! the outcome is to tell what the *owner* was told.
//!
//! `end-of-test/…`: whether a test ends that waits until the task has, second half of claim D8. It
//! hangs where the task was leaked. `end-of-runtime` is the test that does not wait: it ends, leaked
//! or not, because a runtime that is dropped drops its tasks.

use std::{
    convert::Infallible,
    future::{Future, pending},
    panic::resume_unwind,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use experiments::{
    Scene, control, cure, hazard,
    pattern::{self, Manager, Signal},
    probe::{Probe, Responder, probe},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    Trial, TrialResult, every,
};
use sundown::{
    shutdown::{ShutdownError, ShutdownErrorKind},
    stop::Stop,
    task::BackgroundTask,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, watch},
    task::JoinHandle,
};

/// What the task has in memory, and would write at its end.
const ROWS: usize = 3;

/// For what hangs: a moment, because it cannot end at all. Its twins have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(600);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What becomes of a background task, and of what it holds, when its owner goes?")
        .hypothesis(
            "Every option leaves the task running or loses its rows, unless somebody calls and \
             awaits a shutdown. Where the shutdown is forgotten, a fallback that aborts ends the \
             task, and loses the rows.",
        )
        .variants([
            hazard("leak", Failed, leak).about("the handle is dropped"),
            hazard("abort-in-drop", Failed, abort_in_drop).about("the destructor aborts the task"),
            control("manual/called", |trial| manual(trial, true))
                .about("a shutdown() by hand, which is called"),
            hazard("manual/forgotten", Failed, |trial| manual(trial, false))
                .about("a shutdown() by hand, which is forgotten"),
            control("coordinator/told", |trial| coordinator(trial, true))
                .about("a coordinator ends the task at the end of the program"),
            hazard("coordinator/owner-gone", Failed, |trial| coordinator(trial, false))
                .about("the owner is dropped before the end of the program"),
            control("pattern/shutdown", pattern_shutdown)
                .about("the pattern, shut down before it is dropped"),
            hazard("pattern/forgotten", Failed, pattern_forgotten)
                .about("the pattern, dropped without a shutdown"),
            cure("kit/shutdown", kit_shutdown)
                .about("BackgroundTask, shut down before it is dropped"),
            hazard("kit/forgotten", Failed, kit_forgotten)
                .about("BackgroundTask, dropped without a shutdown: no cure for that"),
            hazard("panic/pattern", Failed, panic_in_pattern)
                .about("the loop panics; what the pattern tells its owner"),
            cure("panic/kit", panic_in_kit)
                .about("the loop panics; what BackgroundTask tells its owner"),
            hazard("end-of-test/leaked", Hung, |trial| end_of_test(trial, leaked))
                .about("a test waits for the end of a task that was leaked")
                .deadline(DEADLINE)
                .trials(5),
            control("end-of-test/pattern", |trial| end_of_test(trial, in_pattern))
                .about("the same with the pattern, dropped without a shutdown"),
            cure("end-of-test/kit", |trial| end_of_test(trial, in_kit))
                .about("the same with BackgroundTask, dropped without a shutdown"),
            control("end-of-runtime/leaked", end_of_runtime)
                .about("a test that does not wait: its runtime is dropped with the leaked task"),
        ])
        .claim(
            "D1",
            "The four traditional options each have a drawback (a leak, an abrupt end, a call that \
             is easily forgotten, orchestration from outside); the pattern has none of them.",
        )
        .supported_if(
            every("leak").is(Failed)
                & every("abort-in-drop").is(Failed)
                & every("manual/forgotten").is(Failed)
                & every("coordinator/owner-gone").is(Failed)
                & every("pattern/*").is(Clean),
        )
        .refuted_if(
            every("pattern/forgotten").observed("still_running").always_reads("true")
                | every("pattern/forgotten").observed("rows_lost").always_at_least(1),
        )
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

/// One thread: while the trial looks, no task moves, and a question is answered in its turn.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// What a trial knows of its task.
#[derive(Clone)]
struct Seen {
    probe: Probe,
    rows_written: Arc<AtomicUsize>,
}

/// The task's part.
struct Writer {
    responder: Responder,
    rows_written: Arc<AtomicUsize>,
}

fn writer() -> (Seen, Writer) {
    let (probe, responder) = probe();
    let rows_written = Arc::new(AtomicUsize::new(0));
    let seen = Seen { probe, rows_written: Arc::clone(&rows_written) };
    (seen, Writer { responder, rows_written })
}

impl Writer {
    /// Keeps its rows until it is told to stop, and then writes them.
    async fn work<S: Future>(mut self, stop: S) {
        tokio::select! {
            _ = stop => {}
            () = self.responder.answer() => {}
        }
        for _ in 0..ROWS {
            tokio::task::yield_now().await;
            self.rows_written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Seen {
    async fn look(&self, trial: &Trial<'_>) {
        let still_running = self.probe.is_running().await;
        let rows_written = self.rows_written.load(Ordering::Relaxed);
        let rows_lost = if still_running { 0 } else { ROWS - rows_written };
        trial.record("still_running", still_running);
        trial.record("rows_lost", rows_lost);
        trial.check("the task has ended", !still_running);
        trial.check("no row is lost", rows_lost == 0);
    }
}

fn leak(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let handle = tokio::spawn(writer.work(pending::<Infallible>()));
        trial.check("the task has begun", seen.probe.is_running().await);

        drop(handle);
        seen.look(trial).await;
        Ok(())
    })
}

fn abort_in_drop(trial: &Scene<'_>) -> TrialResult {
    struct Owner(JoinHandle<()>);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let owner = Owner(tokio::spawn(writer.work(pending::<Infallible>())));
        trial.check("the task has begun", seen.probe.is_running().await);

        drop(owner);
        seen.look(trial).await;
        Ok(())
    })
}

fn manual(trial: &Trial<'_>, called: bool) -> TrialResult {
    struct Owner {
        stop: Arc<Notify>,
        handle: JoinHandle<()>,
    }
    impl Owner {
        async fn shutdown(self) {
            self.stop.notify_one();
            let _ = self.handle.await;
        }
    }
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop);
        let handle = tokio::spawn(writer.work(async move { told.notified().await }));
        let owner = Owner { stop, handle };
        trial.check("the task has begun", seen.probe.is_running().await);

        if called {
            owner.shutdown().await;
        } else {
            drop(owner);
        }
        seen.look(trial).await;
        Ok(())
    })
}

fn coordinator(trial: &Trial<'_>, end_of_the_program: bool) -> TrialResult {
    struct Coordinator {
        stop: watch::Sender<bool>,
        tasks: Vec<JoinHandle<()>>,
    }
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let mut coordinator = Coordinator { stop: watch::Sender::new(false), tasks: Vec::new() };
        let mut told = coordinator.stop.subscribe();
        coordinator.tasks.push(tokio::spawn(
            writer.work(async move { told.wait_for(|told| *told).await.is_ok() }),
        ));
        trial.check("the task has begun", seen.probe.is_running().await);

        // The owner has nothing of its task that could be dropped: here it is gone.
        if end_of_the_program {
            coordinator.stop.send_replace(true);
            for task in coordinator.tasks.drain(..) {
                task.await?;
            }
        }
        seen.look(trial).await;
        Ok(())
    })
}

fn pattern_shutdown(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let manager = Manager::spawn(|signal| writer.work(signal));
        trial.check("the task has begun", seen.probe.is_running().await);

        manager.shutdown().await;
        drop(manager);
        seen.look(trial).await;
        Ok(())
    })
}

fn pattern_forgotten(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let manager = Manager::spawn(|signal| writer.work(signal));
        trial.check("the task has begun", seen.probe.is_running().await);

        drop(manager);
        seen.look(trial).await;
        trial.check("the pattern warns", pattern::log().len() == 1);
        Ok(())
    })
}

fn kit_shutdown(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let task = BackgroundTask::spawn("writer", |stop| writer.work(stop))?;
        trial.check("the task has begun", seen.probe.is_running().await);

        let _ = task.shutdown().await?;
        drop(task);
        seen.look(trial).await;
        Ok(())
    })
}

fn kit_forgotten(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let task = BackgroundTask::spawn("writer", |stop| writer.work(stop))?;
        trial.check("the task has begun", seen.probe.is_running().await);

        drop(task);
        seen.look(trial).await;
        Ok(())
    })
}

/// Panics when it is first asked.
async fn broken(mut responder: Responder) {
    tokio::select! {
        biased;
        () = tokio::task::yield_now() => resume_unwind(Box::new("row 3 is broken")),
        () = responder.answer() => {}
    }
}

fn panic_in_pattern(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let manager = Manager::spawn(|_: Signal| broken(responder));
        probe.ended().await;
        trial.record("logged_before_shutdown", pattern::log().len());

        // There is nothing but this to ask.
        let told = size_of_answer(manager.shutdown()).await > 0;
        trial.record("logged_by_shutdown", pattern::log().len());
        trial.record("owner_learns", if told { "something" } else { "nothing" });
        trial.check("the owner is told of the panic", told);
        Ok(())
    })
}

/// An answer without a size is the same whatever happened.
async fn size_of_answer<F: Future>(question: F) -> usize {
    question.await;
    size_of::<F::Output>()
}

fn panic_in_kit(trial: &Scene<'_>) -> TrialResult {
    one_thread()?.block_on(async {
        let (probe, responder) = probe();
        let task = BackgroundTask::spawn("writer", |_: Stop| broken(responder))?;
        probe.ended().await;

        let message = match task.shutdown().await {
            Err(ShutdownError { kind: ShutdownErrorKind::Panicked(panicked), .. }) => {
                panicked.into_iter().map(|panicked| panicked.message).collect()
            }
            _ => "nothing".to_owned(),
        };
        trial.check("the owner is told of the panic", message == "row 3 is broken");
        trial.record("owner_learns", message);
        Ok(())
    })
}

/// The owner of a task in a test that forgot to shut it down.
type Owner = Box<dyn Send>;

fn leaked(writer: Writer) -> Result<Owner, Box<dyn std::error::Error>> {
    Ok(Box::new(tokio::spawn(writer.work(pending::<Infallible>()))))
}

fn in_pattern(writer: Writer) -> Result<Owner, Box<dyn std::error::Error>> {
    Ok(Box::new(Manager::spawn(|signal| writer.work(signal))))
}

fn in_kit(writer: Writer) -> Result<Owner, Box<dyn std::error::Error>> {
    Ok(Box::new(BackgroundTask::spawn("writer", |stop| writer.work(stop))?))
}

fn end_of_test(
    trial: &Trial<'_>,
    own: impl FnOnce(Writer) -> Result<Owner, Box<dyn std::error::Error>>,
) -> TrialResult {
    one_thread()?.block_on(async {
        let (seen, writer) = writer();
        let owner = own(writer)?;
        trial.record("begun", seen.probe.is_running().await);
        drop(owner);
        // As a test does that looks at what the task has left behind.
        seen.probe.ended().await;
        Ok(())
    })
}

fn end_of_runtime(trial: &Scene<'_>) -> TrialResult {
    let (seen, writer) = writer();
    let runtime = one_thread()?;
    runtime.block_on(async {
        let owner = leaked(writer)?;
        trial.record("begun", seen.probe.is_running().await);
        drop(owner);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    drop(runtime);
    trial.check("the task has ended", seen.probe.has_ended());
    Ok(())
}
