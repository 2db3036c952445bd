//! # 61 · sleep-mitigation
//!
//! The notes of *etcd-client-py* (BA-1976) tell of a mitigation that is in use: `time.sleep(0.1)`
//! before the program exits, so that the tasks that run may end. Experiment 60 shows what they end in
//! if they do not.
//!
//! Each trial becomes `python3 experiments/python/sleep.py DESIGN MILLISECONDS`: two tasks have so much
//! work left when the program ends. The work is that of experiment 60, and here it ends by itself.
//!
//! - `static/…`: the static runtime, without the sleep.
//! - `sleep/…`: the same, with a sleep of 100 ms in an `atexit` handler.
//! - `kit/…`: `sundown.Runtime`, without the sleep.
//!
//! `exit_took` is how long the program takes from its end until the process is gone.

use std::process::ExitCode;

use experiments::{Scene, control, cure, hazard, python};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Signalled},
    Prediction, TrialResult, Variant, every, seen,
};

/// Each of these races is lost in half of its trials at the least: one in a million runs would miss it.
const RACE: u32 = 20;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does a short sleep before the exit keep an extension from crashing?")
        .hypothesis(
            "Only if all work ends within it: the sleep waits for nothing, and it takes its \
             time when there is nothing to wait for.",
        )
        .needs(python::extensions)
        .variants([10, 50].map(|milliseconds| {
            losing("static", milliseconds).about(format!("{milliseconds} ms of work; no sleep"))
        }))
        .variants([200, 1000].map(|milliseconds| {
            losing("sleep", milliseconds).about(format!("{milliseconds} ms of work; sleeps 100 ms"))
        }))
        .variants([control("sleep/0ms", trial).about("no work; sleeps 100 ms")])
        .variants([10, 50].map(|milliseconds| {
            // On a busy machine 50 ms of work may take longer than a sleep of 100 ms.
            let hidden = seen(Clean).allowing([Aborted, Signalled]);
            control(name("sleep", milliseconds), trial)
                .predict(hidden)
                .about(format!("{milliseconds} ms of work; sleeps 100 ms"))
        }))
        .variants([0, 10, 50, 200, 1000].map(|milliseconds| {
            cure(name("kit", milliseconds), trial)
                .deadline(python::PLENTY)
                .about(format!("{milliseconds} ms of work; no sleep"))
        }))
        .claim("C3", "`time.sleep(0.1)` before the exit mitigates it.")
        .supported_if(every("static/*").is(lost()) & every("sleep/*").is(Clean))
        .refuted_if(every("sleep/200ms").is(lost()) & every("sleep/1000ms").is(lost()))
        .kit_claim(
            "sundown.Runtime needs no sleep, and waits for what is being done, and no longer",
        )
        .run()
}

/// Ends in the way that threads do which are ended inside Rust; not always at once.
fn lost() -> Prediction {
    seen(Aborted).allowing([Clean, Signalled])
}

fn name(design: &str, milliseconds: u32) -> String {
    format!("{design}/{milliseconds}ms")
}

fn losing(design: &str, milliseconds: u32) -> Variant {
    hazard(name(design, milliseconds), lost(), trial).trials(RACE)
}

/// A trial of a design with so much work, by the name of the variant.
fn trial(trial: &Scene<'_>) -> TrialResult {
    let name = trial.variant().strip_suffix("ms").and_then(|name| name.split_once('/'));
    let (design, milliseconds) = name.ok_or("it names no time")?;
    let program = "sleep.py";
    python::becomes(trial, program, &[design, milliseconds], |it| it.ends_with("the last line"))
}
