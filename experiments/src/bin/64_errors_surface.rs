//! # 64 · errors-surface
//!
//! The plan to repair the Python bindings of *cloacina* wants shutdown failures surfaced to their
//! callers (claim E5). Experiment 51 shows in Rust what is ignored and what a repair tells. What
//! arrives in Python?
//!
//! Each trial becomes `python3 experiments/python/errors.py HANDLE CASE`: a program shuts something
//! down that ends, panics, or stays, and checks that it was told.
//!
//! - `ignoring/…`: the handle as it is. Every result is thrown away on the way.
//! - `planned/…`: as the plan would have it: a bounded join, and errors.
//! - `dropped/…`: the same, but nobody calls `shutdown`: the destructor does, and can only log.
//! - `kit/…`: `sundown.Runtime`.
//!
//! Panics are made without the panic hook, because the lab counts each that it hears of. In the kit a
//! callable that raises is an exception of its task; what panics can only be Rust code, and experiment
//! 51 has that.

use std::{process::ExitCode, time::Duration};

use experiments::python;
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    Program, Trial, TrialResult, always, control, cure, every, hazard,
};

/// For what hangs: long enough to get there on a busy machine.
const SHORT: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Does a Python program hear of a shutdown that failed?")
        .hypothesis(
            "Of errors that are ignored on the way, never, and a thread that stays hangs it. Of errors \
             that are returned it hears by an exception, as long as it calls shutdown; a destructor \
             tells nobody. The kit raises an exception of a type of its own for each, which names what \
             has not ended, and reports at exit what nobody shut down.",
        )
        .needs(python::extensions)
        .variant(control("ignoring/ends", always(Clean), told).about("as it is; the thread ends"))
        .variant(
            hazard("ignoring/panics", always(Failed), told).about("as it is; the thread panics"),
        )
        .variant(
            hazard("ignoring/stays", always(Hung), told)
                .about("as it is; the thread does not end")
                .deadline(SHORT)
                .trials(5),
        )
        .variant(
            control("planned/ends", always(Clean), told).about("as the plan has it; it ends"),
        )
        .variant(
            control("planned/panics", always(Clean), told)
                .about("as the plan has it; the thread panics"),
        )
        .variant(
            control("planned/stays", always(Clean), told)
                .about("as the plan has it; the thread does not end"),
        )
        .variant(
            control("dropped/ends", always(Clean), told).about("the plan's destructor; it ends"),
        )
        .variant(
            hazard("dropped/panics", always(Failed), told)
                .about("the plan's destructor; the thread panics"),
        )
        .variant(
            hazard("dropped/stays", always(Failed), told)
                .about("the plan's destructor; the thread does not end"),
        )
        .variant(cure("kit/ends", always(Clean), told).about("everything ends"))
        .variant(
            cure("kit/stays", always(Clean), told)
                .about("a callable does not end: TimedOut, with its name"),
        )
        .variant(
            cure("kit/in-a-block", always(Clean), told)
                .about("the same, at the end of a `with` block"),
        )
        .variant(
            cure("kit/in-a-block-that-raises", always(Clean), told)
                .about("the same, in a block that raises: its own error wins"),
        )
        .variant(
            cure("kit/at-exit", always(Clean), |trial| {
                told_and(trial, |it| it.complains("has not ended after").complains("never_ends"))
            })
            .about("the same, and nobody shuts it down: the logger is told at exit"),
        )
        .variant(
            cure("kit/from-inside", always(Clean), told)
                .about("a callable shuts its own runtime down: FromInside"),
        )
        .variant(
            cure("kit/after-fork", always(Clean), told)
                .about("a forked child shuts its parent's runtime down: SignalLost"),
        )
        .claim("E5", "Shutdown failures can be surfaced to Python callers.")
        .supported_if(
            every("ignoring/panics").is(always(Failed)) & every("planned/*").is(always(Clean)),
        )
        .refuted_if(
            every("planned/panics").is(always(Failed)) | every("planned/stays").is(always(Failed)),
        )
        .kit_claim(
            "sundown.Runtime tells of every shutdown that failed, by a type of its own and with what \
             has not ended; what nobody shuts down is told of at exit",
        )
        .run()
}

/// Whether somebody is told, by the names of the handle and of the case.
fn told(trial: &Trial<'_>) -> TrialResult {
    told_and(trial, |program| program)
}

fn told_and(trial: &Trial<'_>, expecting: impl FnOnce(Program) -> Program) -> TrialResult {
    let (handle, case) = trial.variant().split_once('/').ok_or("it names no case")?;
    python::becomes(trial, "errors.py", &[handle, case], |it| {
        expecting(it.ends_with("the last line"))
    })
}
