//! `sundown::explain` recognises every panic of every hazard in the lab.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
    process::Command,
};

use lab::{
    Role,
    results::{ExperimentResult, TrialExample, VariantResult},
};
use serde_json::Value;
use sundown::explain::Cause;

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// The parts of a panic in a result: `main: no reactor running (src/lib.rs:1:2), while unwinding`.
fn parts(panic: &str) -> TestResult<(&str, &str, &str)> {
    let panic = panic.strip_suffix(", while unwinding").unwrap_or(panic);
    let (thread, rest) = panic.split_once(": ").ok_or("a panic without a thread")?;
    let (message, site) = rest.rsplit_once(" (").ok_or("a panic without a site")?;
    // A place in the standard library has no line, which moves with the compiler.
    let site = site.strip_prefix("std: ").unwrap_or(site);
    Ok((thread, message, site.trim_end_matches(')')))
}

/// The causes of a trial's panics, given the panic before each on its thread. An error names a panic that
/// is not recognised.
fn causes(example: &TrialExample) -> TestResult<Vec<Cause>> {
    let (mut before, mut causes) = (BTreeMap::new(), Vec::new());
    for panic in &example.panics {
        let (thread, message, site) = parts(panic)?;
        let cause = Cause::of(message, site, before.get(thread).copied());
        let cause = cause.ok_or_else(|| {
            format!(
                "sundown::explain does not recognise `{panic}`: add it there ({})",
                example.rerun
            )
        })?;
        before.insert(thread, cause);
        causes.push(cause);
    }
    Ok(causes)
}

/// The causes of all panics of an experiment. Beside hazards, a control may panic, if it declares that it is
/// allowed to. A cure never may.
fn causes_in(result: &ExperimentResult) -> TestResult<BTreeSet<Cause>> {
    let mut all = BTreeSet::new();
    for variant in &result.variants {
        for example in &variant.examples {
            let causes = causes(example)?;
            let is_allowed = match variant.role {
                Role::Hazard => true,
                Role::Control => example.expected,
                Role::Cure => false,
            };
            let is_expected = is_allowed || causes.is_empty();
            assert!(is_expected, "{} {} panicked", result.name, variant.name);
            all.extend(causes);
        }
    }
    Ok(all)
}

/// The results that the notebook was written from.
fn committed() -> TestResult<Vec<ExperimentResult>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results");
    let mut results = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        // The figures of the benchmarks are in a folder of their own.
        if file.is_dir() {
            continue;
        }
        let mut file: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        results.push(serde_json::from_value(file["experiment"].take())?);
    }
    Ok(results)
}

/// The causes that the lab has hazards for, but one.
const SHOWN: [Cause; 10] = [
    Cause::NoContext,
    Cause::SecondPanic,
    Cause::ContextDestroyed,
    Cause::RuntimeDropped,
    Cause::BlockedInAsync,
    Cause::CancelledJoin,
    Cause::NoThread,
    Cause::BlockInPlace,
    Cause::NotLocal,
    Cause::Forked,
];

/// The one that needs servers and real Python clients.
const SHOWN_ON_DEMAND: Cause = Cause::NoInterpreter;

#[test]
fn every_panic_in_the_notebook_is_recognised() -> TestResult {
    let mut seen = BTreeSet::new();
    for result in committed()? {
        seen.extend(causes_in(&result)?);
    }
    // Otherwise there was nothing to recognise.
    let shown = SHOWN.into_iter().chain([SHOWN_ON_DEMAND]);
    assert_eq!(seen, shown.collect());
    Ok(())
}

/// Why a hazard panics, and where.
type Place = (Cause, String);

/// Hazards of an experiment that panic at a place at which none has panicked yet: of several, the one with the
/// fewest trials.
fn new_hazards<'a>(
    known: &'a ExperimentResult,
    places: &mut BTreeSet<Place>,
) -> TestResult<Vec<&'a str>> {
    let mut hazards: Vec<_> = known
        .variants
        .iter()
        .filter(|it| it.role == Role::Hazard && !it.sites.is_empty())
        .collect();
    hazards.sort_by_key(|variant| variant.trials);
    let mut names = Vec::new();
    for hazard in hazards {
        let before = places.len();
        for example in &hazard.examples {
            let causes = causes(example)?;
            for (cause, panic) in causes.into_iter().zip(&example.panics) {
                places.insert((cause, parts(panic)?.2.to_owned()));
            }
        }
        if places.len() > before {
            names.push(hazard.name.as_str());
        }
    }
    Ok(names)
}

/// From this one on, experiments build or install something from outside the workspace first.
const OUTSIDE: &str = "59";

/// Runs hazards of an experiment again.
fn run_again(known: &ExperimentResult, names: &[&str]) -> TestResult<Option<ExperimentResult>> {
    if names.is_empty() {
        return Ok(None);
    }
    if known.id.as_str() >= OUTSIDE {
        eprintln!(
            "skipped: {} is not run again, so the panics of the notebook have to do",
            known.name
        );
        return Ok(None);
    }
    let name = format!("{}_{}", known.id, known.name.replace('-', "_"));
    // Cargo says where one binary is; the others are beside it.
    let binary = Path::new(env!("CARGO_BIN_EXE_01_drop_context")).with_file_name(name);
    let ran = Command::new(binary)
        .args(["--quick", "--format", "json", "--only", &names.join(",")])
        .output()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = serde_json::from_slice(&ran.stdout);
    Ok(Some(said.map_err(|error| {
        format!("{}: {error}: {}", known.name, String::from_utf8_lossy(&ran.stdout))
    })?))
}

#[test]
fn every_panic_of_a_hazard_is_recognised_today() -> TestResult {
    let (mut seen, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mut committed = committed()?;
    committed.sort_by(|one, other| one.id.cmp(&other.id));
    for known in committed {
        let hazards = new_hazards(&known, &mut places)?;
        if let Some(result) = run_again(&known, &hazards)? {
            let panics = |variant: &VariantResult| {
                variant.examples.iter().any(|example| !example.panics.is_empty())
            };
            let panicked = result.variants.iter().any(panics);
            assert!(panicked, "{} did not panic this time", known.name);
            seen.extend(causes_in(&result)?);
        }
    }
    seen.remove(&SHOWN_ON_DEMAND);
    assert_eq!(seen, BTreeSet::from(SHOWN));
    Ok(())
}
