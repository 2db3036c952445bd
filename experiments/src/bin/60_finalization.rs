//! # 60 · finalization
//!
//! A Rust extension with a Tokio runtime, in a Python program that ends. Up to CPython 3.13 an
//! interpreter that is being taken down ends every other thread that asks for its lock, by
//! `pthread_exit`, in the middle of whatever that thread does; the unwinding that this is meets a
//! frame of Rust's, and the process aborts. The notes of *etcd-client-py* (BA-1976) saw that in about
//! half of their exits, and propose cures.
//!
//! Each trial becomes `python3 experiments/python/exit.py DESIGN ENDING`. Four tasks call a Python
//! callable again and again that sends and receives on a socket, and so releases the interpreter's lock
//! and takes it again hundreds of times. An object that is alive in a module keeps the finalization
//! busy for 50 ms. A trial is clean only if the program ends by itself with the exit code that its
//! ending has, nothing fatal and no panic on standard error, and its last line on standard output,
//! which the first of all `atexit` handlers prints.
//!
//! - `static/…`: the runtime in a static cell, which nothing shuts down; by how the program ends.
//! - the other designs, with one ending each: an owner in a static whose destructor joins; a
//!   background shutdown in `atexit`; a join there that keeps the interpreter's lock; cleanup in
//!   `__del__`; a context manager that the program does not leave by its end; a join within a limit,
//!   with work that outlives it; one without a limit, with work that is stuck; a runtime that is
//!   started again for work that comes late.
//! - the controls take one thing away: the calls into Python, the finalization, the forgotten end of
//!   the block, the lock, the lack of a gate.
//! - `kit/…`: `sundown.Runtime`, with every ending.

use std::{process::ExitCode, time::Duration};

use experiments::{Scene, control, cure, hazard, python};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Hung, Signalled},
    Prediction, Program, TrialResult, Variant, every, seen,
};

/// For what hangs: long enough to get there on a busy machine.
const SHORT: Duration = Duration::from_millis(1500);

/// The limit of what does not end, in `exit.py`, and what an exit may take beyond it here, where the
/// machine may be busy. The page tells what it takes.
const LIMIT: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_secs(15);

/// Most of these races are lost in five of six trials at the least (the page has the intervals), others
/// in half of them, and one in a fifth: one in a million runs would miss it.
const RACE: u32 = 8;
const CLOSE_RACE: u32 = 20;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Which Rust extensions survive the end of their Python interpreter?")
        .hypothesis(
            "Those whose threads have left the interpreter, and can no longer enter it, before it is \
             taken down: a Python atexit handler that lets go of the interpreter's lock, closes a \
             gate and joins. A static runtime aborts, however the program ends, and so does every \
             design that cleans up later, waits for nothing, or lets work outlive its limit; one that \
             keeps the lock, or has no limit, hangs.",
        )
        .needs(python::extensions)
        .variants(statics())
        .variants(designs())
        .variants(controls())
        .variants(kit())
        .claim("C1", "About half of the exits crash on fast machines.")
        .supported_if(every("static/watching").fails_at_least(40))
        .refuted_if(every("static/watching").fails_at_most(10))
        .claim("C4", "An owner in a static cell with a joining `Drop` is the most robust design.")
        .supported_if(every("static-owner/*").is(Clean))
        .refuted_if(every("static-owner/*").is(lost()) & every("gated/watching").is(Clean))
        .claim("C6", "Cleanup belongs in `__del__`, a context manager, or `atexit`.")
        .supported_if(
            every("in-del/*").is(Clean)
                & every("context-manager/watching").is(Clean)
                & every("background/*").is(Clean)
                & every("holding-the-lock/*").is(Clean),
        )
        .refuted_if(
            every("in-del/*").is(lost())
                & every("context-manager/watching").is(lost())
                & every("background/*").is(lost())
                & every("holding-the-lock/*").is(Hung)
                & every("joined/watching").is(Clean),
        )
        .kit_claim(
            "sundown.Runtime survives it: with work in flight, awaited or not, closed or not, by \
             return, sys.exit, an uncaught exception or os._exit, with work that comes late, outlives \
             its limit or is stuck; and exit codes stay what they were",
        )
        .run()
}

