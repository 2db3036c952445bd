//! # 63 · cross library
//!
//! The shutdown testing notes of *etcd-client-py* left one scenario pending: its client and that of
//! *valkey-glide* in one interpreter, each with a Tokio runtime of its own. They hold valkey-glide to
//! be the more robust, because its runtime has an owner whose `Drop` joins a thread. Here are both, and
//! the kit's extension as the third, each alone and together, against a real etcd and a real Redis.
//!
//! The trial becomes the interpreter itself (`experiments/python/cross_library.py`). Each library does
//! 20 operations, all at once, and all are waited for. What counts as failed is as in experiment 62.
//!
//! - `0.4.1/…`, `0.5.1/…`: etcd-client-py in that version, alone; `valkey/…`, `kit/…`: the others.
//! - `…+…/…`: these together.
//! - `…/closed`: all clients are closed, that of etcd last. `…/returned`: none is.

use std::{process::ExitCode, time::Duration};

use experiments::{
    Scene, control, cure, hazard,
    real_clients::{self, NEW, OLD, Version},
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed, Panicked, Signalled},
    Prediction, TrialResult, Variant, every, seen,
};

/// How often a race is run: where one exit in fifteen crashes, a run that misses it is a
/// one-in-a-million event.
const RACE: u32 = 200;

/// How often what may crash or not is run: dear, for to import valkey-glide takes half a second.
const OPEN: u32 = 30;

/// Nothing here takes two seconds on a machine that has the time. On one that has not, a clean exit was
/// seen to take 55.
const DEADLINE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question(
            "Do libraries with a runtime each get in each other's way when the interpreter \
             ends?",
        )
        .hypothesis(
            "No: what ends well alone ends well together. What crashes alone may crash \
             together, and no exit hangs. valkey-glide alone always ends well, closed or not.",
        )
        .needs(real_clients::packages)
        .needs(real_clients::etcd)
        .needs(real_clients::redis)
        .variants([
            variant(OLD, "etcd", "closed", |name, body| hazard(name, crashes(), body)).trials(RACE),
            variant(OLD, "etcd", "returned", |name, body| hazard(name, crashes(), body))
                .trials(RACE),
            variant(NEW, "etcd", "closed", control),
            variant(NEW, "etcd", "returned", |name, body| hazard(name, crashes(), body))
                .trials(RACE),
            variant(NEW, "valkey", "closed", control),
            variant(NEW, "valkey", "returned", control),
            variant(NEW, "kit", "closed", cure),
            variant(NEW, "kit", "returned", cure),
            variant(OLD, "etcd+valkey", "closed", |name, body| hazard(name, may_crash(), body))
                .trials(OPEN),
            variant(OLD, "etcd+valkey", "returned", |name, body| hazard(name, may_crash(), body))
                .trials(OPEN),
            variant(NEW, "etcd+valkey", "closed", control),
            variant(NEW, "etcd+valkey", "returned", |name, body| hazard(name, may_crash(), body))
                .trials(OPEN),
            variant(OLD, "etcd+valkey+kit", "closed", |name, body| hazard(name, may_crash(), body))
                .trials(OPEN),
            variant(NEW, "etcd+valkey+kit", "closed", control),
            variant(NEW, "etcd+valkey+kit", "returned", |name, body| {
                hazard(name, may_crash(), body)
            })
            .trials(OPEN),
            variant(NEW, "valkey+kit", "closed", cure),
            variant(NEW, "valkey+kit", "returned", cure),
        ])
        .claim("C5", "valkey-glide is more robust")
        .supported_if(every("valkey/*").is(Clean) & every("0.4.1/*").is(crashes()))
        .refuted_if(every("valkey/*").is(crashes()) | every("0.4.1/*").is(Clean))
        .claim("C7", "etcd-client-py and valkey-glide in one interpreter do not conflict")
        .supported_if(
            every("valkey/closed").is(Clean)
                & every("0.5.1/closed").is(Clean)
                & every("0.5.1+valkey/closed").is(Clean)
                & every("0.4.1+valkey/*").is(may_crash()),
        )
        .refuted_if(
            every("valkey/closed").is(Clean)
                & every("0.5.1/closed").is(Clean)
                & !every("0.5.1+valkey/closed").is(Clean),
        )
        .kit_claim("with the kit's runtime no exit crashes, alone or beside valkey-glide")
        .run()
}

/// Some exits crash, in one of the ways in which that shows.
fn crashes() -> Prediction {
    seen(Aborted).allowing([Clean, Panicked, Signalled, Failed])
}

/// Exits may crash, and not all do.
fn may_crash() -> Prediction {
    seen(Clean).allowing([Aborted, Panicked, Signalled, Failed])
}

type Body = Box<dyn Fn(&Scene<'_>) -> TrialResult + Send + Sync>;

fn variant(
    version: Version,
    libraries: &'static str,
    ending: &'static str,
    declare: fn(String, Body) -> Variant,
) -> Variant {
    let name = format!("{}/{ending}", libraries.replace("etcd", version.number));
    let about = libraries
        .split('+')
        .map(|library| match library {
            "etcd" => format!("etcd-client-py {}", version.number),
            "valkey" => "valkey-glide".to_owned(),
            _ => "ours".to_owned(),
        })
        .collect::<Vec<_>>();
    let ended = if ending == "closed" { "closed" } else { "left open" };
    let body =
        move |scene: &Scene<'_>| version.becomes(scene, "cross_library.py", &[libraries, ending]);
    declare(name, Box::new(body))
        .about(format!("{}, {ended}", about.join(" and ")))
        .deadline(DEADLINE)
        // Where a late thread panics depends on how late it is.
        .sometimes_at("")
}
