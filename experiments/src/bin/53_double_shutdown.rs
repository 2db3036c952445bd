//! # 53 · double shutdown
//!
//! Shutting down twice is safe, says the plan to repair the Python bindings of *cloacina*, because the
//! second call finds the handle taken and returns (claim E4). It returns `Ok`. That is true if the
//! first call waited for the end. It is the answer as well after one that gave up at its limit, with
//! the thread running, and after one that was told of a panic.
//!
//! - `…/twice`: nothing is wrong, and the owner shuts down twice.
//! - `…/after-timeout`: the first call gives up at its limit, a job being stuck.
//! - `…/after-panic`: the first call is told that the thread had panicked.
//! - `kit/at-once`: fifty callers at once, half of them in async code.
//!
//! A trial fails where the second caller is told that all is well while the thread runs, or something
//! else than the first one of the same end.

use std::{
    error::Error,
    future::Future as _,
    ops::ControlFlow,
    process::ExitCode,
    sync::{Arc, Barrier},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use experiments::runtime_thread::{Ignoring, Watched, panic_quietly, stuck};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use sundown::{
    runtime::{RuntimeOwner, State},
    shutdown::{ShutdownError, ShutdownErrorKind, ShutdownReport},
};
use tokio::runtime::Builder;

/// A limit that a stuck job outlasts.
const LIMIT: Duration = Duration::from_millis(50);

/// A limit that nothing outlasts.
const PLENTY: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What is a second caller told of a runtime that is shut down twice?")
        .hypothesis(
            "In the plan, that all is well: true after a first call that saw the end, and not after \
             one that gave up or was told of a panic. In the kit, what the first one was told, or \
             what has become of it since.",
        )
        .variant(
            control("ignoring/twice", always(Clean), ignoring_twice)
                .about("as it is; nothing is wrong"),
        )
        .variant(
            control("watched/twice", always(Clean), |trial| watched(trial, First::SeesTheEnd))
                .about("the plan's shutdown; nothing is wrong"),
        )
        .variant(
            hazard("watched/after-timeout", always(Failed), |trial| watched(trial, First::GivesUp))
                .about("the plan's shutdown; the first call gives up at its limit"),
        )
        .variant(
            hazard("watched/after-panic", always(Failed), |trial| {
                watched(trial, First::IsToldOfAPanic)
            })
            .about("the plan's shutdown; the first call is told of a panic"),
        )
        .variant(
            cure("kit/twice", always(Clean), |trial| kit(trial, First::SeesTheEnd))
                .about("RuntimeOwner; nothing is wrong"),
        )
        .variant(
            cure("kit/after-timeout", always(Clean), |trial| kit(trial, First::GivesUp))
                .about("RuntimeOwner; the first call gives up at its limit"),
        )
        .variant(
            cure("kit/after-panic", always(Clean), |trial| kit(trial, First::IsToldOfAPanic))
                .about("RuntimeOwner; the first call is told of a panic"),
        )
        .variant(
            cure("kit/at-once", always(Clean), kit_at_once)
                .about("RuntimeOwner; fifty callers at once"),
        )
        .claim("E4", "A second shutdown is safe.")
        .supported_if(every("watched/*").is(always(Clean)) & every("ignoring/*").is(always(Clean)))
        .refuted_if(
            every("watched/twice").is(always(Clean))
                & every("watched/after-timeout").observed("second_told_ok").always_reads("true")
                & every("watched/after-timeout").observed("running").always_reads("true"),
        )
        .run()
}

/// What becomes of the first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    SeesTheEnd,
    GivesUp,
    IsToldOfAPanic,
}

/// What a trial makes of two answers: `true` is that all is well.
fn judge(trial: &Trial<'_>, first: bool, second: bool, running: bool) {
    trial.record("first_told_ok", first);
    trial.record("second_told_ok", second);
    trial.record("running", running);
    trial.check("nobody is told that all is well while the thread runs", !(second && running));
    trial.check("of the same end both are told the same", running || first == second);
}

fn ignoring_twice(_trial: &Trial<'_>) -> TrialResult {
    let mut owner = Ignoring::start("ignoring")?;
    owner.shutdown();
    owner.shutdown();
    Ok(())
}

