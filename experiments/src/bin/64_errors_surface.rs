//! 64 errors surface: does a Python program hear of a shutdown that failed (claim E5 about the
//! bindings of cloacina)? Only of errors that are returned, and only if it calls `shutdown`. A
//! trial becomes `experiments/python/errors.py HANDLE CASE`. Page: `docs/src/64-errors-surface.md`.

use experiments::{
    prelude::*,
    python::{self, PLENTY},
};

fn main() -> ExitCode {
    let untold = |name, about| hazard(name, Failed, told).about(about).deadline(PLENTY);
    let control = |name, about| control(name, told).about(about).deadline(PLENTY);
    let cure = |name, about| cure(name, told).about(about).deadline(PLENTY);
    Experiment::new(file!())
        .question("Does a Python program hear of a shutdown that failed?")
        .hypothesis(
            "It never hears of errors that are ignored on the way, and a thread that stays hangs it. \
             Errors that are returned it hears of by an exception, as long as it calls shutdown; a \
             destructor tells nobody. The kit raises an exception of a type of its own for each, which \
             names what has not ended, and reports at exit what nobody shut down.",
        )
        .needs(python::extensions)
        .variants([
            control("ignoring/ends", "as it is; the thread ends"),
            untold("ignoring/panics", "as it is; the thread panics"),
            hang("ignoring/stays", told).about("as it is; the thread does not end"),
            control("planned/ends", "as the plan has it; it ends"),
            control("planned/panics", "as the plan has it; the thread panics"),
            control("planned/stays", "as the plan has it; the thread does not end"),
            control("dropped/ends", "the plan's destructor; it ends"),
            untold("dropped/panics", "the plan's destructor; the thread panics"),
            untold("dropped/stays", "the plan's destructor; the thread does not end"),
            cure("kit/ends", "everything ends"),
            cure("kit/stays", "a callable does not end: TimedOut, with its name"),
            cure("kit/in-a-block", "the same, at the end of a `with` block"),
            cure(
                "kit/in-a-block-that-raises",
                "the same, in a block that raises: its own error wins",
            ),
            cure(
                "kit/at-exit",
                "the same, and nobody shuts it down: the logger is told at exit",
            ),
            cure("kit/from-inside", "a callable shuts its own runtime down: FromInside"),
            cure("kit/after-fork", "a forked child shuts its parent's runtime down: SignalLost"),
        ])
        .claim("E5", "Shutdown failures can be surfaced to Python callers.")
        .supported_if(every("ignoring/panics").is(Failed) & every("planned/*").is(Clean))
        .refuted_if(every("planned/panics").is(Failed) | every("planned/stays").is(Failed))
        .kit_claim(
            "sundown.Runtime reports every shutdown that failed, by a type of its own and with what \
             has not ended; what nobody shuts down it reports at exit",
        )
        .run()
}

/// Whether somebody is told, by the handle and the case in the variant's name.
fn told(scene: &Scene<'_>) -> TrialResult {
    let (handle, case) = scene.variant().split_once('/').ok_or("half a name")?;
    python::becomes(scene, "errors.py", &[handle, case], |program| match case {
        "at-exit" => program.complains("has not ended after").complains("never_ends"),
        _ => program,
    })
}
