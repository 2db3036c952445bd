//! 59 real-libraries: do the failures of experiments 37, 56 and 58 happen in sqlx, reqwest, OpenTelemetry and
//! actix? They do, and the same cures end them. Page: `docs/src/59-real-libraries.md`.

use experiments::{
    prelude::*,
    real_libraries::{becomes, needed_by},
};
use lab::Prediction;

/// Long enough to get where it hangs on a busy machine.
const HANGS: Duration = Duration::from_secs(3);

/// Some pools have closed their files by the time of the look. If one in three has not, a run that misses it is a
/// one-in-a-million event.
const RACE: u32 = 40;

type Arguments = &'static [&'static str];

fn hazard(name: &str, outcome: impl Into<Prediction>, arguments: Arguments) -> Variant {
    lab::hazard(name, outcome, move |trial: &Trial<'_>| becomes(trial, arguments))
}

fn hang(name: &str, arguments: Arguments) -> Variant {
    hazard(name, Hung, arguments).deadline(HANGS).trials(5).waits()
}

fn control(name: &str, arguments: Arguments) -> Variant {
    lab::control(name, move |trial: &Trial<'_>| becomes(trial, arguments))
}

fn cure(name: &str, arguments: Arguments) -> Variant {
    lab::cure(name, move |trial: &Trial<'_>| becomes(trial, arguments))
}

fn main() -> ExitCode {
    let experiment = Experiment::new(file!())
        .question("Do the failures of experiments 37, 56 and 58 happen in libraries as they are published?")
        .hypothesis(
            "Yes. A connection of sqlx panics on a thread without a context, and two abort the process; when \
             its pool is dropped, files are open. A request of reqwest fails if a test on another runtime \
             ends, and hangs if nobody drives that runtime. OpenTelemetry hangs in `shutdown` on a \
             current-thread runtime, and loses all spans if nobody calls that in time. A value on a thread of \
             actix that saves itself in a task panics outside, and is not saved if the thread is stopped. \
             SQLite's connections work on a second runtime: they are threads.",
        )
        .variants([
            control("sqlx/inside", &["sqlx", "connections", "one", "alive", "inside"])
                .about("a connection of the pool is dropped in a context"),
            hazard("sqlx/outside", Panicked, &["sqlx", "connections", "one", "alive", "outside"])
                .about("it is dropped on a plain thread; its runtime runs"),
            hazard("sqlx/gone", Panicked, &["sqlx", "connections", "one", "gone", "outside"])
                .about("the same, and its runtime is gone"),
            hazard("sqlx/two-gone", Aborted, &["sqlx", "connections", "two", "gone", "outside"])
                .about("the same with two connections in a `Vec`"),
            control("sqlx/two-tests", &["sqlx", "two-tests"])
                .about("a pool is used on a second runtime when the first is gone"),
            control("sqlx/pool-closed", &["sqlx", "pool", "closed"])
                .about("`pool.close()` is awaited: is a file open?"),
            hazard("sqlx/pool-dropped", seen(Failed).allowing([Clean]), &["sqlx", "pool", "dropped"])
                .about("the pool is dropped in a context: is a file open?")
                .trials(RACE),
        ])
        .variants([
            control("reqwest/in-turn", &["reqwest", "one-after-another", "static"])
                .about("a client in a static; the second test begins after the first"),
            control("reqwest/overlap-each", &["reqwest", "overlap", "each"])
                .about("each test has a client; the first ends while a request of the second is under way"),
            hazard("reqwest/overlap", Failed, &["reqwest", "overlap", "static"])
                .about("the same, with a client in a static"),
            control("reqwest/kept-each", &["reqwest", "kept", "each"])
                .about("each test has a client; the first runtime is kept, and nobody drives it"),
            hang("reqwest/kept", &["reqwest", "kept", "static"])
                .about("the same, with a client in a static"),
        ])
        .variants([
            control("otel/multi", &["telemetry", "multi-shutdown"])
                .about("`shutdown` in async code of a multi-thread runtime"),
            control("otel/dropped", &["telemetry", "multi-drop"])
                .about("the last of the provider is dropped there; it is in no static"),
            hang("otel/current", &["telemetry", "current-shutdown"])
                .about("`shutdown` in async code of a current-thread runtime"),
            hazard("otel/after", Failed, &["telemetry", "multi-after"])
                .about("`shutdown` after the runtime was dropped"),
            hazard("otel/return", Failed, &["telemetry", "multi-return"])
                .about("a return from `main`; the provider is in a static"),
            hazard("otel/plan-current", Failed, &["telemetry", "current-plan"])
                .about("as `otel/current`; there `plan.leave`, and the plan calls `shutdown`")
                .trials(5)
                .waits(),
            hazard("otel/plain-thread", Panicked, &["telemetry", "multi-thread"])
                .about("the processor with a thread, and an asynchronous client"),
        ])
        .variants([
            control("actix/awaited", &["actix", "awaited"])
                .about("a document is dropped in its `System`, which waits until it is saved"),
            hazard("actix/outside", Panicked, &["actix", "outside"])
                .about("it is dropped after `block_on` has returned"),
            hazard("actix/stopped", Failed, &["actix", "stopped"])
                .about("a task of an `Arbiter` has it, and the arbiter is stopped"),
        ])
        .variants([
            cure("sqlx/kit-outside", &["sqlx", "connections", "one", "alive", "kit"])
                .about("as `sqlx/outside`, in a session"),
            cure("sqlx/kit-gone", &["sqlx", "connections", "one", "gone", "kit"])
                .about("as `sqlx/gone`, in a session"),
            cure("sqlx/kit-two-gone", &["sqlx", "connections", "two", "gone", "kit"])
                .about("as `sqlx/two-gone`, in a session"),
            cure("sqlx/kit-pool", &["sqlx", "pool", "kit"])
                .about("the pool in a session, with a hook and evidence")
                .trials(RACE),
            cure("reqwest/kit-overlap", &["reqwest", "overlap", "cell"])
                .about("as `reqwest/overlap`, on the runtime of a `RuntimeCell`"),
            cure("reqwest/kit-kept", &["reqwest", "kept", "cell"])
                .about("as `reqwest/kept`, on the runtime of a `RuntimeCell`"),
            cure("otel/kit-hook", &["telemetry", "current-hook"])
                .about("as `otel/current`; a hook calls `shutdown` on a blocking thread"),
            cure("otel/kit-plan", &["telemetry", "multi-plan"])
                .about("as `otel/plan-current`, on a multi-thread runtime"),
            cure("otel/kit-plan-owner", &["telemetry", "owner-plan"])
                .about("as `otel/plan-current`; a `RuntimeOwner` has the runtime, and is in the plan"),
            cure("actix/kit-hook", &["actix", "hook"])
                .about("as `actix/stopped`; before that a hook awaits the task's answer"),
            cure("actix/kit-place", &["actix", "place"])
                .about("as `actix/stopped`; before that a group is drained, in which the task has a place"),
        ])
        .keeps("connections_back", [])
        .keeps("spans_received", [])
        .keeps("times_saved", [])
        .keeps("the_second_test_fails_with", [])
        .kit_claim(
            "In a session, connections come back to their pool and the pool's files are closed; on the \
             runtime of a cell every request is answered; a hook and a plan get every span out; a hook and a \
             place in a group have the document saved.",
        );
    needed_by(experiment).run()
}
