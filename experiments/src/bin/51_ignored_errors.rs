//! # 51 · ignored errors
//!
//! The runtime thread of the Python bindings of *cloacina* is shut down in two steps: a message that
//! tells it to stop, and a join. The result of each is thrown away, and so the plan to repair it says
//! (claims E1, E2), a dead runtime looks like one that was shut down, and a thread that does not end
//! hangs whoever shuts it down.
//!
//! The thread is healthy, or has panicked, or its loop has ended early, or is stuck in a job. Of the
//! two kinds of death each is seen by one of the results only: the join of a thread that returned
//! early is as good as any. A trial fails where the thread was dead and its owner was not told.
//!
//! - `ignoring/…`: as it is.
//! - `looking/…`: the same two steps with their results looked at, to show that these would tell.
//! - `watched/…`: the plan's repair.
//! - `kit/…`: `RuntimeOwner`. A task that panics does not take its thread along there, as it does
//!   where the loop runs a job itself; what does is a waker that panics when the timer calls it.

use std::{
    error::Error,
    future::Future as _,
    ops::ControlFlow,
    process::ExitCode,
    sync::Arc,
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use experiments::runtime_thread::{Ignoring, Watched, panic_quietly, stuck};
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use sundown::{
    runtime::{RuntimeOwner, State},
    shutdown::{ShutdownError, ShutdownErrorKind},
};

/// For what hangs: long enough to get there on a busy machine. Its twins have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Far longer than anything here takes.
const PLENTY: Duration = Duration::from_secs(8);

/// What a stuck job outlasts.
const LIMIT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What does the owner of a runtime thread learn from a shutdown that ignores errors?")
        .hypothesis(
            "Nothing: a thread that panicked or whose loop ended looks like one that was shut down, \
             and one that is stuck hangs its owner. With the results looked at, each death is told; \
             the plan's repair tells of one of the two. The kit tells of all.",
        )
        .variant(
            control("ignoring/healthy", always(Clean), |trial| ignoring(trial, Thread::Healthy))
                .about("as it is; nothing is wrong with the thread"),
        )
        .variant(
            hazard("ignoring/thread-panicked", always(Failed), |trial| {
                ignoring(trial, Thread::Panicked)
            })
            .about("as it is; a job panicked"),
        )
        .variant(
            hazard("ignoring/thread-returned", always(Failed), |trial| {
                ignoring(trial, Thread::Returned)
            })
            .about("as it is; the loop ended early"),
        )
        .variant(
            hazard("ignoring/thread-stuck", always(Hung), ignoring_stuck)
                .about("as it is; a job does not end")
                .deadline(DEADLINE)
                .trials(5),
        )
        .variant(
            control("looking/healthy", always(Clean), |trial| looking(trial, Thread::Healthy))
                .about("both results looked at; nothing is wrong with the thread"),
        )
        .variant(
            control("looking/thread-panicked", always(Clean), |trial| {
                looking(trial, Thread::Panicked)
            })
            .about("both results looked at; a job panicked"),
        )
        .variant(
            control("looking/thread-returned", always(Clean), |trial| {
                looking(trial, Thread::Returned)
            })
            .about("both results looked at; the loop ended early"),
        )
        .variant(
            control("watched/thread-panicked", always(Clean), |trial| {
                watched(trial, Thread::Panicked)
            })
            .about("the plan's repair; a job panicked"),
        )
        .variant(
            hazard("watched/thread-returned", always(Failed), |trial| {
                watched(trial, Thread::Returned)
            })
            .about("the plan's repair; the loop ended early"),
        )
        .variant(cure("kit/healthy", always(Clean), kit_healthy).about("RuntimeOwner"))
        .variant(
            cure("kit/task-panicked", always(Clean), kit_task_panicked)
                .about("RuntimeOwner; a task panicked"),
        )
        .variant(
            cure("kit/thread-panicked", always(Clean), kit_thread_panicked)
                .about("RuntimeOwner; its thread panicked"),
        )
        .variant(
            cure("kit/thread-stuck", always(Clean), kit_stuck)
                .about("RuntimeOwner; a task does not yield"),
        )
        .claim("E1", "Ignored send and join errors hide a dead runtime thread.")
        .supported_if(
            every("ignoring/thread-*d").observed("told").never_reads("true")
                & every("ignoring/healthy").is(always(Clean))
                & every("looking/thread-*").observed("told").always_reads("true"),
        )
        .refuted_if(every("ignoring/thread-*d").observed("told").always_reads("true"))
        .claim("E2", "A join without a limit can hang for ever.")
        .supported_if(
            every("ignoring/thread-stuck").is(always(Hung))
                & every("ignoring/thread-stuck").observed("asked").always_reads("true")
                & every("ignoring/healthy").is(always(Clean)),
        )
        .refuted_if(every("ignoring/thread-stuck").is(always(Clean)))
        .run()
}

