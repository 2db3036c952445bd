//! 42 lock across await: what happens to others who want the lock while the pattern's `shutdown()`
//! awaits its task (claim D3)? They block their worker until the task has ended, or for ever if the
//! task needs that worker. Page: `docs/src/42-lock-across-await.md`.

use std::{
    future::poll_fn,
    marker::PhantomData,
    pin::pin,
    sync::mpsc::{self, Receiver},
    time::Instant,
};

use experiments::{
    pattern::{Manager, Owner},
    prelude::*,
};
use sundown::{shutdown::ShutdownErrorKind::FromInside, task::BackgroundTask};
use tokio::{runtime::Builder, sync::oneshot, task::JoinHandle};

/// How long a trial looks at a caller that only the trial can release.
const LOOK: Duration = Duration::from_millis(20);

/// For variants that hang: short, because they cannot end. Their cures have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(600);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What happens to others who want the lock while a shutdown awaits the task?")
        .hypothesis(
            "A second caller blocks its worker until the task has ended, and for ever if the task \
             needs that worker. A task that calls shutdown on its way out deadlocks. In the kit \
             callers wait as futures do, and the task is told that it cannot wait for itself.",
        )
        .variants([
            control("pattern/one-caller", one_caller).about("one worker, one caller"),
            hazard("pattern/second-caller", Failed, |scene| two_callers(scene, 2))
                .about("two workers, two callers"),
            hang("pattern/second-caller-one-worker", |scene| two_callers(scene, 1))
                .about("one worker, two callers")
                .deadline(DEADLINE),
            cure("kit/second-caller", |scene| two_callers(scene, 2))
                .about("BackgroundTask; two workers, two callers"),
            cure("kit/second-caller-one-worker", |scene| two_callers(scene, 1))
                .about("BackgroundTask; one worker, two callers"),
            hang("pattern/task-calls", task_calls)
                .about("the task calls shutdown() on its way out")
                .deadline(DEADLINE),
            cure("kit/task-calls", task_calls)
                .about("BackgroundTask; the task calls shutdown() on its way out"),
            hazard("std-lock/future-is-send", Failed, std_lock_is_send)
                .about("the pattern's shutdown() with the standard library's lock")
                .trials(5),
            control("pattern/future-is-send", |scene| {
                is_send(scene, returned_by(&Manager::shutdown).send())
            })
            .about("the pattern's shutdown() with a lock whose guard may be sent")
            .trials(5),
            cure("kit/future-is-send", |scene| {
                is_send(scene, returned_by(&BackgroundTask::<()>::shutdown).send())
            })
            .about("BackgroundTask::shutdown()")
            .trials(5),
        ])
        .keeps("gave_its_worker_back", [])
        .keeps("send", [])
        .finding("D3", "The code awaits the task while holding its lock.")
        .supported_if(
            every("pattern/one-caller").is(Clean)
                & every("pattern/second-caller")
                    .observed("gave_its_worker_back")
                    .never_reads("true")
                & every("pattern/task-calls").is(Hung)
                & every("pattern/task-calls").observed("task_calls").always_reads("true")
                & every("std-lock/future-is-send").observed("send").always_reads("false"),
        )
        .refuted_if(
            every("pattern/second-caller").observed("gave_its_worker_back").always_reads("true")
                | every("pattern/task-calls").is(Clean),
        )
        .run()
}

/// A runtime, and a task on it that, once told to stop, runs until the sender is dropped.
fn reluctant(
    scene: &Scene<'_>,
    workers: usize,
) -> TrialResult<(Runtime, Owner, oneshot::Sender<()>)> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).build()?;
    let context = runtime.enter();
    let (let_go, is_let_go) = oneshot::channel();
    let owner = Owner::spawn(scene, "reluctant", |stop| async {
        stop.await;
        let _ = is_let_go.await;
    })?;
    drop(context);
    Ok((runtime, owner, let_go))
}

