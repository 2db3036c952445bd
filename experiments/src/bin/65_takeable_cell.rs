//! 65 takeable cell: what is gained if the runtime of a Python extension can be taken out of its static
//! cell, and what does it cost (claim C10)? pyo3-async-runtimes as it is released, and with a patched cell.
//! A trial becomes `experiments/python/cell.py MODULE ENDING`. Page: `docs/src/65-takeable-cell.md`.

use experiments::{
    cell,
    prelude::*,
    python::{self, lost},
};

/// What hangs takes its whole deadline: long after any other trial has ended, on a busy machine too.
const STUCK: Duration = Duration::from_secs(12);

fn main() -> ExitCode {
    let losing = |name, about| hazard(name, lost(), trial).about(about).sometimes_at("");
    let hanging = |name, about| hang(name, trial).about(about).deadline(STUCK);
    let clean = |name, about| control(name, trial).about(about).deadline(python::PLENTY);
    let kit = |name, about| cure(name, trial).about(about).deadline(python::PLENTY);
    Experiment::new(file!())
        .question("What is gained if the runtime can be taken out of its cell, and what does it cost?")
        .hypothesis(
            "That an exit function can end the runtime, if there is one and it releases the interpreter's \
             lock while it waits. The cell alone gains nothing. It costs an await that never returns, if \
             an operation begins after the end, or the crash again, if the cell is filled anew; and less \
             than a microsecond at each use.",
        )
        .holds_only_if(every("patched/accessed").observed("picoseconds_alone").mostly_at_most(1_000_000))
        .needs(python::extensions)
        .needs(cell::modules)
        .variants([
            losing("released/left", "the released cell; tasks go on when the program returns"),
            losing("released/used-late", "the same, and an exit function awaits an operation"),
            losing("patched/left", "the patched cell, and nobody takes the runtime"),
            hanging(
                "patched/taken-with-the-lock",
                "an exit function takes the runtime, and keeps the interpreter's lock while it waits",
            ),
            hanging(
                "patched/used-late",
                "the runtime is taken; a later exit function awaits an operation",
            ),
            losing(
                "patched/started-late",
                "the runtime is taken, and the cell emptied; a later exit function starts tasks",
            ),
        ])
        .variants([
            clean("patched/taken", "an exit function takes the runtime, and waits without the lock"),
            clean("released/accessed", "how long it takes to ask the cell for the runtime"),
            clean("patched/accessed", "the same with the patched cell"),
        ])
        .variants([
            kit("kit/left", "sundown.Runtime; tasks go on when the program returns").trials(60),
            kit("kit/used-late", "the same, and a later exit function awaits an operation").trials(60),
        ])
        .keeps("late_use", [])
        .keeps("picoseconds_alone", [4_000, 1_000_000])
        .claim("C10", "If the runtime can be taken out of its cell, it can be shut down at the exit.")
        .supported_if(
            every("patched/taken").is(Clean) & every("released/left").is(lost()),
        )
        .refuted_if(every("patched/taken").is(lost()) | every("patched/taken").is(Hung))
        .finding(
            "C10b",
            "A cell that can be taken keeps no exit from crashing: somebody has to take the runtime, and \
             wait without the interpreter's lock.",
        )
        .supported_if(
            every("patched/left").is(lost())
                & every("patched/taken-with-the-lock").is(Hung)
                & every("patched/taken").is(Clean),
        )
        .refuted_if(
            every("patched/left").is(Clean) | every("patched/taken-with-the-lock").is(Clean),
        )
        .finding(
            "C10c",
            "An await that begins after the runtime was taken never returns, and a cell that is filled \
             anew crashes the exit as before.",
        )
        .supported_if(
            every("patched/used-late").is(Hung) & every("patched/started-late").is(lost()),
        )
        .refuted_if(every("patched/used-late").is(Clean) | every("patched/started-late").is(Clean))
        .kit_claim(
            "With sundown.Runtime the exit does not crash, whoever forgets to close it, and an operation \
             that begins after the end is refused.",
        )
        .run()
}

/// A trial of a module with an ending, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let (module, ending) = scene.variant().split_once('/').ok_or("half a name")?;
    python::becomes(scene, "cell.py", &[module, ending], |program| program)
}
