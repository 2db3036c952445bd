//! # 55 · fork
//!
//! A child that was forked has a copy of all memory, and of all threads only the one that forked. An
//! owner of a runtime is copied; the threads that it means are not there. A destructor that joins
//! them waits for what cannot come. A lock that one of them held at that moment is held for ever.
//! Python's `multiprocessing` forks so, and so does a daemon that starts its runtime too early.
//!
//! The trial forks, and the child does one thing with what it has inherited, and leaves.
//!
//! - `join/…`: joins a thread of the parent, as the destructor of an owner may.
//! - `tokio/…`: drops a `Runtime`. In `tokio/parent-drops` the child leaves at once, and the parent drops it.
//! - `lock/…`: takes a lock that another thread of the parent holds.
//! - `kit/everything`: does everything that can be done with an owner, a handle of it and a cell, and
//!   drops them. The parent then goes on using the runtime, and shuts it down.
//! - `kit/busy`: the same, of twenty children that are forked while other threads of the parent spawn,
//!   look, shut down and restart, and so may hold any lock that there is.
//! - `kit/in-a-task`: the fork is made by a task, on a thread of the runtime itself.
//! - `kit/its-own`: the child starts a runtime of its own.
//!
//! Forking a process with threads and not calling `exec` is what one should not do. This is about
//! what happens to those who do.

use std::{
    error::Error,
    future::Future,
    io,
    os::unix::process::CommandExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    process::{self, Command, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use experiments::runtime;
use fork::{Fork, WEXITSTATUS, WIFEXITED};
use lab::{
    Experiment,
    Outcome::{Clean, Hung, Panicked},
    Trial, TrialResult, always, control, cure, hazard,
};
use sundown::{
    runtime::{RuntimeCell, RuntimeError, RuntimeHandle, RuntimeOwner, StartError, State},
    shutdown::{ShutdownError, ShutdownErrorKind, SignalLoss},
};

/// For what hangs: long enough to get there on a busy machine. Its twins have as long as any trial.
const DEADLINE: Duration = Duration::from_millis(1500);

/// A limit that nothing outlasts.
const PLENTY: Duration = Duration::from_secs(8);

/// How many children are forked while the parent is busy.
const CHILDREN: usize = 20;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What becomes of a runtime's owner in a forked child?")
        .hypothesis(
            "Its threads are not there. To join one panics, to wait for what they do hangs, and so \
             does to take a lock that one of them held. The kit's owner answers at once, whatever is \
             asked of it, waits for nothing, and the parent notices nothing.",
        )
        .variant(
            hazard("join/child-joins", always(Panicked), |trial| {
                let thread = thread::spawn(thread::park);
                in_a_child(trial, move || {
                    let _ = thread.join();
                    true
                })
            })
            .about("the child joins a thread of the parent"),
        )
        .variant(
            hazard("tokio/child-drops", always(Hung), |trial| {
                let runtime = runtime()?;
                in_a_child(trial, move || {
                    drop(runtime);
                    true
                })
            })
            .about("the child drops a Runtime")
            .deadline(DEADLINE)
            .trials(5),
        )
        .variant(
            control("tokio/parent-drops", always(Clean), |trial| {
                let runtime = runtime()?;
                in_a_child(trial, || true)?;
                drop(runtime);
                Ok(())
            })
            .about("the child leaves at once, and the parent drops its Runtime"),
        )
        .variant(
            hazard("lock/child-takes", always(Hung), |trial| child_takes(trial, true))
                .about("the child takes a lock that another thread holds")
                .deadline(DEADLINE)
                .trials(5),
        )
        .variant(
            control("lock/child-takes-free", always(Clean), |trial| child_takes(trial, false))
                .about("the child takes a lock that nobody holds"),
        )
        .variant(
            cure("kit/everything", always(Clean), kit_everything)
                .about("RuntimeOwner and RuntimeCell; the child does everything with them"),
        )
        .variant(
            cure("kit/busy", always(Clean), kit_busy)
                .about("the same, twenty times, while other threads of the parent do too"),
        )
        .variant(
            cure("kit/in-a-task", always(Clean), kit_in_a_task)
                .about("the same, the fork being made by a task of the runtime"),
        )
        .variant(
            cure("kit/its-own", always(Clean), |trial| {
                let owner = RuntimeOwner::builder("parent").workers(2).start()?;
                in_a_child(trial, || {
                    let own = RuntimeOwner::builder("child").workers(2).start();
                    own.is_ok_and(|own| {
                        own.block_on(async { 1 }) == Ok(1) && own.shutdown_blocking(PLENTY).is_ok()
                    })
                })?;
                let _ = owner.shutdown_blocking(PLENTY)?;
                Ok(())
            })
            .about("the child starts a RuntimeOwner of its own"),
        )
        .run()
}

/// Forks, has the child do something and exit, and waits for it.
fn in_a_child(trial: &Trial<'_>, does: impl FnOnce() -> bool) -> TrialResult {
    trial.record("forks", true);
    let went_well = fork_and_wait(does)?;
    trial
        .check("the child found what it should have, and ended as if nothing was amiss", went_well);
    Ok(())
}

/// What a child does must be true. It neither returns nor unwinds into what the parent is doing, and
/// it leaves by `exec`, of what says whether it was: `std::process::exit` takes a lock that every
/// thread takes when it starts and when it ends, and in a child it may be held for ever.
fn fork_and_wait(does: impl FnOnce() -> bool) -> io::Result<bool> {
    match fork::fork()? {
        Fork::Child => {
            let went_well = catch_unwind(AssertUnwindSafe(does)).unwrap_or(false);
            let _not_found = Command::new(if went_well { "true" } else { "false" }).exec();
            process::abort()
        }
        Fork::Parent(child) => {
            let status = fork::waitpid(child)?;
            Ok(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        }
    }
}

fn child_takes(trial: &Trial<'_>, held: bool) -> TrialResult {
    static LOCK: Mutex<()> = Mutex::new(());
    let (taken, is_taken) = mpsc::channel();
    let (end, the_end) = mpsc::channel::<()>();
    let holds = thread::spawn(move || {
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = held.then_some(lock);
        let _ = taken.send(());
        let _ = the_end.recv();
        drop(lock);
    });
    is_taken.recv()?;
    in_a_child(trial, || {
        drop(LOCK.lock().unwrap_or_else(PoisonError::into_inner));
        true
    })?;
    drop(end);
    holds.join().map_err(|_| "the thread panicked")?;
    Ok(())
}

static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("cell").workers(1));

/// Everything that can be asked, with the answers that a child must get; and a drop.
fn everything(owner: RuntimeOwner, handle: RuntimeHandle) -> bool {
    fn forked<T>(answer: Result<T, RuntimeError>) -> bool {
        matches!(answer, Err(RuntimeError::Forked { .. }))
    }
    fn lost<T>(answer: Result<T, ShutdownError>) -> bool {
        matches!(
            answer,
            Err(ShutdownError {
                kind: ShutdownErrorKind::SignalLost(SignalLoss::Forked { .. }),
                ..
            })
        )
    }
    fn not_started<T>(answer: Result<T, StartError>) -> bool {
        matches!(answer, Err(StartError::Runtime(RuntimeError::Forked { .. })))
    }
    fn lost_at_once<T>(answer: Pin<&mut impl Future<Output = Result<T, ShutdownError>>>) -> bool {
        match answer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => lost(answer),
            Poll::Pending => false,
        }
    }
    let answers = [
        forked(owner.handle()),
        forked(owner.current()),
        forked(owner.spawn("child", |_| async {})),
        forked(owner.block_on(async {})),
        lost(owner.shutdown_blocking(PLENTY)),
        lost_at_once(pin!(owner.shutdown(PLENTY))),
        not_started(owner.restart()),
        owner.stats().state == State::Forked,
        forked(handle.handle()),
        forked(handle.spawn("child", |_| async {})),
        forked(handle.block_on(async {})),
        not_started(CELL.get()),
        not_started(CELL.restart()),
        lost(CELL.shutdown_blocking(PLENTY)),
        CELL.stats().state == State::Forked,
    ];
    drop(owner.clone());
    drop(owner);
    drop(handle);
    answers.into_iter().all(|as_it_should_be| as_it_should_be)
}

