//! # 52 · bounded join
//!
//! The standard library cannot join a thread within a limit. The plan to repair the Python bindings of
//! *cloacina* has a second thread, a watchdog, do the join and waits for that one's answer with a
//! limit (claim E3). What does it cost, beside the limit?
//!
//! - `…/ends-in-time`: the thread ends before the limit.
//! - `…/ends-later`: a job outlasts the limit, three owners one after another. Are there more threads
//!   after the shutdowns than before, while the jobs are stuck? And when they have ended, are all
//!   threads gone?
//! - `…/never-ends`: does the answer name what does not end?
//! - `…/drop`: the owner is dropped in async code, its job stuck. Does the drop return as long as it
//!   is? The limit is long; the trial looks for [`LOOK`] and then lets the job go.
//!
//! Threads are counted by what Linux lists in `/proc/self/task`. A count that is to come down is
//! waited for.

use std::{
    error::Error,
    fs,
    ops::ControlFlow,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use experiments::runtime_thread::{Stuck, Watched, WatchedError, stuck};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use sundown::{
    runtime::RuntimeOwner,
    shutdown::{ShutdownError, ShutdownErrorKind},
};
use tokio::runtime::Builder;

/// A limit that the jobs outlast.
const LIMIT: Duration = Duration::from_millis(50);

/// A limit that nothing outlasts, and how long is waited for what must come.
const PLENTY: Duration = Duration::from_secs(8);

/// How long a trial looks at what does not come unless the trial itself makes it.
const LOOK: Duration = Duration::from_millis(100);

/// How many owners shut down in vain.
const OWNERS: usize = 3;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What does a join cost that a watchdog bounds?")
        .hypothesis(
            "It returns at its limit. The price is a further thread for each join that did not end \
             in time, for as long as the other does not; a destructor that blocks its caller for the \
             limit; and an answer that does not name what is stuck. The kit's costs no thread, its \
             drop does not wait, and its answer names the thread and the task.",
        )
        .variant(
            control("watchdog/ends-in-time", always(Clean), watchdog_in_time)
                .about("the plan's shutdown; the thread ends before the limit"),
        )
        .variant(
            hazard("watchdog/ends-later", always(Failed), watchdog_later)
                .about("the plan's shutdown; three jobs outlast the limit")
                .waits(),
        )
        .variant(
            hazard("watchdog/never-ends", always(Failed), watchdog_names)
                .about("the plan's shutdown; what its answer says of a stuck job"),
        )
        .variant(
            hazard("watchdog/drop", always(Failed), |trial| {
                let owner = Watched::start("watched", PLENTY)?;
                let (stuck, blocks) = stuck();
                owner.run(|| {
                    blocks();
                    ControlFlow::Continue(())
                });
                drop_in_async_code(trial, owner, stuck, LOOK)
            })
            .about("the plan's destructor, in async code; a job is stuck"),
        )
        .variant(
            cure("kit/ends-in-time", always(Clean), kit_in_time)
                .about("RuntimeOwner; the thread ends before the limit"),
        )
        .variant(
            cure("kit/ends-later", always(Clean), kit_later)
                .about("RuntimeOwner; three jobs outlast the limit"),
        )
        .variant(
            cure("kit/never-ends", always(Clean), kit_names)
                .about("RuntimeOwner; what its answer says of a stuck job"),
        )
        .variant(
            cure("kit/drop", always(Clean), |trial| {
                let (owner, stuck) = stuck_kit("kit")?;
                drop_in_async_code(trial, owner, stuck, PLENTY)
            })
            .about("RuntimeOwner's destructor, in async code; a job is stuck"),
        )
        .claim("E3", "A watchdog bounds the join of a thread that does not end.")
        .supported_if(
            every("watchdog/ends-in-time").is(always(Clean))
                & every("watchdog/ends-later").observed("returned_while_stuck").always_reads("true"),
        )
        .refuted_if(
            every("watchdog/ends-later").observed("returned_while_stuck").never_reads("true"),
        )
        .run()
}

fn threads() -> Result<usize, Box<dyn Error>> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Waits until there are at most so many threads, and says how many there are then or at last.
fn threads_down_to(wanted: usize, patience: Duration) -> Result<usize, Box<dyn Error>> {
    let began = Instant::now();
    loop {
        let found = threads()?;
        if found <= wanted || began.elapsed() > patience {
            return Ok(found);
        }
        thread::yield_now();
    }
}

fn stuck_watched(limit: Duration) -> Result<(Watched, Stuck), Box<dyn Error>> {
    let owner = Watched::start("watched", limit)?;
    let (stuck, blocks) = stuck();
    owner.run(|| {
        blocks();
        ControlFlow::Continue(())
    });
    stuck.until_it_blocks()?;
    Ok((owner, stuck))
}

