//! 62 real clients: how often does an interpreter crash that ends with a real client of etcd in it
//! (claims C1, C2, C8–C10, C12, C14)? The version in the notes of etcd-client-py, the one that came of them, and the
//! kit's extension, in the notes' scenarios. A trial becomes
//! `experiments/python/etcd_exit.py CLIENT SCENARIO ENDING`. Page: `docs/src/62-real-clients.md`.

use experiments::{
    prelude::*,
    real_clients::{self, NEW, OLD, RACE, crashes},
};
use lab::{Condition, Outcome::Signalled, Prediction, Subject, server::Kind};

/// Nothing here takes a second, on a machine that has the time.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("How often does an interpreter crash that ends with a real client in it?")
        .hypothesis(
            "With a runtime that nobody shuts down: in every scenario, however the program ends. With \
             one that the client shuts down when it is closed: never if it is closed, and in every \
             scenario if it is not.",
        )
        .needs(real_clients::packages)
        .needs(real_clients::server(Kind::Etcd))
        .variants(scenarios("0.4.1/closed", RACE, |name| hazard(name, crashes(), trial)))
        .variants(scenarios("0.4.1/returned", RACE, |name| hazard(name, crashes(), trial)))
        .variants(scenarios("0.5.1/closed", 20, |name| control(name, trial)))
        .variants(scenarios("0.5.1/returned", RACE, |name| hazard(name, crashes(), trial)))
        .variants([
            hazard("0.4.1/closed/operations-in-flight", may_crash(), trial)
                .about("50 operations at once; none of them is waited for, and nothing cancels them")
                .trials(4 * RACE),
            hazard("0.4.1/closed/operations-cancelled", may_crash(), trial)
                .about("the same, but asyncio.run cancels them, as it does with what nobody waits for")
                .trials(4 * RACE),
            hazard("0.4.1/closed/active-watch-in-flight", may_crash(), trial)
                .about("a watch, and nothing cancels it")
                .trials(2 * RACE),
            hazard("0.4.1/closed/single-put/1-core", may_crash(), trial)
                .about("an operation; the process is pinned to one core")
                .trials(RACE / 2),
            hazard("0.4.1/closed/single-put/2-cores", may_crash(), trial)
                .about("an operation; the process is pinned to two cores")
                .trials(RACE / 2),
        ].map(|variant| variant.deadline(DEADLINE).sometimes_at("")))
        .variants([
            hazard("0.4.1/original-test", misses_it(), |scene| repeated(scene, "5", "one-by-one"))
                .about("5 exits after one operation, and a look at the exit codes")
                .trials(60)
                .deadline(DEADLINE),
            hazard("0.4.1/at-once", misses_it(), |scene| repeated(scene, "8", "at-once"))
                .about("8 exits after one operation, at the same time")
                .trials(20)
                .deadline(DEADLINE),
        ])
        .variants(scenarios("kit/closed", 20, |name| cure(name, trial)))
        .variants(scenarios("kit/returned", 20, |name| cure(name, trial)))
        .claim("C1", "About half of the exits crash, on fast machines: between 25 and 75 of 100.")
        .supported_if(all(SCENARIOS, |it| it.fails_at_least(25)) & all(SCENARIOS, |it| it.fails_at_most(75)))
        .refuted_if(
            all(SCENARIOS, |it| it.fails_at_most(10)) | all(SCENARIOS, |it| it.fails_at_least(90)),
        )
        .claim("C2", "The original test, of five single operations, shows it less than the scenarios.")
        .supported_if(
            every("0.4.1/original-test").is(misses_it())
                & shows_it_less_than("active-watch", 20)
                & shows_it_less_than("operations", 20)
                & shows_it_less_than("rapid-clients", 20)
                & shows_it_less_than("watches-and-operations", 30)
                & shows_it_less_than("single-put", 50),
        )
        .refuted_if(
            !shows_it_less_than("active-watch", 20)
                | !shows_it_less_than("operations", 20)
                | !shows_it_less_than("rapid-clients", 20)
                | !shows_it_less_than("watches-and-operations", 30)
                | !shows_it_less_than("single-put", 50),
        )
        .claim(
            "C8",
            "A watch is more likely to hit the race than an operation, whether the client is closed or not.",
        )
        // Like is compared with like. Not significantly more often is not yet less often.
        .supported_if(more_often("active-watch", "single-put"))
        .refuted_if(more_often("single-put", "active-watch"))
        .finding("C8b", "In 0.5.1, left open, a watch makes most exits fail, and an operation does not.")
        .supported_if(
            every("0.5.1/returned/active-watch").fails_at_least(51)
                & every("0.5.1/returned/single-put").fails_at_most(50),
        )
        .refuted_if(every("0.5.1/returned/active-watch").fails_at_most(50))
        .claim(
            "C9a",
            "With more concurrent tasks, 50 operations or 30 and 3 watches, the race is hit more often than with \
             one operation.",
        )
        .supported_if(however("*operations").fails_more_often_than(however("single-put")))
        .refuted_if(however("single-put").fails_more_often_than(however("*operations")))
        .claim("C10", "If the runtime can be taken out of its cell, closing the client can shut it down.")
        .supported_if(every("0.5.1/closed/*").is(Clean) & every("0.4.1/closed/*").is(crashes()))
        .refuted_if(!every("0.5.1/closed/*").is(Clean))
        .claim("C12a", "Exits are ended by SIGABRT, in each scenario.")
        .supported_if(all(SCENARIOS, |it| it.is(crashes())))
        .refuted_if(all(SCENARIOS, |it| it.is(seen(Clean).allowing([Panicked, Signalled, Failed]))))
        .claim("C14", "3 watches and 30 operations hit the race more often than any other scenario.")
        .supported_if(
            more_often_than("single-put")
                & more_often_than("active-watch")
                & more_often_than("rapid-clients")
                & more_often_than("operations"),
        )
        .refuted_if(
            less_often_than("single-put")
                | less_often_than("active-watch")
                | less_often_than("rapid-clients")
                | less_often_than("operations"),
        )
        .kit_claim("with the kit's runtime no exit crashes, whether the client is closed or not")
        .run()
}

