//! 51 ignored errors: what does an owner learn from a shutdown that ignores its errors (claims E1,
//! E2 about the bindings of cloacina)? A thread that panicked or returned early looks like one that
//! was shut down, and one that is stuck hangs its owner. The plan's repair logs both deaths, and returns
//! one. Page: `docs/src/51-ignored-errors.md`.

use std::fmt::Debug;

use experiments::{
    prelude::*,
    probe::stuck,
    runtime_thread::{RuntimeThread, failures_logged, panic_on_thread_of, panic_quietly},
};
use sundown::{
    runtime::RuntimeOwner,
    shutdown::ShutdownErrorKind::{Panicked, ThreadPanicked, TimedOut},
};

/// A limit that a stuck job outlasts.
const LIMIT: Duration = Duration::from_millis(100);

/// What the thread's panic says.
const MESSAGE: &str = "the thread is broken";

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does the owner of a runtime thread learn from a shutdown that ignores errors?")
        .hypothesis(
            "Nothing: a thread that panicked or whose loop ended looks like one that was shut down, \
             and one that is stuck hangs its owner. Both deaths show in the results, if these are \
             checked; the plan's repair logs both, and returns one. The kit reports all.",
        )
        .first_expected(
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
            control("watched/healthy", bindings)
                .about("the plan's repair; nothing is wrong with the thread"),
            control("watched/thread-returned", bindings)
                .about("the plan's repair; the loop ended early"),
            cure("kit/healthy", kit).about("RuntimeOwner"),
            cure("kit/task-panicked", kit).about("RuntimeOwner; a task panicked"),
            cure("kit/thread-panicked", kit).about("RuntimeOwner; its thread panicked"),
            cure("kit/thread-stuck", kit).about("RuntimeOwner; a task does not yield"),
        ])
        .part("bindings", shut_down)
        .keeps("told_by_result", [])
        .keeps("told_by_log", [])
        .keeps("stderr_has_it", [])
        .claim("E1", "Ignored send and join errors hide a dead runtime thread.")
        .supported_if(
            every("ignoring/thread-*d").observed("told").always_reads("false")
                & every("ignoring/healthy").is(Clean)
                & every("looking/thread-*").observed("told_by_result").always_reads("true"),
        )
        .refuted_if(
            every("ignoring/thread-panicked").observed("told").always_reads("true")
                | every("ignoring/thread-returned").observed("told").always_reads("true"),
        )
        .finding(
            "E1b",
            "The plan logs a signal that could not be sent, and its caller is told that all is well.",
        )
        .supported_if(
            every("watched/thread-returned").observed("told_by_log").always_reads("true")
                & every("watched/thread-returned").observed("told_by_result").always_reads("false")
                & every("watched/thread-panicked").observed("told_by_result").always_reads("true"),
        )
        .refuted_if(
            every("watched/thread-returned").observed("told_by_log").always_reads("false")
                | every("watched/thread-returned").observed("told_by_result").always_reads("true"),
        )
        .claim("E2", "A join without a limit can hang for ever.")
        .supported_if(
            every("ignoring/thread-stuck").is(Hung)
                & every("ignoring/thread-stuck").observed("asked").always_reads("true")
                & every("ignoring/healthy").is(Clean),
        )
        .refuted_if(every("ignoring/thread-stuck").is(Clean))
        .run()
}

/// Shuts a thread down in a process of its own, with the standard library's panic hook, and looks at
/// everything that this process says.
fn bindings(scene: &Scene<'_>) -> TrialResult {
    let ended = scene.part("bindings")?.arg(scene.variant()).output()?;
    scene.check("the process ended well", ended.status.success());
    let mut told = false;
    for line in String::from_utf8(ended.stdout)?.lines() {
        let (name, flag) = line.split_once(' ').ok_or("a line without a flag")?;
        let flag: bool = flag.parse()?;
        scene.record(name, flag);
        told |= flag && name.starts_with("told_by_");
    }
    if scene.case() == "thread-panicked" {
        scene.record("stderr_has_it", String::from_utf8_lossy(&ended.stderr).contains(MESSAGE));
    }
    judge(scene, told, scene.case() != "healthy")
}

fn judge(scene: &Scene<'_>, told: bool, wrong: bool) -> TrialResult {
    scene.record("told", told);
    scene.check("the owner is told if, and only if, something was wrong", told == wrong);
    Ok(())
}

/// Prints who is told that the thread was dead. The result tells if it differs from that for a healthy
/// thread, and the log if it has more failures.
fn shut_down(arguments: &[String]) -> TrialResult {
    let [variant] = arguments else { return Err("no variant".into()) };
    let (shutdown, thread) = variant.split_once('/').ok_or("half a name")?;
    let healthy = result(shutdown, "healthy")?;
    let logged = failures_logged().len();
    let result = result(shutdown, thread)?;
    println!("told_by_result {}", result != healthy);
    println!("told_by_log {}", failures_logged().len() > logged);
    Ok(())
}

/// What a shutdown of this kind returns after this has happened to the thread.
#[expect(clippy::panic, reason = "what the experiment is about")]
fn result(shutdown: &str, thread: &str) -> TrialResult<String> {
    let mut owner = RuntimeThread::start(shutdown, None)?;
    match thread {
        "thread-panicked" => owner.run(|| panic!("{MESSAGE}")),
        "thread-returned" => owner.end_loop(),
        _ => owner.run(|| {}),
    }
    if thread != "healthy" {
        owner.wait_until_dead();
    }
    Ok(match shutdown {
        "ignoring" => returned(|| owner.shutdown()),
        "looking" => returned(|| owner.shutdown_checked()),
        _ => returned(|| owner.shutdown_within(PLENTY)),
    })
}

/// Whatever a shutdown returns, as text.
fn returned<T: Debug>(shutdown: impl FnOnce() -> T) -> String {
    format!("{:?}", shutdown())
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
