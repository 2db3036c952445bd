//! The real matrix-sdk, two versions of it, in programs of `crates/real-sdk`.
//!
//! A trial [becomes](Trial::becomes) a program of the version that its variant is about. The program has a
//! homeserver of its own, on the loopback interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use lab::{
    Equipment, Experiment, Lack, Preparation, Program, Trial, TrialResult, Variant, sandbox::Ending,
};
use serde::Deserialize;

use crate::python::{root, run};

/// The versions: the generation of the report, and the newest that builds with this Rust.
pub const VERSIONS: [&str; 2] = ["0.13", "0.18"];

/// The deadline of a trial. It takes a second of processor time, and a busy machine has few of them.
const PLENTY: Duration = Duration::from_secs(60);

/// How often a cure is tried: none of 300 failing means at most 1.3 % with 95 % confidence.
pub const CONFIRMED: u32 = 300;

/// Where tasks of the SDK panic when their runtime refuses their blocking work, in both versions.
const TASK_PANICS: [&str; 8] = [
    "deadpool-runtime-0.1.4/src/lib.rs:77:58",
    "matrix-sdk-0.13.0/src/event_cache/room/mod.rs:1243:14",
    "matrix-sdk-0.13.0/src/sliding_sync/mod.rs:599:57",
    "deadpool-sync-0.2.0/src/lib.rs:109:51",
    "matrix-sdk-0.18.0/src/event_cache/persistence.rs:86:6",
    "matrix-sdk-sqlite-0.18.0/src/event_cache_store.rs:1668:10",
    "matrix-sdk-sqlite-0.18.0/src/state_store.rs:1143:76",
    "matrix-sdk-sqlite-0.18.0/src/utils.rs:576:68",
];

/// Expects that in some trials a task of the SDK panics besides, when its runtime goes down.
#[must_use]
pub fn tasks_may_panic(variant: Variant) -> Variant {
    TASK_PANICS.into_iter().fold(variant, Variant::sometimes_at)
}

/// How long a build may take on a machine that has never built it before.
const BUILD: Duration = Duration::from_secs(3600);

/// What cargo tells the programs that it runs about the package that they are from.
const FROM_CARGO: [&str; 7] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// Declares that an experiment needs both versions, and so runs on demand only.
#[must_use]
pub fn needed_by(experiment: Experiment) -> Experiment {
    experiment
        .each(|variant| variant.deadline(PLENTY))
        .on_demand("it builds the real matrix-sdk, twice, which takes five to ten minutes")
        .needs(programs)
}

/// Builds the programs of both versions.
fn programs(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let mut equipment = Equipment::new();
    for version in VERSIONS {
        preparation.say(&format!("building matrix-sdk {version} (crates/real-sdk)"));
        build(version, preparation)?;
        equipment = equipment.variable(&variable(version), executable(version));
    }
    let locked = VERSIONS.map(locked);
    for name in NAMED {
        let versions = locked.iter().filter_map(|of| of.get(name)).flatten();
        let versions: BTreeSet<_> = versions.map(String::as_str).collect();
        equipment = equipment.version(name, versions.into_iter().collect::<Vec<_>>().join(" and "));
    }
    Ok(equipment)
}

/// The crates that a page names.
const NAMED: [&str; 6] =
    ["deadpool", "deadpool-runtime", "deadpool-sync", "matrix-sdk", "rusqlite", "tokio"];

/// The versions of those crates that the programs are built with.
fn locked(version: &str) -> BTreeMap<String, Vec<String>> {
    let path = root().join(format!("crates/real-sdk/sdk-{version}/Cargo.lock"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let lock_file = toml::from_str(&text).unwrap_or(LockFile { package: Vec::new() });
    let mut versions = BTreeMap::<_, Vec<_>>::new();
    for Package { name, version } in lock_file.package {
        versions.entry(name).or_default().push(version);
    }
    versions
}

#[derive(Deserialize)]
struct LockFile {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

fn build(version: &str, preparation: &Preparation<'_>) -> Result<(), Lack> {
    let manifest = root().join(format!("crates/real-sdk/sdk-{version}/Cargo.toml"));
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let target = target();
    let options = ["build", "--quiet", "--locked", "--manifest-path"];
    let arguments = [
        &options.map(OsStr::new)[..],
        &[manifest.as_os_str(), "--target-dir".as_ref(), target.as_os_str()],
    ]
    .concat();
    // A build script of the SDK's asks for these, and cargo runs it again if they have changed: they
    // differ between an experiment that cargo has started and one that was started by hand.
    let variables = FROM_CARGO.map(|name| (name, OsString::new())).into();
    let ended = run(preparation, &cargo, &arguments, variables, BUILD)?;
    if ended.ending != Ending::Exited(0) {
        let said = ended.stderr.text();
        return Err(Lack::broken(format!("cargo ended with {}:\n{said}", ended.ending)));
    }
    Ok(())
}

/// A folder of its own, beside what the workspace builds. `SUNDOWN_REAL_SDK_TARGET` sets another.
fn target() -> PathBuf {
    env::var_os("SUNDOWN_REAL_SDK_TARGET")
        .map_or_else(|| root().join("target/real-sdk"), PathBuf::from)
}

fn executable(version: &str) -> PathBuf {
    let name = format!("real-sdk-{}", version.replace('.', "-"));
    target().join("debug").join(name).with_extension(env::consts::EXE_EXTENSION)
}

/// The variable in which a trial finds the program of a version.
fn variable(version: &str) -> String {
    format!("REAL_SDK_{}", version.replace('.', "_"))
}

/// Turns the trial into a program of `crates/real-sdk/src`, with the version that the variant is about. To
/// be clean the program must reach its last line.
///
/// # Errors
///
/// If the variant is about no version, or the program cannot be started.
pub fn becomes(trial: &Trial<'_>, program: &str, arguments: &[&str]) -> TrialResult {
    let version = trial.version().ok_or("the variant is about no version of the SDK")?;
    let executable = env::var_os(variable(version))
        .ok_or("the experiment does not declare `real_sdk::needed_by`")?;
    let name = Path::new(program).file_stem().ok_or("a program without a name")?;
    let mut command = Command::new(executable);
    command.arg(name).args(arguments);
    trial.becomes(Program::new(command).ends_with("the last line"))
}