/// Ends in the way that threads do which are ended inside Rust; not always at once.
fn lost() -> Prediction {
    seen(Aborted).allowing([Clean, Signalled])
}

/// What a program's end should be.
fn expected(ending: &str, program: Program) -> Program {
    let program = program.ends_with("the last line");
    match ending {
        "sys-exit" => program.exits_with(3),
        "uncaught" => program.exits_with(1).complains("RuntimeError: as meant"),
        _ => program,
    }
}

/// A trial of a design with an ending, by the name of the variant.
fn trial(trial: &Scene<'_>) -> TrialResult {
    let (design, ending) = trial.variant().split_once('/').ok_or("it names no ending")?;
    python::becomes(trial, "exit.py", &[design, ending], |it| expected(ending, it))
}

fn statics() -> Vec<Variant> {
    let losing = |name, about| hazard(name, lost(), trial).about(about).trials(RACE);
    vec![
        losing("static/watching", "returns while tasks go on that it does not wait for")
            .trials(CLOSE_RACE),
        losing("static/awaited", "returns when everything that it started has returned")
            .trials(3 * CLOSE_RACE),
        losing("static/not-awaited", "returns without having waited for what it started"),
        losing("static/sys-exit", "sys.exit(3) in a coroutine, while tasks go on"),
        losing("static/uncaught", "an exception that nobody catches, while tasks go on"),
        losing("static/thousand", "returns with a thousand operations in flight")
            .trials(CLOSE_RACE),
    ]
}

fn designs() -> Vec<Variant> {
    let losing = |name, about| hazard(name, lost(), trial).about(about).trials(RACE);
    let hanging = |name, about| hazard(name, Hung, trial).about(about).trials(5).deadline(SHORT);
    vec![
        losing("static-owner/watching", "an owner in a static cell, whose destructor joins"),
        losing("background/watching", "atexit shuts the runtime down in the background"),
        hanging("holding-the-lock/watching", "atexit joins, and keeps the interpreter's lock"),
        losing("in-del/watching", "`__del__` of an object in a module joins, without the lock"),
        losing("context-manager/watching", "a context manager would join; no block is used"),
        losing("bounded/outlives", "atexit joins within a limit that blocking work outlives"),
        hanging("joined/stuck", "atexit joins without a limit, and a blocking task is stuck"),
        losing("restarts/late-work", "a later handler's work gets a runtime that is started anew")
            .trials(CLOSE_RACE),
    ]
}

fn controls() -> Vec<Variant> {
    let clean = |name, about| control(name, trial).about(about).trials(5).deadline(python::PLENTY);
    vec![
        clean("static/never-calls", "tasks go on that do not call into Python"),
        clean("static/os-exit", "os._exit, which takes nothing down, while tasks go on"),
        clean("context-manager/closed", "the block is used"),
        clean("joined/watching", "atexit joins without the lock and without a limit"),
        clean("bounded/stuck", "within a limit, and a blocking task is stuck in Rust"),
        clean("gated/watching", "a gate is closed first; within a limit"),
        clean("gated/outlives", "the same, and blocking work outlives the limit"),
        clean("refuses/late-work", "a later handler's work is refused"),
    ]
}

fn kit() -> Vec<Variant> {
    let clean = |name, about| cure(name, trial).about(about).deadline(python::PLENTY);
    let within = |name, about| clean(name, about).deadline(LIMIT + SLACK);
    vec![
        clean("kit/closed", "the block is used, with tasks that go on"),
        clean("kit/watching", "returns without closing, while tasks go on"),
        clean("kit/awaited", "returns without closing, when everything has returned"),
        clean("kit/not-awaited", "returns without having waited for what it started"),
        clean("kit/sys-exit", "sys.exit(3) in a coroutine, while tasks go on"),
        clean("kit/uncaught", "an exception that nobody catches, while tasks go on"),
        clean("kit/thousand", "returns with a thousand operations in flight"),
        clean("kit/os-exit", "os._exit, which takes nothing down, while tasks go on"),
        clean("kit/late-work", "a later handler submits work, and is refused"),
        within("kit/outlives", "callables that go on calling for ever; limit 200 ms"),
        within("kit/stuck", "a callable that does not end; limit 200 ms"),
    ]
}
