//! 44 abort latency: is an abort instant, and guaranteed to stop the task, as the pattern's
//! write-up claims (D5)? It takes effect when the task yields, and never on one that does not. The
//! kit cannot stop such a task either, but returns at its limit and names it. Page:
//! `docs/src/44-abort-latency.md`.

use std::{
    future::{Future, pending},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    time::{Duration, Instant},
};

use experiments::{Scene, control, cure, hazard, pattern::Owner, runtime};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    TrialResult, every,
};
use sundown::{
    shutdown::{ShutdownError, ShutdownErrorKind::TimedOut},
    task::BackgroundTask,
};
use tokio::runtime::{Builder, Runtime};

/// How long a trial looks at a task that only the trial can end, and at one that ends by itself.
const LOOK: Duration = Duration::from_millis(20);
const PLENTY: Duration = Duration::from_secs(8);

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
            control("pattern/waits", |scene| drop_the_owner(scene, PLENTY, Body::wait))
                .about("the owner of a task that awaits is dropped"),
            control("pattern/yields", |scene| drop_the_owner(scene, PLENTY, Body::yield_each_turn))
                .about("the owner of a busy task that yields in each turn is dropped"),
            hazard("pattern/never-yields", Failed, |scene| {
                drop_the_owner(scene, LOOK, Body::never_yield)
            })
            .about("the owner of a task that does not yield is dropped"),
            hazard("blocking-closure", Failed, blocking_closure)
                .about("a closure on a blocking thread is aborted by its handle"),
            cure("kit/yields", |scene| drop_the_owner(scene, PLENTY, Body::yield_each_turn))
                .about("the last handle of a busy BackgroundTask that yields is dropped"),
            cure("kit/never-yields", |scene| kit_never_yields(scene, runtime()?))
                .about("shutdown_within of a BackgroundTask that does not yield"),
            cure("kit/never-yields-one-thread", |scene| {
                kit_never_yields(scene, Builder::new_multi_thread().worker_threads(1).build()?)
            })
            .about("the same on a runtime with one worker, which the task holds, and no timer"),
        ])
        .claim("D5", "An abort is instant, under 1 ms, and guaranteed to stop the task.")
        .supported_if(
            every("pattern/*").is(Clean)
                & every("pattern/*").observed("latency").mostly_at_most(1_000_000),
        )
        .refuted_if(every("pattern/never-yields").observed("stopped").never_reads("true"))
        .run()
}

/// The task's side: what it does, and how it shows its begin and its end.
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

    async fn yield_each_turn(self) {
        let _ = self.begun.send(());
        loop {
            tokio::task::yield_now().await;
        }
    }

    /// Reaches an await only after the trial has let it go.
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
    /// Waits this long for the end of the task, then lets it go and waits until it has ended.
    fn look(self, scene: &Scene<'_>, aborted: Instant, patience: Duration) {
        let stopped = self.has_ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected);
        if stopped {
            scene.record("latency", aborted.elapsed());
        }
        scene.record("stopped", stopped);
        scene.check("the task has ended", stopped);
        drop(self.let_go);
        let _ = self.has_ended.recv();
    }
}

fn drop_the_owner<F>(scene: &Scene<'_>, patience: Duration, work: fn(Body) -> F) -> TrialResult
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime()?;
    let _context = runtime.enter();
    let (seen, body) = body();
    let owner = Owner::spawn(scene, "a task", move |_| work(body))?;
    seen.has_begun.recv()?;

    let aborted = Instant::now();
    drop(owner);
    seen.look(scene, aborted, patience);
    Ok(())
}

fn blocking_closure(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let (seen, body) = body();
    let closure = runtime.spawn_blocking(move || body.block());
    seen.has_begun.recv()?;

    let aborted = Instant::now();
    closure.abort();
    seen.look(scene, aborted, LOOK);
    Ok(())
}

fn kit_never_yields(scene: &Scene<'_>, runtime: Runtime) -> TrialResult {
    let (seen, body) = body();
    let task = BackgroundTask::spawn_on(runtime.handle(), "stuck", |_| body.never_yield());
    seen.has_begun.recv()?;

    // The caller is on another executor, without a timer of its own.
    let caller = Builder::new_current_thread().build()?;
    let began = Instant::now();
    let answer = caller.block_on(task.shutdown_within(LIMIT));
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

    let still_running = seen.has_ended.try_recv() == Err(TryRecvError::Empty);
    scene.check("the task is still running", still_running);
    drop(seen.let_go);
    let _ = seen.has_ended.recv();
    scene.check("let go, it ends", caller.block_on(task.shutdown()).is_ok());
    Ok(())
}
