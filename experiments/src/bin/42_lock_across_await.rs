//! # 42 · lock across await
//!
//! `shutdown()` of the *graceful-with-fallback* pattern locks its state, sends the signal, and awaits
//! the task *while it holds the lock* (claim D3). The lock is a blocking one. Who else wants it does
//! not wait as a future does: it blocks its thread, until a task has ended that may need that thread.
//!
//! - `…/second-caller`: a second caller on a runtime with two workers. Does its call give the worker
//!   back while the task is ending? The trial waits until it does, and where it does not (nothing can
//!   make it but the trial itself) for [`LOOK`]; then it lets the task go, and records the longest
//!   poll.
//! - `…/second-caller-one-worker`: the same on one worker. It is the only one that could end the
//!   task.
//! - `…/task-calls`: the task calls `shutdown()` itself on its way out, as a no-op, which is what the
//!   write-up calls it on every clone. It waits for the lock, and who has the lock waits for the task.
//! - `…/future-is-send`: whether the future of `shutdown()` may move between threads, and so be
//!   spawned. With a lock whose guard belongs to its thread, such as the standard library's, it may
//!   not: the compiler knows, and the trial records what it knows.
//!
//! The write-up does not say which lock it means. It locks without unwrapping, which is
//! `parking_lot`'s manner, and that crate's guard belongs to its thread too. For the pattern to be
//! spawned at all its feature `send_guard` is on here. The standard library's lock in its place stands
//! below, in `with_std_lock`. Clippy warns of both (`await_holding_lock`).

use std::{
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::pin,
    process::ExitCode,
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

use experiments::pattern::{Manager, Signal};
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use sundown::{
    shutdown::{ShutdownError, ShutdownErrorKind, ShutdownReport},
    stop::Stop,
    task::BackgroundTask,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

/// How long a trial looks at a caller who does not give its worker back, and at one who does.
const LOOK: Duration = Duration::from_millis(20);
const UNTIL_IT_DOES: Duration = Duration::from_secs(8);

/// For what hangs: a moment, because it cannot end at all. Its twins have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(600);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What happens to others who want the lock while a shutdown awaits the task?")
        .hypothesis(
            "A second caller blocks its worker until the task has ended, and for ever where the task \
             needs that worker. A task that calls shutdown on its way out deadlocks. In the kit \
             callers wait as futures do, and the task is told that it cannot wait for itself.",
        )
        .variant(
            control("pattern/one-caller", always(Clean), one_caller)
                .about("one worker, one caller"),
        )
        .variant(
            hazard("pattern/second-caller", always(Failed), |trial| pattern_callers(trial, 2, LOOK))
                .about("two workers, two callers"),
        )
        .variant(
            hazard("pattern/second-caller-one-worker", always(Hung), |trial| {
                pattern_callers(trial, 1, LOOK)
            })
            .about("one worker, two callers")
            .deadline(DEADLINE)
            .trials(5),
        )
        .variant(
            cure("kit/second-caller", always(Clean), |trial| kit_callers(trial, 2))
                .about("BackgroundTask; two workers, two callers"),
        )
        .variant(
            cure("kit/second-caller-one-worker", always(Clean), |trial| kit_callers(trial, 1))
                .about("BackgroundTask; one worker, two callers"),
        )
        .variant(
            hazard("pattern/task-calls", always(Hung), pattern_task_calls)
                .about("the task calls shutdown() on its way out")
                .deadline(DEADLINE)
                .trials(5),
        )
        .variant(
            cure("kit/task-calls", always(Clean), kit_task_calls)
                .about("BackgroundTask; the task calls shutdown() on its way out"),
        )
        .variant(
            hazard("std-lock/future-is-send", always(Failed), |trial| {
                record_send(trial, with_std_lock())
            })
            .about("the pattern's shutdown() with the standard library's lock")
            .trials(5),
        )
        .variant(
            control("pattern/future-is-send", always(Clean), |trial| {
                record_send(trial, with_send_guard())
            })
            .about("the pattern's shutdown() with a lock whose guard may be sent")
            .trials(5),
        )
        .variant(
            cure("kit/future-is-send", always(Clean), |trial| record_send(trial, with_the_kit()))
                .about("BackgroundTask::shutdown()")
                .trials(5),
        )
        .claim("D3", "The code awaits the task while holding its lock.")
        .supported_if(
            every("pattern/one-caller").is(always(Clean))
                & every("pattern/second-caller").observed("gave_its_worker_back").never_reads("true")
                & every("pattern/task-calls").is(always(Hung))
                & every("pattern/task-calls").observed("task_calls").always_reads("true")
                & every("std-lock/future-is-send").observed("send").always_reads("false"),
        )
        .refuted_if(
            every("pattern/second-caller").observed("gave_its_worker_back").always_reads("true")
                | every("pattern/task-calls").is(always(Clean)),
        )
        .run()
}

fn workers(number: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(number).build()
}

/// Told to stop, it goes on until it is let go.
async fn reluctant<S: Future>(stop: S, let_go: oneshot::Receiver<()>) {
    stop.await;
    let _ = let_go.await;
}

fn one_caller(trial: &Trial<'_>) -> TrialResult {
    let runtime = workers(1)?;
    let (let_go, is_let_go) = oneshot::channel();
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|signal| reluctant(signal, is_let_go))
    };
    let (call, caller) = caller();
    let called = runtime.spawn(async move { caller.follow(manager.shutdown()).await });
    trial.check("it gives its worker back", call.gave_way.recv_timeout(UNTIL_IT_DOES).is_ok());

    drop(let_go);
    trial.record("longest_poll", runtime.block_on(called)?);
    Ok(())
}

