//! Programs that measure for an experiment. They are built optimized, which experiments are not.

use std::{env, ffi::OsStr, path::PathBuf, process::Command, time::Duration};

use lab::{Equipment, Lack, Preparation, TrialResult, sandbox::Ending};

use crate::{
    Scene,
    python::{root, run},
};

/// The variable that holds the path of the program.
const PROGRAM: &str = "LAB_MEASURES";

/// How long the build may take, on a machine that does other things as well.
const BUILD: Duration = Duration::from_secs(1800);

/// Builds the package in this folder of the workspace, optimized, for all trials.
pub fn built(folder: &'static str) -> impl Fn(&Preparation<'_>) -> Result<Equipment, Lack> {
    move |preparation| {
        preparation.say(&format!("building {folder}, optimized"));
        let target = root().join("target/measured");
        let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let manifest = root().join(folder).join("Cargo.toml");
        let options = ["build", "--release", "--quiet", "--locked", "--manifest-path"];
        let paths = [manifest.as_os_str(), "--target-dir".as_ref(), target.as_os_str()];
        let arguments = [&options.map(OsStr::new)[..], &paths].concat();
        let ended = run(preparation, &cargo, &arguments, Vec::new(), BUILD)?;
        if ended.ending != Ending::Exited(0) {
            let said = ended.stderr.text();
            return Err(Lack::broken(format!("cargo ended with {}:\n{said}", ended.ending)));
        }
        let name = manifest.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
        Ok(Equipment::new().variable(PROGRAM, target.join("release").join(name)))
    }
}

/// Has the program measure something, and records the figures that it prints: `NAME NUMBER`, or with `ns`
/// behind the number a duration.
pub fn record(scene: &Scene<'_>, what: &str) -> TrialResult {
    let program =
        env::var_os(PROGRAM).ok_or("the experiment does not declare `measured::built`")?;
    let ended = Command::new(program).arg(what).output()?;
    let said = String::from_utf8(ended.stdout)?;
    scene.check("the program exited with 0", ended.status.success());
    for line in said.lines() {
        let (name, figure) = line.split_once(' ').ok_or("a line without a figure")?;
        match figure.strip_suffix("ns") {
            Some(nanoseconds) => scene.record(name, Duration::from_nanos(nanoseconds.parse()?)),
            None => scene.record(name, figure.parse::<i64>()?),
        }
    }
    scene.check("it measured something", !said.is_empty());
    Ok(())
}
