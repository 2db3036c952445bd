//! # 44 · abort latency
//!
//! The *graceful-with-fallback* pattern aborts in its destructor because that is "instant", always
//! under 1 ms, and "guaranteed to stop the task" (claim D5). What has happened when `abort()`
//! returns?
//!
//! A bit has been set and the task has been scheduled. The future is dropped by whoever polls the
//! task next, or, if it is being polled right now, when that poll returns. A poll that does not
//! return (a loop without an await, a blocking call, a lock) is not stopped by any abort; and a
//! closure on a blocking thread has no second poll at all.
//!
//! - `pattern/waits`, `pattern/yields`: a task that awaits something, and one that is busy and gives
//!   way to its runtime in every turn. How long from the drop of the last owner to the end of the
//!   future?
//! - `pattern/never-yields`: a task that blocks its thread until it is let go. Has it ended?
//! - `blocking-closure`: the same as a `spawn_blocking` closure, aborted by its handle.
//! - `kit/…`: the kit cannot stop that task either. What it can do is to return at its limit, and to
//!   say who it is; also where the task holds the only thread of its runtime, timer and all.
//!
//! In the controls the trial waits for the end, however long the machine takes for it. In the hazards
//! nothing can end the task but the trial itself, so how long it looks on does not matter. Latencies
//! are recorded, and decide nothing by themselves: they are the machine's as much as Tokio's.

use std::{
    future::{Future, pending},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use experiments::{pattern::Manager, runtime};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use sundown::{
    shutdown::{ShutdownError, ShutdownErrorKind},
    task::BackgroundTask,
};
use tokio::runtime::{Builder, Runtime};

/// How long a trial looks at a task that nothing stops, and at one that ends.
const LOOK: Duration = Duration::from_millis(20);
const UNTIL_IT_ENDS: Duration = Duration::from_secs(8);

/// What the kit is given, and what it must keep to: generously, for a busy machine.
const LIMIT: Duration = Duration::from_millis(20);
const AT_THE_LATEST: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Has a task been stopped when it has been aborted?")
        .hypothesis(
            "Only where it gives way to its runtime. A task that does not yield runs on after an \
             abort until it comes to an await by itself; the kit then returns at its limit and \
             names it.",
        )
        .variant(
            control("pattern/waits", always(Clean), |trial| {
                drop_the_owner(trial, UNTIL_IT_ENDS, |body| body.wait())
            })
            .about("the owner of a task that awaits is dropped"),
        )
        .variant(
            control("pattern/yields", always(Clean), |trial| {
                drop_the_owner(trial, UNTIL_IT_ENDS, |body| body.yield_in_each_turn())
            })
            .about("the owner of a busy task that yields in each turn is dropped"),
        )
        .variant(
            hazard("pattern/never-yields", always(Failed), |trial| {
                drop_the_owner(trial, LOOK, |body| body.never_yield())
            })
            .about("the owner of a task that does not yield is dropped"),
        )
        .variant(
            hazard("blocking-closure", always(Failed), blocking_closure)
                .about("a closure on a blocking thread is aborted by its handle"),
        )
        .variant(
            cure("kit/yields", always(Clean), kit_yields)
                .about("the last handle of a busy BackgroundTask that yields is dropped"),
        )
        .variant(
            cure("kit/never-yields", always(Clean), |trial| kit_never_yields(trial, runtime()?))
                .about("shutdown_within of a BackgroundTask that does not yield"),
        )
        .variant(
            cure("kit/never-yields-one-thread", always(Clean), |trial| {
                kit_never_yields(trial, Builder::new_multi_thread().worker_threads(1).build()?)
            })
            .about("the same on a runtime with one worker, which the task holds, and no timer"),
        )
        .claim("D5", "An abort is instant, under 1 ms, and guaranteed to stop the task.")
        .supported_if(
            every("pattern/*").is(always(Clean))
                & every("pattern/*").observed("latency").mostly_at_most(1_000_000),
        )
        .refuted_if(every("pattern/never-yields").observed("stopped").never_reads("true"))
        .run()
}