/// An owner, a handle of it, and the cell, all of them used.
fn used(name: &str) -> Result<(RuntimeOwner, RuntimeHandle), Box<dyn Error>> {
    let owner = RuntimeOwner::builder(name).workers(2).start()?;
    drop(owner.spawn("listener", |stop| stop)?);
    let handle = owner.current()?;
    CELL.get()?;
    Ok((owner, handle))
}

/// The parent goes on using what it has, and shuts it down.
fn the_parent_noticed_nothing(trial: &Trial<'_>, owner: &RuntimeOwner) -> TrialResult {
    let ticks = owner.block_on(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::spawn(async { 1 }).await
    })?;
    trial.check("the parent's runtime does what it did", ticks.is_ok());
    trial.check("and is shut down gracefully", owner.shutdown_blocking(PLENTY)?.aborted == 0);
    trial.check("as is the cell", CELL.shutdown_blocking(PLENTY)?.aborted == 0);
    Ok(())
}

fn kit_everything(trial: &Trial<'_>) -> TrialResult {
    let (owner, handle) = used("parent")?;
    let inherited = owner.clone();
    in_a_child(trial, || everything(inherited, handle))?;
    the_parent_noticed_nothing(trial, &owner)
}

fn kit_busy(trial: &Trial<'_>) -> TrialResult {
    let (owner, _) = used("parent")?;
    let (enough, mut went_well) = (AtomicBool::new(false), 0);
    let again = || !enough.load(Ordering::Relaxed);
    thread::scope(|scope| -> TrialResult {
        scope.spawn(|| {
            while again() {
                drop(owner.spawn("spawned", |_| async {}));
                let _ = owner.block_on(async {});
            }
        });
        scope.spawn(|| {
            while again() {
                let (_, _) = (owner.stats(), CELL.stats());
                let _ = CELL.get();
            }
        });
        scope.spawn(|| {
            while again() {
                let _ = owner.shutdown_blocking(PLENTY);
                let _ = owner.restart();
            }
        });
        let handle = CELL.get()?;
        for _ in 0..CHILDREN {
            let (inherited, handle) = (owner.clone(), handle.clone());
            went_well += usize::from(fork_and_wait(|| everything(inherited, handle))?);
        }
        enough.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    trial.record("children", CHILDREN);
    trial.record("children_that_went_well", went_well);
    trial.check("every child found what it should have", went_well == CHILDREN);
    the_parent_noticed_nothing(trial, &owner)
}

fn kit_in_a_task(trial: &Trial<'_>) -> TrialResult {
    for builder in [
        RuntimeOwner::builder("workers").workers(2),
        RuntimeOwner::builder("alone").current_thread(),
    ] {
        let owner = builder.start()?;
        CELL.get()?;
        let (inherited, handle) = (owner.clone(), owner.current()?);
        let mut forked = owner.spawn("forks", |_| async move {
            fork_and_wait(|| everything(inherited, handle)).is_ok_and(|went_well| went_well)
        })?;
        trial.check("the child found what it should have", forked.wait_blocking(PLENTY)?);
        owner.block_on(async {})?;
        trial.check(
            "the parent is shut down gracefully",
            owner.shutdown_blocking(PLENTY)?.aborted == 0,
        );
    }
    Ok(())
}
