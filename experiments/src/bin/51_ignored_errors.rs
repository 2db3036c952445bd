//! 51 ignored errors: what does an owner learn from a shutdown that ignores its errors (claims E1,
//! E2 about the bindings of cloacina)? A thread that panicked or returned early looks like one that
//! was shut down, and one that is stuck hangs its owner. The plan's repair reports one of the two
//! deaths. Page: `docs/src/51-ignored-errors.md`.

use experiments::{
    prelude::*,
    probe::stuck,
    runtime_thread::{RuntimeThread, panic_on_thread_of, panic_quietly},
};
use sundown::{
    runtime::RuntimeOwner,
    shutdown::ShutdownErrorKind::{Panicked, ThreadPanicked, TimedOut},
};

/// A limit that a stuck job outlasts.
const LIMIT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does the owner of a runtime thread learn from a shutdown that ignores errors?")
        .hypothesis(
            "Nothing: a thread that panicked or whose loop ended looks like one that was shut down, \
             and one that is stuck hangs its owner. Both deaths show in the results, if these are \
             checked; the plan's repair reports one of the two. The kit reports all.",
        )
        .variants([
            control("ignoring/healthy", bindings).about("as it is; nothing is wrong with the thread"),
            hazard("ignoring/thread-panicked", Failed, bindings).about("as it is; a job panicked"),
            hazard("ignoring/thread-returned", Failed, bindings)
                .about("as it is; the loop ended early"),
            hang("ignoring/thread-stuck", bindings_stuck).about("as it is; a job does not end"),
            control("looking/healthy", bindings)
                .about("both results looked at; nothing is wrong with the thread"),
            control("looking/thread-panicked", bindings)
                .about("both results looked at; a job panicked"),
            control("looking/thread-returned", bindings)
                .about("both results looked at; the loop ended early"),
            control("watched/thread-panicked", bindings).about("the plan's repair; a job panicked"),
            hazard("watched/thread-returned", Failed, bindings)
                .about("the plan's repair; the loop ended early"),
            cure("kit/healthy", kit).about("RuntimeOwner"),
            cure("kit/task-panicked", kit).about("RuntimeOwner; a task panicked"),
            cure("kit/thread-panicked", kit).about("RuntimeOwner; its thread panicked"),
            cure("kit/thread-stuck", kit).about("RuntimeOwner; a task does not yield"),
        ])
        .claim("E1", "Ignored send and join errors hide a dead runtime thread.")
        .supported_if(
            every("ignoring/thread-*d").observed("told").never_reads("true")
                & every("ignoring/healthy").is(Clean)
                & every("looking/thread-*").observed("told").always_reads("true"),
        )
        .refuted_if(every("ignoring/thread-*d").observed("told").always_reads("true"))
        .claim("E2", "A join without a limit can hang for ever.")
        .supported_if(
            every("ignoring/thread-stuck").is(Hung)
                & every("ignoring/thread-stuck").observed("asked").always_reads("true")
                & every("ignoring/healthy").is(Clean),
        )
        .refuted_if(every("ignoring/thread-stuck").is(Clean))
        .run()
}

fn judge(scene: &Scene<'_>, told: bool, wrong: bool) -> TrialResult {
    scene.record("told", told);
    scene.check("the owner is told if, and only if, something was wrong", told == wrong);
    Ok(())
}

fn bindings(scene: &Scene<'_>) -> TrialResult {
    let (shutdown, thread) = scene.variant().split_once('/').ok_or("half a name")?;
    let mut owner = RuntimeThread::start(shutdown, None)?;
    match thread {
        "thread-panicked" => owner.run(|| panic_quietly()),
        "thread-returned" => owner.end_loop(),
        _ => owner.run(|| {}),
    }
    let dead = thread != "healthy";
    if dead {
        owner.wait_until_dead();
    }
    let told = match shutdown {
        // An answer without a size is the same whatever happened.
        "ignoring" => size_of_val(&owner.shutdown()) > 0,
        "looking" => {
            let (signal_taken, joined) = owner.shutdown_checked();
            scene.record("signal_taken", signal_taken);
            scene.record("joined", joined);
            !(signal_taken && joined)
        }
        _ => {
            let answer = owner.shutdown_within(PLENTY);
            let told = answer.is_err();
            scene.record("answer", answer.map_or_else(|failure| failure.message, |()| "Ok".into()));
            told
        }
    };
    judge(scene, told, dead)
}

fn bindings_stuck(scene: &Scene<'_>) -> TrialResult {
    let mut owner = RuntimeThread::start("ignoring", None)?;
    let (stuck, work) = stuck();
    owner.run(move || work.block());
    stuck.wait_begun()?;
    scene.record("asked", true);
    owner.shutdown();
    Ok(())
}

fn kit(scene: &Scene<'_>) -> TrialResult {
    let owner = RuntimeOwner::builder("kit").current_thread().start()?;
    let (stuck, work) = stuck();
    let fault = scene.variant();
    match fault {
        "kit/task-panicked" => {
            drop(owner.spawn::<(), _>("a job", |_| async { panic_quietly() })?);
        }
        "kit/thread-panicked" => panic_on_thread_of(&owner)?,
        "kit/thread-stuck" => {
            drop(owner.spawn("a job", |_| async move { work.block() })?);
            stuck.wait_begun()?;
        }
        _ => drop(owner.spawn("a job", |_| async {})?),
    }
    let limit = if fault == "kit/thread-stuck" { LIMIT } else { PLENTY };
    let answer = owner.shutdown_blocking(limit);
    let told = answer.as_ref().is_err_and(|error| match fault {
        "kit/task-panicked" => matches!(error.kind, Panicked(_)),
        "kit/thread-panicked" => matches!(error.kind, ThreadPanicked(_)),
        "kit/thread-stuck" => matches!(error.kind, TimedOut),
        _ => true,
    });
    if fault.ends_with("-panicked") {
        scene.record("answer", answer.map_or_else(|error| error.to_string(), |_| "Ok".into()));
    }
    if fault == "kit/thread-stuck" {
        stuck.let_go();
        let _ = owner.shutdown_blocking(PLENTY)?;
    }
    judge(scene, told, fault != "kit/healthy")
}