/// What the task does, and how a trial sees it begin and end.
struct Body {
    begun: Sender<()>,
    let_go: Receiver<()>,
    /// Dropped with the future.
    _ended: Sender<()>,
}

/// The trial's side.
struct Seen {
    has_begun: Receiver<()>,
    let_go: Sender<()>,
    has_ended: Receiver<()>,
}

fn body() -> (Seen, Body) {
    let ((begun, has_begun), (let_go, is_let_go)) = (mpsc::channel(), mpsc::channel());
    let (ended, has_ended) = mpsc::channel();
    (Seen { has_begun, let_go, has_ended }, Body { begun, let_go: is_let_go, _ended: ended })
}

impl Body {
    async fn wait(self) {
        let _ = self.begun.send(());
        pending().await
    }

    async fn yield_in_each_turn(self) {
        let _ = self.begun.send(());
        loop {
            tokio::task::yield_now().await;
        }
    }

    /// Holds its thread until it is let go, and comes to an await only then.
    async fn never_yield(self) {
        self.block();
        pending().await
    }

    fn block(&self) {
        let _ = self.begun.send(());
        let _ = self.let_go.recv();
    }
}

impl Seen {
    /// Looks for so long whether the task ends, and then lets it go and waits for its end.
    fn look(self, trial: &Trial<'_>, aborted: Instant, patience: Duration) {
        let Self { let_go, has_ended, .. } = self;
        let stopped = has_ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected);
        if stopped {
            trial.record("latency", aborted.elapsed());
        }
        trial.record("stopped", stopped);
        trial.check("the task has ended", stopped);
        drop(let_go);
        let _ = has_ended.recv();
    }
}

fn drop_the_owner<F>(
    trial: &Trial<'_>,
    patience: Duration,
    work: impl FnOnce(Body) -> F,
) -> TrialResult
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime()?;
    let (seen, body) = body();
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|_| work(body))
    };
    seen.has_begun.recv()?;

    let aborted = Instant::now();
    drop(manager);
    seen.look(trial, aborted, patience);
    Ok(())
}

fn blocking_closure(trial: &Trial<'_>) -> TrialResult {
    let runtime = runtime()?;
    let (seen, body) = body();
    let closure = runtime.spawn_blocking(move || body.block());
    seen.has_begun.recv()?;

    let aborted = Instant::now();
    closure.abort();
    seen.look(trial, aborted, LOOK);
    Ok(())
}

fn kit_yields(trial: &Trial<'_>) -> TrialResult {
    let runtime = runtime()?;
    let (seen, body) = body();
    let task = BackgroundTask::spawn_on(runtime.handle(), "busy", |_| body.yield_in_each_turn());
    seen.has_begun.recv()?;

    let aborted = Instant::now();
    drop(task);
    seen.look(trial, aborted, UNTIL_IT_ENDS);
    Ok(())
}

fn kit_never_yields(trial: &Trial<'_>, runtime: Runtime) -> TrialResult {
    let (seen, body) = body();
    let task = BackgroundTask::spawn_on(runtime.handle(), "stuck", |_| body.never_yield());
    seen.has_begun.recv()?;

    // Asked from another executor, without a timer of its own.
    let asking = Builder::new_current_thread().build()?;
    let began = Instant::now();
    let answer = asking.block_on(task.shutdown_within(LIMIT));
    let returned_after = began.elapsed();
    trial.record("returned_after", returned_after);
    trial.check("it returns at its limit", (LIMIT..AT_THE_LATEST).contains(&returned_after));
    let names = match answer {
        Err(ShutdownError { kind: ShutdownErrorKind::TimedOut, still_running, .. }) => {
            still_running.into_iter().map(|running| running.name).collect()
        }
        _ => "nobody".to_owned(),
    };
    trial.check("it names the task", names == "stuck");
    trial.record("names", names);

    let still_running = seen.has_ended.try_recv() == Err(mpsc::TryRecvError::Empty);
    trial.check("and the task does run", still_running);
    drop(seen.let_go);
    let _ = seen.has_ended.recv();
    trial.check("let go, it ends", asking.block_on(task.shutdown()).is_ok());
    Ok(())
}
