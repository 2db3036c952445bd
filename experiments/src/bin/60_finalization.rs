//! 60 finalization: which Rust extensions with a Tokio runtime survive the end of their Python
//! interpreter? Up to CPython 3.13 it ends every thread that asks for its lock, which aborts Rust.
//! The notes of etcd-client-py propose cures (C4, C6). A trial becomes
//! `experiments/python/exit.py DESIGN ENDING`. Page: `docs/src/60-finalization.md`.

use experiments::{
    prelude::*,
    python::{self, PLENTY, lost},
};
use lab::{Condition, Subject};

/// The limit of the work that does not end, in `exit.py`, and what an exit may take beyond it,
/// since the machine may be busy. The page has the measured times.
const LIMIT: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_secs(15);

/// Most of these races are lost in at least five of six trials (the page has the intervals), others
/// in half of them, and one in a fifth: a run that misses one is a one-in-a-million event.
const RACE: u32 = 8;
const CLOSE_RACE: u32 = 20;

fn main() -> ExitCode {
    let losing = |name, about| hazard(name, lost(), trial).about(about).trials(RACE);
    let hanging = |name, about| hang(name, trial).about(about);
    let clean = |name, about| control(name, trial).about(about).deadline(PLENTY);
    let brief = |name, about| clean(name, about).trials(5);
    let kit = |name, about| cure(name, trial).about(about).deadline(PLENTY);
    Experiment::new(file!())
        .question("Which Rust extensions survive the end of their Python interpreter?")
        .hypothesis(
            "Those whose threads have left the interpreter, and can no longer enter it, before it is \
             taken down: with a Python atexit handler that releases the interpreter's lock, closes a \
             gate and joins. A static runtime aborts, however the program ends, and so does every \
             design that cleans up later, does not wait, or lets work outlive its limit; one that \
             keeps the lock, or has no limit, hangs.",
        )
        .needs(python::extensions)
        .variants([
            losing("static/watching", "returns while tasks go on that it does not wait for")
                .trials(CLOSE_RACE),
            losing("static/awaited", "returns when everything that it started has returned")
                .trials(3 * CLOSE_RACE),
            losing("static/not-awaited", "returns without having waited for what it started")
                .trials(CLOSE_RACE),
            losing("static/sys-exit", "sys.exit(3) in a coroutine, while tasks go on"),
            losing("static/uncaught", "an exception that nobody catches, while tasks go on"),
            losing("static/thousand", "returns with a thousand operations in flight")
                .trials(CLOSE_RACE),
            losing("static-owner/watching", "an owner in a static cell, whose destructor joins"),
            losing("single-thread/watching", "the same with a single-threaded runtime"),
            hanging(
                "cleanup-holding-the-lock/watching",
                "the same, and an exit function for cleanup, which keeps the interpreter's lock",
            ),
            losing("background/watching", "atexit shuts the runtime down in the background"),
            hanging("holding-the-lock/watching", "atexit joins, and keeps the interpreter's lock"),
            losing("in-del/watching", "`__del__` of an object in a module joins, without the lock"),
            losing("context-manager/watching", "a context manager would join; no block is used"),
            losing("bounded/outlives", "atexit joins within a limit that blocking work outlives"),
            hanging("joined/stuck", "atexit joins without a limit, and a blocking task is stuck"),
            losing("restarts/late-work", "a later handler's work gets a runtime that is started anew")
                .trials(CLOSE_RACE),
        ])
        .variants([
            clean("static/never-calls", "tasks go on that do not call into Python"),
            clean("static/ended", "returns when everything has returned, and every task has ended"),
            brief("static/os-exit", "os._exit, which takes nothing down, while tasks go on"),
            clean("context-manager/closed", "the block is used"),
            clean("cleanup/watching", "the single-threaded owner, and an exit function for cleanup"),
            clean("in-del/released", "`__del__` joins, of an object that is released before the end"),
            clean("joined/watching", "atexit joins without the lock and without a limit"),
            brief("bounded/stuck", "within a limit, and a blocking task is stuck in Rust"),
            brief("gated/watching", "a gate is closed first; within a limit"),
            brief("gated/outlives", "the same, and blocking work outlives the limit"),
            brief("refuses/late-work", "a later handler's work is refused"),
        ])
        .variants([
            kit("kit/closed", "the block is used, with tasks that go on"),
            kit("kit/watching", "returns without closing, while tasks go on"),
            kit("kit/awaited", "returns without closing, when everything has returned"),
            kit("kit/not-awaited", "returns without having waited for what it started"),
            kit("kit/sys-exit", "sys.exit(3) in a coroutine, while tasks go on"),
            kit("kit/uncaught", "an exception that nobody catches, while tasks go on"),
            kit("kit/thousand", "returns with a thousand operations in flight"),
            kit("kit/os-exit", "os._exit, which takes nothing down, while tasks go on"),
            kit("kit/late-work", "a later handler submits work, and is refused"),
            kit("kit/outlives", "callables that go on calling for ever; limit 200 ms")
                .deadline(LIMIT + SLACK),
            kit("kit/stuck", "a callable that does not end; limit 200 ms").deadline(LIMIT + SLACK),
        ])
        .keeps("late_work", [])
        .finding(
            "C4a",
            "Without the fourth step, the `Drop` of an owner in a static cell, as `RUNTIME.get()` suggests, does not \
             help.",
        )
        .supported_if(every("static-owner/*").is(lost()) & every("single-thread/*").is(lost()))
        .refuted_if(every("static-owner/*").is(Clean) | every("single-thread/*").is(Clean))
        .claim(
            "C4b",
            "With a function for cleanup that is called at exit, and releases the interpreter's lock \
             while it joins, it is robust.",
        )
        .supported_if(every("cleanup/*").is(Clean))
        .refuted_if(every("cleanup/*").is(lost()) | every("cleanup/*").is(Hung))
        .finding("C4c", "The function for cleanup hangs unless it releases the interpreter's lock.")
        .supported_if(
            every("cleanup-holding-the-lock/*").is(Hung) & every("cleanup/*").is(Clean),
        )
        .refuted_if(every("cleanup-holding-the-lock/*").is(Clean))
        .claim("C6a", "A cleanup in `__del__` works for an object that is released before the end.")
        .supported_if(every("in-del/released").is(Clean))
        .refuted_if(every("in-del/released").is(lost()) | every("in-del/released").is(Hung))
        .finding("C6d", "A cleanup in `__del__` comes too late for an object that lives until the program ends.")
        .supported_if(every("in-del/watching").is(lost()))
        .refuted_if(every("in-del/watching").is(Clean))
        .claim("C6b", "A cleanup at the end of a `with` block works.")
        .supported_if(every("context-manager/closed").is(Clean))
        .refuted_if(every("context-manager/closed").is(lost()))
        .claim(
            "C6c",
            "A cleanup that `atexit` calls, and that releases the interpreter's lock, keeps the exit from \
             crashing.",
        )
        // The function of the notes ends an owner in a static; the other one, a runtime that it owns.
        .supported_if(every("cleanup/watching").is(Clean) & every("joined/watching").is(Clean))
        .refuted_if(
            every("cleanup/watching").is(lost())
                | every("cleanup/watching").is(Hung)
                | every("joined/watching").is(lost())
                | every("joined/watching").is(Hung),
        )
        .claim(
            "C11a",
            "Tasks that call into Python while it finalizes crash the exit; tasks that do not, crash none.",
        )
        .supported_if(every("static/watching").is(lost()) & every("static/never-calls").is(Clean))
        .refuted_if(every("static/watching").is(Clean) | every("static/never-calls").is(lost()))
        .claim("C11b", "It happens when tasks of the runtime are still running, and not when all have ended.")
        .supported_if(every("static/watching").is(lost()) & when_all_have_ended().is(Clean) & none_was_left())
        .refuted_if(every("static/watching").is(Clean) | when_all_have_ended().is(lost()))
        .finding(
            "C11c",
            "To have awaited everything is not enough: an answer comes before its task has ended.",
        )
        .supported_if(every("static/awaited").is(lost()) & when_all_have_ended().is(Clean) & none_was_left())
        .refuted_if(every("static/awaited").is(Clean) | when_all_have_ended().is(lost()))
        .finding(
            "C9b",
            "Four tasks that are in flight at the exit, and call into Python all the time, crash it more often than \
             four that were waited for.",
        )
        .supported_if(every("static/not-awaited").fails_more_often_than(every("static/awaited")))
        .refuted_if(every("static/awaited").fails_more_often_than(every("static/not-awaited")))
        .kit_claim(
            "sundown.Runtime survives it: with work in flight, awaited or not, closed or not, by \
             return, sys.exit, an uncaught exception or os._exit, with work that comes late, outlives \
             its limit or is stuck; and exit codes stay what they were",
        )
        .run()
}

fn when_all_have_ended() -> Subject {
    every("static/ended")
}

fn none_was_left() -> Condition {
    when_all_have_ended().observed("tasks_alive").always_at_most(0)
}

/// A trial of a design with an ending, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let (design, ending) = scene.variant().split_once('/').ok_or("half a name")?;
    python::becomes(scene, "exit.py", &[design, ending], |program| match ending {
        "sys-exit" => program.exits_with(3),
        "uncaught" => program.exits_with(1).complains("RuntimeError: as meant"),
        _ => program,
    })
}
