//! 61 sleep mitigation: does `time.sleep(0.1)` before the exit keep an extension from crashing, as
//! the notes of etcd-client-py say of their short-term fix (C3)? If all work ends within it. A trial becomes
//! `experiments/python/sleep.py DESIGN MILLISECONDS`. Page: `docs/src/61-sleep-mitigation.md`.

use experiments::{prelude::*, python};
use lab::Outcome::Signalled;

/// Each of these races is lost in at least half of its trials: a run that misses one is a
/// one-in-a-million event.
const RACE: u32 = 20;

/// How often each is run that is compared with another.
const COMPARED: u32 = 2 * RACE;

/// Percentages: how often an exit fails without a cure, and how often it may with one.
const RELIABLY: u32 = 50;
const RARELY: u32 = 25;

/// The notes' sleep, in nanoseconds.
const SLEEP: i64 = 100_000_000;

fn main() -> ExitCode {
    // One exit of some hundreds hangs instead.
    let losing = |name, about| {
        let prediction = seen(Aborted).allowing([Clean, Signalled, Hung]);
        hazard(name, prediction, trial).about(about).trials(RACE)
    };
    // On a busy machine 50 ms of work may take longer than a sleep of 100 ms.
    let usually = || seen(Clean).allowing([Aborted, Signalled, Hung]);
    let usually_clean =
        |name, about| control(name, trial).about(about).predict(usually()).trials(COMPARED);
    Experiment::new(file!())
        .question("Does a short sleep before the exit keep an extension from crashing?")
        .hypothesis(
            "Only if all work ends within it: the sleep waits for nothing, and it takes its time even \
             when there is nothing to wait for.",
        )
        .holds_only_if(
            every("sleep/10ms|sleep/50ms").fails_at_most(RARELY)
                & every("sleep/0ms").observed("exit_took").always_at_least(SLEEP),
        )
        .needs(python::extensions)
        .variants([
            losing("static/10ms", "10 ms of work; no sleep").trials(COMPARED),
            losing("static/50ms", "50 ms of work; no sleep").trials(COMPARED),
            losing("sleep/200ms", "200 ms of work; sleeps 100 ms"),
            losing("sleep/1000ms", "1000 ms of work; sleeps 100 ms"),
            control("sleep/0ms", trial).about("no work; sleeps 100 ms"),
            usually_clean("sleep/10ms", "10 ms of work; sleeps 100 ms"),
            usually_clean("sleep/50ms", "50 ms of work; sleeps 100 ms"),
        ])
        .variants([0, 10, 50, 200, 1000].map(|milliseconds| {
            cure(format!("kit/{milliseconds}ms"), trial)
                .about(format!("{milliseconds} ms of work; no sleep"))
        }))
        .each(|variant| variant.deadline(python::PLENTY))
        .claim(
            "C3",
            "`time.sleep(0.1)` before the exit mitigates it, for tasks that can complete meanwhile: it makes \
             the crash less frequent.",
        )
        .supported_if(
            every("static/10ms").fails_more_often_than(every("sleep/10ms"))
                & every("static/50ms").fails_more_often_than(every("sleep/50ms")),
        )
        .refuted_if(
            every("static/*").fails_at_least(RELIABLY)
                & !every("static/10ms").fails_more_often_than(every("sleep/10ms"))
                & !every("static/50ms").fails_more_often_than(every("sleep/50ms")),
        )
        .finding("C3b", "Work that lasts longer than the sleep crashes the exit in spite of it.")
        .supported_if(
            every("sleep/200ms").fails_at_least(RELIABLY)
                & every("sleep/1000ms").fails_at_least(RELIABLY),
        )
        .refuted_if(
            every("sleep/200ms").fails_at_most(RARELY) | every("sleep/1000ms").fails_at_most(RARELY),
        )
        .kit_claim("sundown.Runtime needs no sleep: no exit crashes with up to a second of work left")
        .run()
}

/// A trial of a design with so much work, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let name = scene.variant().strip_suffix("ms").and_then(|name| name.split_once('/'));
    let (design, milliseconds) = name.ok_or("it names no time")?;
    python::becomes(scene, "sleep.py", &[design, milliseconds], |program| program)
}
