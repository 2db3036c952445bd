//! sqlx, reqwest, OpenTelemetry and actix, in programs of `crates/real-libraries`: for experiment 59.

use std::{
    env,
    error::Error,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use lab::{Equipment, Experiment, Lack, Preparation, Program, Trial, TrialResult, sandbox::Ending};

use toml::Value;

use crate::python::{root, run};

/// The package, which is outside the workspace.
const PACKAGE: &str = "crates/real-libraries";

/// The variable in which a trial finds the program.
const PROGRAM: &str = "REAL_LIBRARIES";

/// What the experiment is about.
const LIBRARIES: [&str; 5] =
    ["actix-rt", "opentelemetry-otlp", "opentelemetry_sdk", "reqwest", "sqlx"];

/// How long a build may take on a machine that has never built it before.
const BUILD: Duration = Duration::from_secs(1800);

/// Declares that an experiment needs the programs, and so runs on demand only.
#[must_use]
pub fn needed_by(experiment: Experiment) -> Experiment {
    experiment
        .on_demand(
            "it builds sqlx, reqwest, OpenTelemetry and actix, which takes one to two minutes",
        )
        .needs(programs)
}

/// Builds the programs, with the versions that the package is locked to.
fn programs(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    preparation.say(&format!("building sqlx, reqwest, OpenTelemetry and actix ({PACKAGE})"));
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let (manifest, target) = (root().join(PACKAGE).join("Cargo.toml"), target());
    let options = ["build", "--quiet", "--locked", "--manifest-path"];
    let arguments = [
        &options.map(OsStr::new)[..],
        &[manifest.as_os_str(), "--target-dir".as_ref(), target.as_os_str()],
    ]
    .concat();
    let ended = run(preparation, &cargo, &arguments, Vec::new(), BUILD)?;
    if ended.ending != Ending::Exited(0) {
        let said = ended.stderr.text();
        return Err(Lack::broken(format!("cargo ended with {}:\n{said}", ended.ending)));
    }
    let program = target.join("debug/real-libraries").with_extension(env::consts::EXE_EXTENSION);
    let versions = versions(&manifest.with_file_name("Cargo.lock")).map_err(Lack::broken)?;
    let equipment = Equipment::new().variable(PROGRAM, program);
    Ok(versions.into_iter().fold(equipment, |it, (name, version)| it.version(name, version)))
}

/// A folder of its own, beside what the workspace builds. `SUNDOWN_REAL_LIBRARIES_TARGET` sets another.
fn target() -> PathBuf {
    env::var_os("SUNDOWN_REAL_LIBRARIES_TARGET")
        .map_or_else(|| root().join("target/real-libraries"), PathBuf::from)
}

/// The versions of what the experiment is about.
fn versions(lock: &Path) -> Result<Vec<(&'static str, String)>, Box<dyn Error + Send + Sync>> {
    let lock: Value = toml::from_str(&fs::read_to_string(lock)?)?;
    let packages = lock.get("package").and_then(Value::as_array).ok_or("no packages")?;
    let version = |name: &'static str| {
        let package =
            packages.iter().find(|it| it.get("name").and_then(Value::as_str) == Some(name));
        let version = package.and_then(|it| it.get("version")?.as_str());
        version.map(|version| (name, version.to_owned())).ok_or_else(|| name.into())
    };
    LIBRARIES.into_iter().map(version).collect()
}

/// Turns the trial into a program of the package. To be clean the program must reach its last line.
///
/// # Errors
///
/// If the experiment does not declare [`needed_by`], or the program cannot be started.
pub fn becomes(trial: &Trial<'_>, arguments: &[&str]) -> TrialResult {
    let program = env::var_os(PROGRAM)
        .ok_or("the experiment does not declare `real_libraries::needed_by`")?;
    let mut command = Command::new(program);
    command.args(arguments);
    trial.becomes(Program::new(command).ends_with("the last line"))
}
