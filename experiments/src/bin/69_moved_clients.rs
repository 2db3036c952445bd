//! 69 moved clients: do the exits of a published client become clean if its sources name the kit's crate for
//! extensions? The client is built twice from its sources, as it is and moved over. A trial becomes
//! `experiments/python/taunicorn_exit.py SCENARIO`. Page: `docs/src/69-moved-clients.md`.

use experiments::{
    moved_clients::{self, TAUNICORN},
    prelude::*,
};
use lab::Prediction;

/// About one exit in fifteen fails on a busy machine: so many exits miss it in fewer than one run of a hundred.
const RACE: u32 = 80;

/// Nothing here takes a second, on a machine that has the time.
const DEADLINE: Duration = Duration::from_secs(120);

/// Programs that leave nothing in flight.
const ANSWERED: [&str; 3] =
    ["watched messages_closed", "watched messages_returned", "watched connections_closed"];

fn main() -> ExitCode {
    let in_flight = "20 messages and 5 accepts that nobody waits for";
    let answered = "20 messages, or 10 connections; all are waited for";
    let moved = format!("the same; changed lines in its sources: {}", TAUNICORN.changed_lines());
    moved_clients::needed_by(Experiment::new(file!()))
        .question("Do the exits of a published client become clean if its sources name another crate?")
        .first_expected(
            "Built as it is, taunicorn 0.1.10 panics in some exits that leave operations in flight. Built on \
             sundown-pyo3, it fails in none.",
        )
        .hypothesis(
            "Built as it is, taunicorn 0.1.10 panics or aborts in some exits that leave operations in flight. Built on \
             sundown-pyo3, it fails in none.",
        )
        .variants([
            control("bare/imported", |scene| TAUNICORN.becomes(scene, "bare", &["imported"]))
                .about("the client is imported, and not used"),
            hazard("bare/in-flight", fails(), |scene| {
                TAUNICORN.becomes(scene, "bare", &["watched in_flight"])
            })
            .about(in_flight)
            .trials(RACE),
            hazard("bare/answered", may_fail(), |scene| {
                TAUNICORN.becomes(scene, "bare", &ANSWERED)
            })
            .about(answered),
            cure("moved/in-flight", |scene| TAUNICORN.becomes(scene, "moved", &["watched in_flight"]))
                .about(&*moved)
                .trials(RACE),
            cure("moved/answered", |scene| TAUNICORN.becomes(scene, "moved", &ANSWERED))
                .about(moved),
        ])
        .each(|variant| variant.deadline(DEADLINE))
        .kit_claim(
            "a client that is built on sundown-pyo3 crashes no exit and prints no panic, with operations in flight and \
             without",
        )
        .run()
}

/// Some exits panic or abort: the program that watches them fails then.
fn fails() -> Prediction {
    seen(Failed).allowing([Clean])
}

/// Some may, and most do not.
fn may_fail() -> Prediction {
    seen(Clean).allowing([Failed])
}
