//! 62 real clients: how often does an interpreter crash that ends with a real client of etcd in it
//! (claims C1, C2)? The version in the notes of etcd-client-py, the one that came of them, and the
//! kit's extension, in the notes' scenarios. A trial becomes
//! `experiments/python/etcd_exit.py CLIENT SCENARIO ENDING`. Page: `docs/src/62-real-clients.md`.

use experiments::{
    prelude::*,
    real_clients::{self, NEW, OLD, RACE, crashes},
};
use lab::{Prediction, server::Kind};

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
        .variants([hazard("0.4.1/original-test", misses_it(), original_test)
            .about("5 exits after one operation, and a look at the exit codes")
            .trials(60)
            .deadline(DEADLINE)])
        .variants(scenarios("kit/closed", 20, |name| cure(name, trial)))
        .variants(scenarios("kit/returned", 20, |name| cure(name, trial)))
        .claim("C1", "about half of the exits crash, on fast machines")
        .supported_if(every("0.4.1/closed/*").fails_at_least(40))
        .refuted_if(every("0.4.1/closed/*").fails_at_most(5))
        .claim("C2", "the original test, of five single operations, shows it less than the scenarios")
        .supported_if(
            every("0.4.1/original-test").is(misses_it()) & every("0.4.1/closed/*").is(crashes()),
        )
        .refuted_if(every("0.4.1/original-test").is(Failed))
        .kit_claim("with the kit's runtime no exit crashes, whether the client is closed or not")
        .run()
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
    // The first crashes least often on a machine with nothing else to do: in 6 of 200 exits.
    let scenarios = [
        ("single-put", 3, "an operation: the original test, and \"ultra-rapid\""),
        ("active-watch", 1, "a watch"),
        ("operations", 1, "50 operations at once"),
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
    let [client, ending, scenario] = words[..] else { return Err("not three words".into()) };
    let (version, client) = match client {
        "0.4.1" => (OLD, "package"),
        "0.5.1" => (NEW, "package"),
        kit => (NEW, kit),
    };
    version.becomes(scene, "etcd_exit.py", &[client, &scenario.replace('-', "_"), ending])
}

fn original_test(scene: &Scene<'_>) -> TrialResult {
    OLD.becomes(scene, "original_test.py", &[])
}
