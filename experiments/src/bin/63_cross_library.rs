//! 63 cross library: do libraries with a Tokio runtime each get in each other's way when their
//! interpreter ends (claim C5, finding C7)? etcd-client-py in two versions, valkey-glide, and the kit's
//! extension, alone and together. A trial becomes
//! `experiments/python/cross_library.py LIBRARIES ENDING`. Page: `docs/src/63-cross-library.md`.

use experiments::{
    prelude::*,
    real_clients::{self, NEW, OLD, RACE, crashes},
};
use lab::{Condition, Outcome::Signalled, Prediction, server::Kind};

/// How few are enough for a crash that one exit in six shows, or more.
const SHOWN: u32 = 100;

/// How often the exits are run that are compared with each other, and how few are enough.
const COMPARED: u32 = 150;
const ENOUGH: u32 = 100;

/// Of what ends well, so many percent of the exits fail at most: with etcd-client-py 0.5.1 closed, one in
/// hundreds does (see 62).
const HARDLY_EVER: u32 = 2;

/// How often a variant is run that may crash or not: importing valkey-glide takes half a second.
const OPEN: u32 = 30;

/// Nothing here takes two seconds on a machine that has the time. On a busy one, a clean exit took
/// 55.
const DEADLINE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let crashing =
        |name| described(hazard(name, crashes(), trial)).trials(RACE).fewest_trials(SHOWN);
    let open = |name| described(hazard(name, may_crash(), trial)).trials(OPEN);
    let clean = |name| described(control(name, trial));
    let mostly_clean = |name| {
        let variant = described(control(name, trial)).predict(may_crash());
        variant.trials(COMPARED).fewest_trials(ENOUGH)
    };
    let kit = |name| described(cure(name, trial));
    Experiment::new(file!())
        .question("Do libraries with a runtime each get in each other's way when the interpreter ends?")
        .hypothesis(
            "No: what ends well alone ends well together. What crashes alone may crash together, and \
             no exit hangs. valkey-glide alone always ends well, closed or not.",
        )
        .holds_only_if(
            ends_well() & !conflicts(),
        )
        .needs(real_clients::packages)
        .needs(real_clients::server(Kind::Etcd))
        .needs(real_clients::server(Kind::Redis))
        .variants([
            crashing("0.4.1/closed"),
            crashing("0.4.1/returned"),
            mostly_clean("0.5.1/closed"),
            crashing("0.5.1/returned"),
            clean("valkey/closed"),
            clean("valkey/returned"),
            kit("kit/closed"),
            kit("kit/returned"),
            open("0.4.1+valkey/closed"),
            open("0.4.1+valkey/returned"),
            mostly_clean("0.5.1+valkey/closed"),
            open("0.5.1+valkey/returned").trials(COMPARED),
            open("0.4.1+valkey+kit/closed"),
            clean("0.5.1+valkey+kit/closed"),
            open("0.5.1+valkey+kit/returned"),
            kit("valkey+kit/closed"),
            kit("valkey+kit/returned"),
        ])
        .claim("C5", "valkey-glide is more robust: its exits are clean, closed or not.")
        .supported_if(every("valkey/*").is(Clean) & every("0.4.1/*").is(crashes()))
        .refuted_if(every("valkey/*").is(crashes()) | every("0.4.1/*").is(Clean))
        .finding(
            "C7",
            "etcd-client-py and valkey-glide do not conflict in one interpreter: what exits cleanly \
             alone does so together.",
        )
        // In company crashes are rare, and sometimes a run has none.
        .open_in_some_runs()
        .supported_if(
            every("valkey/closed").is(Clean)
                & ends_well()
                // The control: the same two, left open, crash.
                & every("0.5.1+valkey/returned").once(Aborted),
        )
        .refuted_if(conflicts())
        .kit_claim("with the kit's runtime no exit crashes, alone or beside valkey-glide")
        .run()
}

/// With its client closed, 0.5.1 hardly ever fails, alone or beside valkey-glide.
fn ends_well() -> Condition {
    every("0.5.1/closed|0.5.1+valkey/closed").fails_together_in(0..=HARDLY_EVER)
}

/// Two libraries in one interpreter: their exits fail more often than those of one, closed as well.
fn conflicts() -> Condition {
    every("0.5.1+valkey/closed").fails_more_often_than(every("0.5.1/closed|valkey/closed"))
}

/// Exits may crash, and not all do.
fn may_crash() -> Prediction {
    seen(Clean).allowing([Aborted, Panicked, Signalled, Failed])
}

/// Describes a variant by its name, and gives it what all have.
fn described(variant: Variant) -> Variant {
    let (libraries, ending) = variant.name().split_once('/').unwrap_or_default();
    let libraries: Vec<_> = libraries
        .split('+')
        .map(|library| match library {
            "valkey" => "valkey-glide".to_owned(),
            "kit" => "ours".to_owned(),
            version => format!("etcd-client-py {version}"),
        })
        .collect();
    let ended = if ending == "closed" { "closed" } else { "left open" };
    let about = format!("{}, {ended}", libraries.join(" and "));
    // Where a late thread panics depends on how late it is.
    variant.about(about).deadline(DEADLINE).sometimes_at("")
}

/// A trial of libraries with an ending, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let (libraries, ending) = scene.variant().split_once('/').ok_or("half a name")?;
    let version = if libraries.starts_with(OLD.number) { OLD } else { NEW };
    let libraries = libraries.replace(version.number, "etcd");
    version.becomes(scene, "cross_library.py", &[&libraries, ending])
}