/// A runtime with workers: its thread waits for them, as the plan's thread is one that works.
fn stuck_kit(name: &str) -> Result<(RuntimeOwner, Stuck), Box<dyn Error>> {
    let owner = RuntimeOwner::builder(name).workers(1).start()?;
    let (stuck, blocks) = stuck();
    drop(owner.spawn("a stuck job", |_| async { blocks() })?);
    stuck.until_it_blocks()?;
    Ok((owner, stuck))
}

fn watchdog_in_time(trial: &Trial<'_>) -> TrialResult {
    let at_first = threads()?;
    let mut owner = Watched::start("watched", PLENTY)?;
    trial.check("it answers that it has ended", owner.shutdown() == Ok(()));
    let left = threads_down_to(at_first, PLENTY)?.saturating_sub(at_first);
    trial.check("no thread is left", left == 0);
    Ok(())
}

fn kit_in_time(trial: &Trial<'_>) -> TrialResult {
    let at_first = threads()?;
    let owner = RuntimeOwner::builder("kit").workers(1).start()?;
    trial.check("it answers that it has ended", owner.shutdown_blocking(PLENTY).is_ok());
    let left = threads_down_to(at_first, PLENTY)?.saturating_sub(at_first);
    trial.check("no thread is left", left == 0);
    Ok(())
}

fn watchdog_later(trial: &Trial<'_>) -> TrialResult {
    later(
        trial,
        LOOK,
        || stuck_watched(LIMIT),
        |owner| matches!(owner.shutdown(), Err(WatchedError::Timeout(_))),
    )
}

fn kit_later(trial: &Trial<'_>) -> TrialResult {
    later(
        trial,
        PLENTY,
        || stuck_kit("kit"),
        |owner| {
            matches!(
                owner.shutdown_blocking(LIMIT),
                Err(ShutdownError { kind: ShutdownErrorKind::TimedOut, .. })
            )
        },
    )
}

fn later<O>(
    trial: &Trial<'_>,
    patience: Duration,
    start: impl Fn() -> Result<(O, Stuck), Box<dyn Error>>,
    times_out: impl Fn(&mut O) -> bool,
) -> TrialResult {
    let at_first = threads()?;
    let (mut owners, mut jobs) = (Vec::new(), Vec::new());
    for _ in 0..OWNERS {
        let (owner, stuck) = start()?;
        owners.push(owner);
        jobs.push(stuck);
    }
    let before = threads()?;
    // Each job is stuck until the trial lets it go, below.
    let returned_while_stuck = owners.iter_mut().all(times_out);
    trial.record("returned_while_stuck", returned_while_stuck);
    trial.check("each shutdown returns, and says that the limit passed", returned_while_stuck);

    let more = threads_down_to(before, patience)?.saturating_sub(before);
    trial.record("threads_more_than_before", more);
    trial.check("the shutdowns left no further thread behind", more == 0);

    jobs.into_iter().for_each(Stuck::let_go);
    let left = threads_down_to(at_first, PLENTY)?.saturating_sub(at_first);
    trial.record("threads_left_at_the_end", left);
    trial.check("when the jobs have ended all threads have", left == 0);
    Ok(())
}

fn watchdog_names(trial: &Trial<'_>) -> TrialResult {
    let (mut owner, stuck) = stuck_watched(LIMIT)?;
    let answer = owner.shutdown().map_or_else(|error| error.to_string(), |()| "Ok".to_owned());
    stuck.let_go();
    names(trial, &answer, "watched")
}

fn kit_names(trial: &Trial<'_>) -> TrialResult {
    let (owner, stuck) = stuck_kit("kit")?;
    let answer = owner.shutdown_blocking(LIMIT);
    stuck.let_go();
    let answer = answer.map_or_else(|error| error.to_string(), |_| "Ok".to_owned());
    trial.check("it names the task as well", answer.contains("a stuck job"));
    trial.check("and where it was spawned", answer.contains("52_bounded_join.rs:"));
    names(trial, &answer, "thread kit-0")
}

fn names(trial: &Trial<'_>, answer: &str, thread: &str) -> TrialResult {
    // Without the number of seconds, which varies.
    trial.record("answer_names_the_thread", answer.contains(thread));
    trial.check("the answer names the thread that does not end", answer.contains(thread));
    Ok(())
}

/// Drops an owner in async code, while its job is stuck.
fn drop_in_async_code<O: Send + 'static>(
    trial: &Trial<'_>,
    owner: O,
    stuck: Stuck,
    patience: Duration,
) -> TrialResult {
    let (dropped, is_dropped) = mpsc::channel();
    let dropping = thread::spawn(move || {
        let runtime = Builder::new_current_thread().build();
        runtime.map(|runtime| {
            runtime.block_on(async move {
                drop(owner);
                let _ = dropped.send(());
            });
        })
    });
    let returned = is_dropped.recv_timeout(patience).is_ok();
    trial.record("returned_while_stuck", returned);
    trial.check("the drop returns while the job is stuck", returned);
    stuck.let_go();
    dropping.join().map_err(|_| "the dropping thread panicked")??;
    Ok(())
}
