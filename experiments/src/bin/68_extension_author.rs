//! 68 extension author: does the exit of a program crash that uses an extension with Rust futures, and does the
//! crate for such extensions change that? The same extension is built on pyo3-async-runtimes and on sundown-pyo3. A
//! trial becomes `experiments/python/author.py CRATE ENDING`. Page: `docs/src/68-extension-author.md`.

use experiments::{authors, prelude::*, python::PLENTY};
use lab::{
    Condition,
    Outcome::{Panicked, Signalled},
    Prediction,
};

/// Each of these races is lost in at least half of its trials.
const RACE: u32 = 20;

/// The endings with operations in flight, and what the program does then.
const IN_FLIGHT: [(&str, &str); 5] = [
    ("not-awaited", "fifty operations; none is awaited"),
    ("cancelled", "twenty that are awaited when asyncio.run cancels them"),
    ("exits", "twenty in flight; a coroutine calls sys.exit"),
    ("raises", "twenty in flight; a coroutine raises"),
    ("later", "fifty that an exit handler begins, and nobody awaits"),
];

fn main() -> ExitCode {
    Experiment::new(file!())
        .question(
            "Does a crate under an extension's futures keep the exit of the program from crashing, without a \
             change of the extension?",
        )
        .hypothesis(
            "On pyo3-async-runtimes most exits fail that leave operations in flight, whatever the program does \
             last, and some in which everything was awaited. On sundown-pyo3 none does: the source is the same \
             but for one `use`.",
        )
        .holds_only_if(
            Condition::all(IN_FLIGHT.map(|(ending, _)| {
                every(&format!("bare/{ending}")).fails_together_in(50..=100)
            })) & every("bare/awaited").fails_together_in(1..=99),
        )
        .needs(authors::extension)
        .variants([
            control("bare/imported", trial).about("the extension is imported, and not used"),
            control("bare/never", trial).about("fifty operations that never end"),
        ])
        .variants(IN_FLIGHT.map(|(ending, about)| {
            hazard(format!("bare/{ending}"), fails(), trial).about(about).trials(RACE)
        }))
        .variants([hazard("bare/awaited", may_fail(), trial)
            .about("fifty operations, all awaited")
            .trials(3 * RACE)])
        .variants([cure("kit/awaited", trial)
            .about("fifty operations, all awaited")
            .trials(3 * RACE)
            .deadline(PLENTY)])
        .variants(IN_FLIGHT.map(|(ending, about)| {
            cure(format!("kit/{ending}"), trial).about(about).trials(RACE).deadline(PLENTY)
        }))
        .variants([
            cure("kit/imported", trial).about("the extension is imported, and not used"),
            cure("kit/never", trial).about("fifty operations that never end").deadline(PLENTY),
        ])
        .kit_claim(
            "an extension on sundown-pyo3 lets a program exit as it would without the extension: the same exit \
             code, the same last line, and nothing on standard error",
        )
        .run()
}

/// How such an exit fails: a thread finds that the interpreter has gone, and panics, or is ended by the interpreter, and
/// the process aborts. A late answer may also find its event loop closed, which is said on standard error.
fn fails() -> Prediction {
    seen(Panicked).allowing([Clean, Aborted, Failed, Signalled])
}

/// The same, where the race is rarely lost.
fn may_fail() -> Prediction {
    seen(Clean).allowing([Aborted, Failed, Panicked, Signalled])
}

/// A trial of a crate and an ending, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let (which, ending) = scene.variant().split_once('/').ok_or("half a name")?;
    authors::becomes(scene, which, ending)
}