fn one_caller(scene: &Scene<'_>) -> TrialResult {
    let (runtime, owner, let_go) = reluctant(scene, 1)?;
    let call = Call::spawn(&runtime, owner);
    scene.check("it gives its worker back", call.gave_way.recv_timeout(PLENTY).is_ok());

    drop(let_go);
    scene.record("longest_poll", runtime.block_on(call.longest_poll)?);
    Ok(())
}

/// The second caller calls while the first one waits.
fn two_callers(scene: &Scene<'_>, workers: usize) -> TrialResult {
    let (runtime, owner, let_go) = reluctant(scene, workers)?;
    let patience = if matches!(owner, Owner::Kit(_)) { PLENTY } else { LOOK };
    let first = Call::spawn(&runtime, owner.clone());
    first.gave_way.recv()?;

    let second = Call::spawn(&runtime, owner);
    second.entered.recv()?;
    let gave_way = second.gave_way.recv_timeout(patience).is_ok();
    scene.record("gave_its_worker_back", gave_way);
    scene.check("the second caller gives its worker back", gave_way);

    drop(let_go);
    runtime.block_on(first.longest_poll)?;
    scene.record("longest_poll", runtime.block_on(second.longest_poll)?);
    Ok(())
}

/// A call of `shutdown()` on a runtime, followed from poll to poll.
struct Call {
    entered: Receiver<()>,
    /// A poll has returned without an answer.
    gave_way: Receiver<()>,
    longest_poll: JoinHandle<Duration>,
}

impl Call {
    fn spawn(runtime: &Runtime, owner: Owner) -> Self {
        let ((enter, entered), (give_way, gave_way)) = (mpsc::channel(), mpsc::channel());
        let longest_poll = runtime.spawn(async move {
            let mut shutdown = pin!(owner.shutdown());
            let mut longest = Duration::ZERO;
            let _ = poll_fn(|context| {
                let _ = enter.send(());
                let began = Instant::now();
                let answer = shutdown.as_mut().poll(context);
                longest = longest.max(began.elapsed());
                if answer.is_pending() {
                    let _ = give_way.send(());
                }
                answer
            })
            .await;
            longest
        });
        Self { entered, gave_way, longest_poll }
    }
}

/// The task is given its own owner, and calls on its way out.
fn task_calls(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let _context = runtime.enter();
    let (give, given) = oneshot::channel::<Owner>();
    let ((calling, is_calling), (answer, answered)) = (mpsc::channel(), oneshot::channel());
    let owner = Owner::spawn(scene, "calls itself", |stop| async move {
        let Ok(itself) = given.await else { return };
        stop.await;
        let _ = calling.send(());
        let _ = answer.send(itself.shutdown().await);
    })?;
    let _ = give.send(owner.clone());
    let called = runtime.spawn(async move { owner.shutdown().await });
    is_calling.recv()?;
    scene.record("task_calls", true);
    let _ = runtime.block_on(called)??;
    let told = match runtime.block_on(answered)? {
        // The pattern answers nothing, and would have answered here.
        Ok(report) => report.is_none(),
        Err(error) => matches!(error.kind, FromInside),
    };
    scene.check("the task is told that it cannot wait for itself", told);
    Ok(())
}

/// Whether a type is `Send`, as the compiler knows it. If it is, the method of `Known` is found
/// first; if it is not, that method does not apply, and the trait's is found.
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

/// What a function returns, without calling it.
const fn returned_by<A, T>(_: &impl Fn(A) -> T) -> Known<T> {
    Known(PhantomData)
}

fn is_send(scene: &Scene<'_>, send: bool) -> TrialResult {
    scene.record("send", send);
    scene.check("the future of shutdown() is Send", send);
    Ok(())
}

/// The two steps of the pattern that decide, with the standard library's lock.
fn std_lock_is_send(scene: &Scene<'_>) -> TrialResult {
    struct Locked(std::sync::Mutex<Option<JoinHandle<()>>>);
    #[expect(clippy::await_holding_lock, reason = "the experiment is about it")]
    async fn shutdown(locked: &'static Locked) {
        let Ok(mut task) = locked.0.lock() else { return };
        if let Some(handle) = task.take() {
            let _ = handle.await;
        }
    }
    is_send(scene, returned_by(&shutdown).send())
}