fn pattern_callers(trial: &Trial<'_>, number: usize, patience: Duration) -> TrialResult {
    let runtime = workers(number)?;
    let (let_go, is_let_go) = oneshot::channel();
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|signal| reluctant(signal, is_let_go))
    };
    let other = manager.clone();
    two_callers(
        trial,
        &runtime,
        let_go,
        patience,
        async move { manager.shutdown().await },
        async move { other.shutdown().await },
    )
}

fn kit_callers(trial: &Trial<'_>, number: usize) -> TrialResult {
    let runtime = workers(number)?;
    let (let_go, is_let_go) = oneshot::channel();
    let task =
        BackgroundTask::spawn_on(runtime.handle(), "reluctant", |stop| reluctant(stop, is_let_go));
    let other = task.clone();
    two_callers(
        trial,
        &runtime,
        let_go,
        UNTIL_IT_DOES,
        async move { task.shutdown().await },
        async move { other.shutdown().await },
    )
}

/// Two callers, the second of whom calls when the first is waiting.
fn two_callers<A, B>(
    trial: &Trial<'_>,
    runtime: &Runtime,
    let_go: oneshot::Sender<()>,
    patience: Duration,
    first: A,
    second: B,
) -> TrialResult
where
    A: Future + Send + 'static,
    B: Future + Send + 'static,
{
    let (first_call, first_caller) = caller();
    let first = runtime.spawn(first_caller.follow(first));
    first_call.gave_way.recv()?;

    let (second_call, second_caller) = caller();
    let second = runtime.spawn(second_caller.follow(second));
    second_call.entered.recv()?;
    let gave_way = second_call.gave_way.recv_timeout(patience).is_ok();
    trial.record("gave_its_worker_back", gave_way);
    trial.check("the second caller gives its worker back", gave_way);

    drop(let_go);
    runtime.block_on(first)?;
    trial.record("longest_poll", runtime.block_on(second)?);
    Ok(())
}

/// What a trial hears of a call.
struct Call {
    entered: Receiver<()>,
    gave_way: Receiver<()>,
}

/// Follows a future from poll to poll.
struct Caller {
    entered: Sender<()>,
    gave_way: Sender<()>,
}