/// The scenarios of the notes; "ultra-rapid" is `single-put`.
const SCENARIOS: [&str; 5] = ["single-put", "active-watch", "operations", "rapid-clients", LAST];
const LAST: &str = "watches-and-operations";

/// A scenario with the version that the notes are about, its clients closed as in the notes' tests.
fn of(scenario: &str) -> Subject {
    every(&format!("0.4.1/closed/{scenario}"))
}

/// A scenario with that version, its clients closed or not.
fn however(scenario: &str) -> Subject {
    every(&format!("0.4.1/*/{scenario}"))
}

/// One scenario fails more often than another, with the version of the notes, closed and not.
fn more_often(one: &str, other: &str) -> Condition {
    let [closed, returned] = ["0.4.1/closed", "0.4.1/returned"].map(|way| {
        let of = |scenario| every(&format!("{way}/{scenario}"));
        of(one).fails_more_often_than(of(other))
    });
    closed & returned
}

/// What holds for every scenario.
fn all(scenarios: [&str; 5], holds: impl Fn(Subject) -> Condition) -> Condition {
    let [first, others @ ..] = scenarios.map(|scenario| holds(of(scenario)));
    others.into_iter().fold(first, |all, one| all & one)
}

/// The most aggressive scenario of the notes fails more often than another one, or less often, however
/// they end.
fn more_often_than(scenario: &str) -> Condition {
    however(LAST).fails_more_often_than(however(scenario))
}

fn less_often_than(scenario: &str) -> Condition {
    however(scenario).fails_more_often_than(however(LAST))
}

/// The original test, five single operations, passes more often than a suite of this scenario.
fn shows_it_less_than(scenario: &str, exits: u32) -> Condition {
    of("single-put").suite_of(5).passes_more_often_than(of(scenario).suite_of(exits))
}

/// Exits may crash, and not all do.
fn may_crash() -> Prediction {
    seen(Clean).allowing([Aborted, Panicked, Signalled, Failed])
}

/// A test passes at least once, although what it tests for is there.
fn misses_it() -> Prediction {
    seen(Clean).allowing([Failed])
}

/// All scenarios of one client and ending.
fn scenarios(
    client_and_ending: &str,
    trials: u32,
    declare: impl Fn(String) -> Variant,
) -> impl Iterator<Item = Variant> {
    // The first crashes least often on a machine with nothing else to do, if nothing is closed: in 6 of
    // 200 exits.
    let seldom = if client_and_ending.ends_with("returned") { 3 } else { 2 };
    let scenarios = [
        ("single-put", seldom, "an operation: the original test, and \"ultra-rapid\""),
        ("active-watch", 2, "a watch"),
        ("operations", 2, "50 operations at once"),
        ("rapid-clients", 1, "5 clients, one after another, with an operation each"),
        ("watches-and-operations", 1, "3 watches, and 30 operations at once"),
    ];
    scenarios.into_iter().map(move |(scenario, times, about)| {
        declare(format!("{client_and_ending}/{scenario}"))
            .about(about)
            .trials(times * trials)
            .deadline(DEADLINE)
            // Where a late thread panics depends on how late it is.
            .sometimes_at("")
    })
}

/// A trial of a client with an ending and a scenario, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let words: Vec<_> = scene.variant().split('/').collect();
    let [client, ending, scenario, ref cores @ ..] = words[..] else {
        return Err("fewer than three words".into());
    };
    let (version, client) = match client {
        "0.4.1" => (OLD, "package"),
        "0.5.1" => (NEW, "package"),
        kit => (NEW, kit),
    };
    let scenario = scenario.replace('-', "_");
    // `1-core`: the number of cores.
    let cores = cores.first().and_then(|cores| cores.split('-').next());
    let arguments: Vec<_> = [client, &scenario, ending].into_iter().chain(cores).collect();
    version.becomes(scene, "etcd_exit.py", &arguments)
}

/// Several exits after one operation, as the original test has them.
fn repeated(scene: &Scene<'_>, exits: &str, how: &str) -> TrialResult {
    OLD.becomes(scene, "original_test.py", &[exits, how])
}
