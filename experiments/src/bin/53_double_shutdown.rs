//! 53 double shutdown: is a second shutdown idempotent (claim E4 about the bindings of cloacina)? It does
//! no harm, but it answers `Ok` after a first call that gave up, with the thread running, and after
//! one that reported a panic. Page: `docs/src/53-double-shutdown.md`.

use std::sync::Barrier;

use experiments::{
    prelude::*,
    probe::stuck,
    runtime_thread::{Owner, RuntimeThread, failures_logged, panic_on_thread_of, panic_quietly},
};
use sundown::{runtime::RuntimeOwner, shutdown::ShutdownErrorKind::ThreadPanicked};

/// A limit that a stuck job outlasts.
const LIMIT: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What is a second caller told of a runtime that is shut down twice?")
        .hypothesis(
            "In the plan, that all is well: true after a first call that saw the end, but not after \
             one that gave up or was told of a panic. In the kit, what the first one was told, or \
             what has happened since.",
        )
        .variants([
            control("ignoring/twice", ignoring_twice).about("as it is; nothing is wrong"),
            control("watched/twice", twice).about("the plan's shutdown; nothing is wrong"),
            hazard("watched/after-timeout", Failed, twice)
                .about("the plan's shutdown; the first call gives up at its limit"),
            hazard("watched/after-panic", Failed, twice)
                .about("the plan's shutdown; the first call is told of a panic"),
            cure("kit/twice", twice).about("RuntimeOwner; nothing is wrong"),
            cure("kit/after-timeout", twice)
                .about("RuntimeOwner; the first call gives up at its limit"),
            cure("kit/after-panic", twice)
                .about("RuntimeOwner; the first call is told of a panic"),
            cure("kit/at-once", kit_at_once).about("RuntimeOwner; fifty callers at once"),
        ])
        .keeps("first_told_ok", [])
        .keeps("second_told_ok", [])
        .keeps("first_logs", [])
        .keeps("second_logs", [])
        .keeps("running", [])
        .claim("E4", "A second shutdown is idempotent.")
        .supported_if(every("watched/twice").is(Clean) & every("ignoring/twice").is(Clean))
        .refuted_if(!every("watched/twice").is(Clean) | !every("ignoring/twice").is(Clean))
        .finding(
            "E4b",
            "After a first call that gave up, a second one answers `Ok` while the thread runs, and logs nothing.",
        )
        .supported_if(
            every("watched/after-timeout").observed("second_told_ok").always_reads("true")
                & every("watched/after-timeout").observed("running").always_reads("true")
                & every("watched/after-timeout").observed("second_logs").never_reads("true"),
        )
        .refuted_if(
            every("watched/after-timeout").observed("second_told_ok").never_reads("true")
                | every("watched/after-timeout").observed("second_logs").always_reads("true"),
        )
        .run()
}

fn ignoring_twice(_scene: &Scene<'_>) -> TrialResult {
    let mut owner = RuntimeThread::start("ignoring", None)?;
    owner.shutdown();
    owner.shutdown();
    Ok(())
}

fn twice(scene: &Scene<'_>) -> TrialResult {
    let mut owner = Owner::start(scene, RuntimeOwner::builder("kit").current_thread())?;
    let (times_out, panics) =
        (scene.variant().ends_with("-timeout"), scene.variant().ends_with("-panic"));
    // The job exists as long as the thread has not come to its end.
    let (job, work) = stuck();
    if times_out {
        owner.run(move || work.block())?;
        job.wait_begun()?;
    } else {
        owner.run(|| drop(work))?;
    }
    if panics {
        match &owner {
            Owner::Plan(thread) => {
                thread.run(|| panic_quietly());
                thread.wait_until_dead();
            }
            Owner::Kit(owner) => panic_on_thread_of(owner)?,
        }
    }

    let limit = if times_out { LIMIT } else { PLENTY };
    let first = owner.shutdown(limit);
    let logged_by_first = failures_logged().len();
    let second = owner.shutdown(limit);
    if let Owner::Plan(_) = &owner {
        scene.record("first_logs", logged_by_first > 0);
        scene.record("second_logs", failures_logged().len() > logged_by_first);
    }
    let running = job.exists();
    scene.record("first_told_ok", first.is_ok());
    scene.record("second_told_ok", second.is_ok());
    scene.record("running", running);
    scene.check(
        "nobody is told that all is well while the thread runs",
        !(second.is_ok() && running),
    );
    scene.check(
        "of the same end both are told the same",
        running || first.is_ok() == second.is_ok(),
    );

    job.let_go();
    if let Owner::Kit(owner) = owner {
        let last = owner.shutdown_blocking(PLENTY);
        scene.check("and the job has ended", !job.exists());
        if panics {
            let same = last.is_err_and(|last| {
                matches!(last.kind, ThreadPanicked(_))
                    && second.is_err_and(|second| second.message == last.to_string())
            });
            scene.check("by the same panic", same);
        } else {
            scene.check("gracefully", last.is_ok());
        }
    }
    Ok(())
}

fn kit_at_once(scene: &Scene<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("kit").workers(2).start()?;
    let alive = Arc::new(());
    let its_own = Arc::clone(&alive);
    drop(owner.spawn("a job", |stop| async move {
        stop.await;
        drop(its_own);
    })?);
    let barrier = Barrier::new(50);
    let call = &|nth: usize| {
        barrier.wait();
        let answer = if nth.is_multiple_of(2) {
            owner.shutdown_blocking(PLENTY)
        } else {
            block_on(owner.shutdown(PLENTY))
        };
        let over = Arc::strong_count(&alive) == 1;
        answer.map_or_else(|error| error.to_string(), |_| format!("Ok, over: {over}"))
    };
    let told = thread::scope(|scope| {
        let callers = Vec::from_iter((0..50).map(|nth| scope.spawn(move || call(nth))));
        let told = callers.into_iter().map(|caller| caller.join().unwrap_or("a panic".into()));
        told.filter(|told| told != "Ok, over: true").collect::<Vec<_>>()
    });
    scene.check(&format!("each is told of the end, after it; not {told:?}"), told.is_empty());
    Ok(())
}