fn caller() -> (Call, Caller) {
    let ((entered, has_entered), (gave_way, has_given_way)) = (mpsc::channel(), mpsc::channel());
    (Call { entered: has_entered, gave_way: has_given_way }, Caller { entered, gave_way })
}

impl Caller {
    /// Says when a poll begins, and when one ends without an answer. Returns how long the longest
    /// took.
    async fn follow<F: Future>(self, future: F) -> Duration {
        let mut future = pin!(future);
        let mut longest = Duration::ZERO;
        poll_fn(|context| {
            let _ = self.entered.send(());
            let began = Instant::now();
            let answer = future.as_mut().poll(context);
            longest = longest.max(began.elapsed());
            if answer.is_pending() {
                let _ = self.gave_way.send(());
            }
            answer
        })
        .await;
        longest
    }
}

fn pattern_task_calls(trial: &Trial<'_>) -> TrialResult {
    let runtime = workers(2)?;
    let (give, given) = oneshot::channel::<Manager>();
    let (calling, is_calling) = mpsc::channel();
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|signal: Signal| async move {
            let Ok(own_manager) = given.await else { return };
            let _ = signal.await;
            let _ = calling.send(());
            own_manager.shutdown().await;
        })
    };
    let _ = give.send(manager.clone());
    let called = runtime.spawn(async move { manager.shutdown().await });
    is_calling.recv()?;
    trial.record("task_calls", true);
    runtime.block_on(called)?;
    Ok(())
}

fn kit_task_calls(trial: &Trial<'_>) -> TrialResult {
    let runtime = workers(2)?;
    let (give, given) = oneshot::channel::<BackgroundTask<Answer>>();
    let (calling, is_calling) = mpsc::channel();
    let task =
        BackgroundTask::spawn_on(runtime.handle(), "calls itself", |stop: Stop| async move {
            let own_handle = given.await.ok()?;
            stop.await;
            let _ = calling.send(());
            Some(own_handle.shutdown().await)
        });
    let _ = give.send(task.clone());
    let called = runtime.spawn(async move { task.finish(Duration::MAX).await });
    is_calling.recv()?;
    trial.record("task_calls", true);
    let told = runtime.block_on(called)??.flatten();
    trial.check(
        "the task is told that it cannot wait for itself",
        matches!(told, Some(Err(ShutdownError { kind: ShutdownErrorKind::FromInside, .. }))),
    );
    Ok(())
}

/// What the task that calls itself was answered.
type Answer = Option<Result<ShutdownReport, ShutdownError>>;

/// Whether the type of a value is `Send`, as the compiler knows it. Where it is, the method of
/// `Known` is found first; where it is not, that one does not apply, and the trait's is found.
struct Known<T>(PhantomData<T>);

trait NotSend {
    fn send(&self) -> bool {
        false
    }
}

impl<T> NotSend for Known<T> {}

impl<T: Send> Known<T> {
    fn send(&self) -> bool {
        true
    }
}

/// Of what a function returns, without calling it.
const fn returned_by<A, T>(_: &impl Fn(A) -> T) -> Known<T> {
    Known(PhantomData)
}

fn record_send(trial: &Trial<'_>, send: bool) -> TrialResult {
    trial.record("send", send);
    trial.check("the future of shutdown() is Send", send);
    Ok(())
}

fn with_std_lock() -> bool {
    /// Of the pattern's steps the two that decide, with the other lock.
    struct Locked(std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>);
    #[expect(clippy::await_holding_lock, reason = "this is what it is about")]
    async fn shutdown(locked: &'static Locked) {
        let Ok(mut task) = locked.0.lock() else { return };
        if let Some(handle) = task.take() {
            let _ = handle.await;
        }
    }
    returned_by(&shutdown).send()
}

fn with_send_guard() -> bool {
    returned_by(&|manager: &'static Manager| manager.shutdown()).send()
}

fn with_the_kit() -> bool {
    returned_by(&|task: &'static BackgroundTask<()>| task.shutdown()).send()
}
