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

use experiments::{Scene, control, cure, hazard, python};
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    TrialResult, every,
};

/// For what hangs: long enough to get there on a busy machine.
const SHORT: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    let hazard = |name, prediction| hazard(name, prediction, told).deadline(python::PLENTY);
    let control = |name| control(name, told).deadline(python::PLENTY);
    let cure = |name| cure(name, told).deadline(python::PLENTY);
    Experiment::new(file!())
        .question("Does a Python program hear of a shutdown that failed?")
        .hypothesis(
            "Of errors that are ignored on the way, never, and a thread that stays hangs it. Of \
             errors that are returned it hears by an exception, as long as it calls shutdown; a \
             destructor tells nobody. The kit raises an exception of a type of its own for \
             each, which names what has not ended, and reports at exit what nobody shut down.",
        )
        .needs(python::extensions)
        .variants([
            control("ignoring/ends").about("as it is; the thread ends"),
            hazard("ignoring/panics", Failed).about("as it is; the thread panics"),
            hazard("ignoring/stays", Hung)
                .about("as it is; the thread does not end")
                .deadline(SHORT)
                .trials(5),
            control("planned/ends").about("as the plan has it; it ends"),
            control("planned/panics").about("as the plan has it; the thread panics"),
            control("planned/stays").about("as the plan has it; the thread does not end"),
            control("dropped/ends").about("the plan's destructor; it ends"),
            hazard("dropped/panics", Failed).about("the plan's destructor; the thread panics"),
            hazard("dropped/stays", Failed).about("the plan's destructor; the thread does not end"),
            cure("kit/ends").about("everything ends"),
            cure("kit/stays").about("a callable does not end: TimedOut, with its name"),
            cure("kit/in-a-block").about("the same, at the end of a `with` block"),
            cure("kit/in-a-block-that-raises")
                .about("the same, in a block that raises: its own error wins"),
            cure("kit/at-exit")
                .about("the same, and nobody shuts it down: the logger is told at exit"),
            cure("kit/from-inside").about("a callable shuts its own runtime down: FromInside"),
            cure("kit/after-fork")
                .about("a forked child shuts its parent's runtime down: SignalLost"),
        ])
        .claim("E5", "Shutdown failures can be surfaced to Python callers.")
        .supported_if(every("ignoring/panics").is(Failed) & every("planned/*").is(Clean))
        .refuted_if(every("planned/panics").is(Failed) | every("planned/stays").is(Failed))
        .kit_claim(
            "sundown.Runtime tells of every shutdown that failed, by a type of its own and with \
             what has not ended; what nobody shuts down is told of at exit",
        )
        .run()
}

/// Whether somebody is told, by the names of the handle and of the case.
fn told(trial: &Scene<'_>) -> TrialResult {
    let (handle, case) = trial.variant().split_once('/').ok_or("it names no case")?;
    python::becomes(trial, "errors.py", &[handle, case], |program| {
        let program = program.ends_with("the last line");
        match trial.variant() {
            "kit/at-exit" => program.complains("has not ended after").complains("never_ends"),
            _ => program,
        }
    })
}