/// What is wrong with the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Healthy,
    Panicked,
    Returned,
}

impl Thread {
    fn is_dead(self) -> bool {
        self != Self::Healthy
    }

    /// The job that makes it so.
    fn job(self) -> impl FnOnce() -> ControlFlow<()> + Send + 'static {
        move || match self {
            Self::Healthy => ControlFlow::Continue(()),
            Self::Returned => ControlFlow::Break(()),
            Self::Panicked => panic_quietly(),
        }
    }
}

/// A trial fails where its owner was told something else than what is the case.
fn judge(trial: &Trial<'_>, told: bool, dead: bool) -> TrialResult {
    trial.record("told", told);
    trial.check("the owner is told if, and only if, the thread was dead", told == dead);
    Ok(())
}

fn ignoring(trial: &Trial<'_>, how: Thread) -> TrialResult {
    let mut owner = Ignoring::start("ignoring")?;
    owner.run(how.job());
    if how.is_dead() {
        owner.until_it_is_dead();
    }
    let told = could_tell(|| owner.shutdown());
    judge(trial, told, how.is_dead())
}

/// Whether an answer could tell anything. One without a bit in it cannot.
fn could_tell<T>(shutdown: impl FnOnce() -> T) -> bool {
    size_of_val(&shutdown()) > 0
}

fn looking(trial: &Trial<'_>, how: Thread) -> TrialResult {
    let mut owner = Ignoring::start("looking")?;
    owner.run(how.job());
    if how.is_dead() {
        owner.until_it_is_dead();
    }
    let (signal_taken, joined) = owner.shutdown_looking();
    trial.record("signal_taken", signal_taken);
    trial.record("joined", joined);
    judge(trial, !(signal_taken && joined), how.is_dead())
}

fn watched(trial: &Trial<'_>, how: Thread) -> TrialResult {
    let mut owner = Watched::start("watched", PLENTY)?;
    owner.run(how.job());
    owner.until_it_is_dead();
    let answer = owner.shutdown();
    trial.record("answer", answer.map_or_else(|error| error.to_string(), |()| "Ok".to_owned()));
    judge(trial, answer.is_err(), how.is_dead())
}

fn ignoring_stuck(trial: &Trial<'_>) -> TrialResult {
    let mut owner = Ignoring::start("ignoring")?;
    let (stuck, blocks) = stuck();
    owner.run(|| {
        blocks();
        ControlFlow::Continue(())
    });
    stuck.until_it_blocks()?;
    trial.record("asked", true);
    owner.shutdown();
    stuck.let_go();
    Ok(())
}

fn kit() -> Result<RuntimeOwner, Box<dyn Error>> {
    Ok(RuntimeOwner::builder("kit").current_thread().start()?)
}

fn kit_healthy(trial: &Trial<'_>) -> TrialResult {
    let owner = kit()?;
    drop(owner.spawn("a job", |_| async {})?);
    judge(trial, owner.shutdown_blocking(PLENTY).is_err(), false)
}

fn kit_task_panicked(trial: &Trial<'_>) -> TrialResult {
    let owner = kit()?;
    drop(owner.spawn::<(), _>("a job", |_| async { panic_quietly() })?);
    let answer = owner.shutdown_blocking(PLENTY);
    let told = matches!(answer, Err(ShutdownError { kind: ShutdownErrorKind::Panicked(_), .. }));
    trial.record("answer", text(answer));
    judge(trial, told, true)
}

/// A waker that panics, called by the thread that drives the timer.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic_quietly()
    }
}

fn kit_thread_panicked(trial: &Trial<'_>) -> TrialResult {
    let owner = kit()?;
    let handle = owner.handle()?;
    let _context = handle.enter();
    let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
    let waker = Waker::from(Arc::new(Panics));
    let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    while owner.stats().state != State::Ended {
        thread::yield_now();
    }
    let answer = owner.shutdown_blocking(PLENTY);
    let told =
        matches!(answer, Err(ShutdownError { kind: ShutdownErrorKind::ThreadPanicked(_), .. }));
    trial.record("answer", text(answer));
    judge(trial, told, true)
}

fn kit_stuck(trial: &Trial<'_>) -> TrialResult {
    let owner = kit()?;
    let (stuck, blocks) = stuck();
    drop(owner.spawn("a job", |_| async { blocks() })?);
    stuck.until_it_blocks()?;
    let answer = owner.shutdown_blocking(LIMIT);
    let told = matches!(answer, Err(ShutdownError { kind: ShutdownErrorKind::TimedOut, .. }));
    stuck.let_go();
    let _ = owner.shutdown_blocking(PLENTY)?;
    judge(trial, told, true)
}

fn text<T>(answer: Result<T, ShutdownError>) -> String {
    answer.map_or_else(|error| error.to_string(), |_| "Ok".to_owned())
}
