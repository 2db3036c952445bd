//! The extension of `crates/pyo3`, built on the kit's crate for authors and on the one that it stands in for.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Equipment, Lack, Preparation, Trial, TrialResult, sandbox::Ending};

use crate::python::{self, root};

/// The variable in which a program finds the folder of both.
const AUTHORS: &str = "AUTHORS";

/// How long a build may take on a machine that has never built it before.
const BUILD: Duration = Duration::from_secs(1800);

/// Finds a `python3` that ends late threads, and builds the extension twice for all trials.
pub fn extension(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let equipment = python::extensions(preparation)?;
    let authors = root().join("target/python/authors");
    for (which, features) in [("kit", ""), ("bare", "bare")] {
        preparation.say("building the extension (crates/pyo3/tests/extension)");
        build(preparation, features, &authors.join(which))?;
    }
    Ok(equipment.variable(AUTHORS, authors))
}

/// Builds it with cargo alone, and puts it where the interpreter looks.
fn build(preparation: &Preparation<'_>, features: &str, folder: &Path) -> Result<(), Lack> {
    let (target, manifest) = (root().join("target/python"), root().join("crates/pyo3/Cargo.toml"));
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let options =
        ["build", "--release", "--quiet", "--locked", "--package", "extension", "--features"];
    let arguments = [
        &options.map(OsStr::new)[..],
        &[features.as_ref(), "--manifest-path".as_ref(), manifest.as_os_str()],
        &["--target-dir".as_ref(), target.as_os_str()],
    ];
    // Without this, it would link a library of the interpreter that not every machine has.
    let variables = vec![("PYO3_BUILD_EXTENSION_MODULE", "1".into())];
    let ended = python::run(preparation, &cargo, &arguments.concat(), variables, BUILD)?;
    if ended.ending != Ending::Exited(0) {
        let said = ended.stderr.text();
        return Err(Lack::broken(format!("cargo ended with {}:\n{said}", ended.ending)));
    }
    let library = format!("{}extension{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    put(&target.join("release").join(library), folder)
        .map_err(|error| Lack::broken(format!("{}: {error}", folder.display())))
}

/// Copies the file so that a program which has the old one open keeps it.
fn put(library: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!("extension.{}", std::process::id()));
    fs::copy(library, &beside)?;
    fs::rename(&beside, folder.join("extension.abi3.so"))
}

/// Turns the trial into the interpreter that runs `experiments/python/author.py`. Such a program says nothing on
/// standard error but what Python says of an exception of its own.
pub fn becomes(trial: &Trial<'_>, which: &str, ending: &str) -> TrialResult {
    python::becomes(trial, "author.py", &[which, ending], |program| match ending {
        "exits" => program.exits_with(3).is_silent(),
        "raises" => program.exits_with(1).complains("ValueError: the program's own"),
        _ => program.is_silent(),
    })
}
