//! # 62 · real clients
//!
//! The shutdown testing notes of *etcd-client-py* end an interpreter in five ways while its client of
//! etcd is at work, and count how many exits crash. Here the same five run with the version that the
//! notes speak of and with the one that came of them, against a real etcd; and beside them the same
//! work over the kit's extension.
//!
//! The trial becomes the interpreter itself (`experiments/python/etcd_exit.py`). It has failed if it
//! is ended by a signal, exits with another code than 0, prints a Rust panic or a fatal error of the
//! interpreter's, or does not come to its last line.
//!
//! - `…/closed/…`: `async with` closes the client, as in the package's own tests.
//! - `…/returned/…`: `main` returns and closes nothing.
//! - `0.4.1/…`: a runtime in a static, as the notes describe it. Nothing shuts it down.
//! - `0.5.1/…`: closing the last client shuts the runtime down and waits for its thread.
//! - `kit/…`: the kit's runtime, which shuts itself down when the interpreter exits.
//! - `0.4.1/original-test`: five exits after a single operation, and a look at the exit codes. Whether
//!   such a test would have told.

use std::{process::ExitCode, time::Duration};

use experiments::{
    Scene, control, cure, hazard,
    real_clients::{self, NEW, OLD, Version},
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed, Panicked, Signalled},
    Prediction, Role, Variant, every, seen,
};

/// How often a race is run: where one exit in fifteen crashes, a run that misses it is a
/// one-in-a-million event.
const RACE: u32 = 200;

/// Nothing here takes a second, on a machine that has the time.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let package = |role, version: Version, ending| {
        let trials = if role == Role::Hazard { RACE } else { 20 };
        let name = version.number;
        scenarios(Arm { role, name, version, client: "package", ending, trials })
    };
    let kit = |ending| {
        let (role, name, client, trials) = (Role::Cure, "kit", "kit", 20);
        scenarios(Arm { role, name, version: NEW, client, ending, trials })
    };
    Experiment::new(file!())
        .question("How often does an interpreter crash that ends with a real client in it?")
        .hypothesis(
            "With a runtime that nobody shuts down, in every scenario and however the program ends. \
             With one that the client shuts down when it is closed, never where it is closed, and in \
             every scenario where it is not.",
        )
        .needs(real_clients::packages)
        .needs(real_clients::etcd)
        .variants(package(Role::Hazard, OLD, "closed"))
        .variants(package(Role::Hazard, OLD, "returned"))
        .variants(package(Role::Control, NEW, "closed"))
        .variants(package(Role::Hazard, NEW, "returned"))
        .variants([hazard("0.4.1/original-test", misses_it(), |trial| {
            OLD.becomes(trial, "original_test.py", &[])
        })
        .about("5 exits after one operation, and a look at the exit codes")
        .trials(60)
        .deadline(DEADLINE)])
        .variants(kit("closed"))
        .variants(kit("returned"))
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

/// Some exits crash, in one of the ways in which that shows.
fn crashes() -> Prediction {
    seen(Aborted).allowing([Clean, Panicked, Signalled, Failed])
}

/// A test is satisfied at least once, though what it tests for is there.
fn misses_it() -> Prediction {
    seen(Clean).allowing([Failed])
}

/// All scenarios with one client, and with one ending.
struct Arm {
    role: Role,
    /// What the variants' names begin with.
    name: &'static str,
    version: Version,
    client: &'static str,
    ending: &'static str,
    trials: u32,
}

fn scenarios(arm: Arm) -> impl Iterator<Item = Variant> {
    // The first crashes least often where the machine has nothing else to do: in 6 of 200 exits.
    let scenarios = [
        ("single_put", 3, "an operation: the original test, and \"ultra-rapid\""),
        ("active_watch", 1, "a watch"),
        ("operations", 1, "50 operations at once"),
        ("rapid_clients", 1, "5 clients, one after another, with an operation each"),
        ("watches_and_operations", 1, "3 watches, and 30 operations at once"),
    ];
    scenarios.into_iter().map(move |(scenario, times, about)| {
        let Arm { role, name, version, client, ending, trials } = arm;
        let name = format!("{name}/{ending}/{}", scenario.replace('_', "-"));
        let body = move |scene: &Scene<'_>| {
            version.becomes(scene, "etcd_exit.py", &[client, scenario, ending])
        };
        match role {
            Role::Hazard => hazard(name, crashes(), body),
            Role::Control => control(name, body),
            Role::Cure => cure(name, body),
        }
        .about(about)
        .trials(times * trials)
        .deadline(DEADLINE)
        // Where a late thread panics depends on how late it is.
        .sometimes_at("")
    })
}
