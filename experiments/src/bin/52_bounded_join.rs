//! 52 bounded join: a watchdog bounds the join of a thread that does not end (claim E3 about the
//! bindings of cloacina). What does that cost? A further thread for each join that gives up, a
//! destructor that blocks until the limit, and an answer that does not name what is stuck. Page:
//! `docs/src/52-bounded-join.md`.

use std::sync::mpsc;

use experiments::{
    prelude::*,
    probe::{Stuck, one_thread, stuck, threads_beyond},
    runtime_thread::{Owner, failures_logged},
};
use sundown::runtime::RuntimeOwner;

/// A limit that the jobs outlast.
const LIMIT: Duration = Duration::from_millis(50);

/// How long a trial looks at what only the trial itself can make happen.
const LOOK: Duration = Duration::from_millis(100);

/// How many owners are shut down in vain.
const OWNERS: usize = 3;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does a join cost that a watchdog bounds?")
        .hypothesis(
            "It returns at its limit. The price is one more thread for each join that did not end \
             in time, for as long as the joined thread lives; a destructor that blocks its caller until \
             the limit; and an answer that does not name what is stuck. The kit's costs no thread, its \
             drop does not wait, and its answer names the thread and the task.",
        )
        .variants([
            control("watchdog/ends-in-time", ends_in_time)
                .about("the plan's shutdown; the thread ends before the limit"),
            hazard("watchdog/ends-later", Failed, ends_later)
                .about("the plan's shutdown; three jobs outlast the limit")
                .waits(),
            hazard("watchdog/never-ends", Failed, never_ends)
                .about("the plan's shutdown; what its answer and its log say of a stuck job"),
            hazard("watchdog/drop", Failed, drop_in_async_code)
                .about("the plan's destructor, in async code; a job is stuck"),
            cure("kit/ends-in-time", ends_in_time)
                .about("RuntimeOwner; the thread ends before the limit"),
            cure("kit/ends-later", ends_later)
                .about("RuntimeOwner; three jobs outlast the limit"),
            cure("kit/never-ends", never_ends)
                .about("RuntimeOwner; what its answer says of a stuck job"),
            cure("kit/drop", drop_in_async_code)
                .about("RuntimeOwner's destructor, in async code; a job is stuck"),
        ])
        .keeps("returned_while_stuck", [])
        .keeps("answer_names_the_thread", [])
        .keeps("log_names_the_thread", [])
        .keeps("threads_more_than_before", [])
        .keeps("threads_left_at_the_end", [])
        .claim("E3", "A watchdog bounds the join of a thread that does not end.")
        .supported_if(
            every("watchdog/ends-in-time").is(Clean)
                & every("watchdog/ends-later").observed("returned_while_stuck").always_reads("true"),
        )
        .refuted_if(
            every("watchdog/ends-later").observed("returned_while_stuck").never_reads("true")
                | every("watchdog/ends-later").is(Hung),
        )
        .run()
}

/// An owner of a thread that works: the kit's has a worker for that.
fn start(scene: &Scene<'_>) -> TrialResult<Owner> {
    Owner::start(scene, RuntimeOwner::builder("kit").workers(1))
}

/// The same with a job that is stuck.
fn start_stuck(scene: &Scene<'_>) -> TrialResult<(Owner, Stuck)> {
    let (owner, (stuck, work)) = (start(scene)?, stuck());
    owner.run(move || work.block())?;
    stuck.wait_begun()?;
    Ok((owner, stuck))
}

/// How long the trial waits for something that the kit makes happen, and the plan does not.
const fn patience(owner: &Owner) -> Duration {
    if matches!(owner, Owner::Kit(_)) { PLENTY } else { LOOK }
}

fn ends_in_time(scene: &Scene<'_>) -> TrialResult {
    let at_first = threads_beyond(0, Duration::ZERO)?;
    let mut owner = start(scene)?;
    scene.check("it answers that it has ended", owner.shutdown(PLENTY).is_ok());
    scene.check("no thread is left", threads_beyond(at_first, PLENTY)? == 0);
    Ok(())
}

fn ends_later(scene: &Scene<'_>) -> TrialResult {
    let at_first = threads_beyond(0, Duration::ZERO)?;
    let mut stuck = (0..OWNERS).map(|_| start_stuck(scene)).collect::<TrialResult<Vec<_>>>()?;
    let before = threads_beyond(0, Duration::ZERO)?;
    // The jobs are stuck until the trial lets them go, below.
    let returned_while_stuck = stuck
        .iter_mut()
        .all(|(owner, _)| owner.shutdown(LIMIT).is_err_and(|failure| failure.timed_out));
    scene.record("returned_while_stuck", returned_while_stuck);
    scene.check("each shutdown returns, and says that the limit passed", returned_while_stuck);

    let more = threads_beyond(before, patience(&stuck[0].0))?;
    scene.record("threads_more_than_before", more);
    scene.check("the shutdowns left no further thread behind", more == 0);

    stuck.iter().for_each(|(_, job)| job.let_go());
    let left = threads_beyond(at_first, PLENTY)?;
    scene.record("threads_left_at_the_end", left);
    scene.check("when the jobs have ended all threads have", left == 0);
    Ok(())
}

fn never_ends(scene: &Scene<'_>) -> TrialResult {
    let (mut owner, stuck) = start_stuck(scene)?;
    let message = owner.shutdown(LIMIT).map_or_else(|failure| failure.message, |()| "Ok".into());
    let log = failures_logged().join("\n");
    stuck.let_go();
    let thread = match owner {
        Owner::Plan(_) => "watched",
        Owner::Kit(_) => {
            scene.check("it names the task as well", message.contains("a stuck job"));
            scene.check("and where it was spawned", message.contains("52_bounded_join.rs:"));
            "thread `kit-0`"
        }
    };
    // Without the number of seconds, which varies.
    let names = |said: &str| said.contains(thread);
    scene.record("answer_names_the_thread", names(&message));
    scene.record("log_names_the_thread", names(&log));
    scene.check("somebody names the thread that does not end", names(&message) || names(&log));
    Ok(())
}

fn drop_in_async_code(scene: &Scene<'_>) -> TrialResult {
    let (owner, stuck) = start_stuck(scene)?;
    let patience = patience(&owner);
    let (dropped, is_dropped) = mpsc::channel();
    let runtime = one_thread()?;
    let dropping = thread::spawn(move || {
        runtime.block_on(async move {
            drop(owner);
            let _ = dropped.send(());
        });
    });
    let returned = is_dropped.recv_timeout(patience).is_ok();
    scene.record("returned_while_stuck", returned);
    scene.check("the drop returns while the job is stuck", returned);
    stuck.let_go();
    dropping.join().map_err(|_| "the dropping thread panicked")?;
    Ok(())
}