fn watched(trial: &Trial<'_>, how: First) -> TrialResult {
    let mut owner = Watched::start("watched", if how == First::GivesUp { LIMIT } else { PLENTY })?;
    let (stuck, blocks) = stuck();
    // What the thread has, and drops when it ends.
    let alive = Arc::new(());
    let its_own = Arc::clone(&alive);
    match how {
        First::SeesTheEnd => owner.run(move || {
            drop(its_own);
            ControlFlow::Continue(())
        }),
        First::GivesUp => {
            owner.run(move || {
                blocks();
                drop(its_own);
                ControlFlow::Continue(())
            });
            stuck.until_it_blocks()?;
        }
        First::IsToldOfAPanic => {
            owner.run(move || {
                drop(its_own);
                panic_quietly()
            });
            owner.until_it_is_dead();
        }
    }
    let first = owner.shutdown().is_ok();
    let second = owner.shutdown().is_ok();
    judge(trial, first, second, Arc::strong_count(&alive) > 1);
    stuck.let_go();
    Ok(())
}

/// A waker that panics, called by the thread that drives the timer.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic_quietly()
    }
}

fn kit(trial: &Trial<'_>, how: First) -> TrialResult {
    let owner = RuntimeOwner::builder("kit").current_thread().start()?;
    let (stuck, blocks) = stuck();
    let alive = Arc::new(());
    let its_own = Arc::clone(&alive);
    match how {
        First::SeesTheEnd => drop(owner.spawn("a job", |_| async move { drop(its_own) })?),
        First::GivesUp => {
            drop(owner.spawn("a stuck job", |_| async move {
                blocks();
                drop(its_own);
            })?);
            stuck.until_it_blocks()?;
        }
        First::IsToldOfAPanic => {
            drop(its_own);
            panic_on_its_thread(&owner)?;
        }
    }
    let limit = if how == First::GivesUp { LIMIT } else { PLENTY };
    let first = owner.shutdown_blocking(limit).is_ok();
    let second = owner.shutdown_blocking(limit);
    judge(trial, first, second.is_ok(), Arc::strong_count(&alive) > 1);

    stuck.let_go();
    let last = owner.shutdown_blocking(PLENTY);
    trial.check("and the last has ended", Arc::strong_count(&alive) == 1);
    match how {
        First::SeesTheEnd | First::GivesUp => trial.check("gracefully", last.is_ok()),
        First::IsToldOfAPanic => {
            let said = panic_message(&last);
            trial.check("by the same panic", said.is_some() && said == panic_message(&second))
        }
    };
    Ok(())
}

/// What the panic of the runtime's thread said, by this answer.
fn panic_message(answer: &Result<ShutdownReport, ShutdownError>) -> Option<&str> {
    match answer {
        Err(ShutdownError { kind: ShutdownErrorKind::ThreadPanicked(message), .. }) => {
            Some(message)
        }
        _ => None,
    }
}

/// Has a panic end the runtime's thread: that of a waker that its timer calls.
fn panic_on_its_thread(owner: &RuntimeOwner) -> Result<(), Box<dyn Error>> {
    let handle = owner.handle()?;
    let _context = handle.enter();
    let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
    let waker = Waker::from(Arc::new(Panics));
    let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    while owner.stats().state != State::Ended {
        thread::yield_now();
    }
    Ok(())
}

fn kit_at_once(trial: &Trial<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("kit").workers(2).start()?;
    let alive = Arc::new(());
    let its_own = Arc::clone(&alive);
    drop(owner.spawn("a job", |stop| async move {
        stop.await;
        drop(its_own);
    })?);
    let barrier = Barrier::new(50);
    let answers: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..50)
            .map(|nth| {
                let (owner, barrier, alive) = (&owner, &barrier, &alive);
                scope.spawn(move || {
                    barrier.wait();
                    let answer = if nth % 2 == 0 {
                        owner.shutdown_blocking(PLENTY).is_ok()
                    } else {
                        let runtime = Builder::new_current_thread().build();
                        runtime
                            .is_ok_and(|runtime| runtime.block_on(owner.shutdown(PLENTY)).is_ok())
                    };
                    answer && Arc::strong_count(alive) == 1
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap_or(false)).collect()
    });
    trial.check("each is told of the end, after it", answers.iter().all(|answer| *answer));
    Ok(())
}
