//! The cell in which pyo3-async-runtimes keeps its runtime: as it is released, and patched so that the
//! runtime can be taken out. For experiment 65.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Equipment, Lack, Preparation, sandbox::Ending};

use crate::python::{root, run};

/// What is patched.
const CRATE: &str = "pyo3-async-runtimes";
const VERSION: &str = "0.30.0";

/// How long a step may take on a machine that has none of it yet.
const BUILD: Duration = Duration::from_secs(900);

/// The whole difference between the two.
const PATCH: &str = include_str!("../../crates/python/cell/takeable.patch");

/// The file beside the patched source that says what it was made of.
const MADE_OF: &str = "made-of";

/// Builds the module with either cell, and puts both where [`extensions`](crate::python::extensions) has
/// put its own.
///
/// # Errors
///
/// If the source cannot be had or patched, or a build fails.
pub fn modules(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    preparation.say("building a module with either cell (crates/python/cell)");
    let broken = |error: io::Error| Lack::broken(format!("{}: {error}", source().display()));
    let made_of = format!("{VERSION}\n{PATCH}");
    // A source that was written again would be built again.
    if !fs::read_to_string(source().join(MADE_OF)).is_ok_and(|it| it == made_of) {
        make_the_patched_source(preparation)?;
        fs::write(source().join(MADE_OF), &made_of).map_err(broken)?;
    }
    for cell in ["released", "patched"] {
        let target = root().join("target/python/cell");
        let options = ["--release", "--target-dir"].map(OsStr::new);
        cargo("build", cell, &[&options[..], &[target.as_os_str()]].concat(), preparation)?;
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let library = target.join(format!("release/{prefix}sundown_cell_{cell}{suffix}"));
        let package = format!("target/python/packages/sundown_cell_{cell}.abi3.so");
        put(&library, &root().join(package)).map_err(broken)?;
    }
    Ok(Equipment::new().version(CRATE, VERSION))
}

/// The patched source. The manifest of `crates/python/cell/patched` names this folder.
fn source() -> PathBuf {
    root().join("target/python/vendor").join(CRATE)
}

/// Has cargo copy the released source, and patches the copy.
fn make_the_patched_source(preparation: &Preparation<'_>) -> Result<(), Lack> {
    let vendor = root().join("target/python/vendor");
    match fs::remove_dir_all(&vendor) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Lack::broken(format!("{}: {error}", vendor.display())));
        }
        _ => cargo("vendor", "released", &[vendor.as_os_str()], preparation)?,
    }
    let (source, patch) = (source(), root().join("crates/python/cell/takeable.patch"));
    let options = ["--batch", "--quiet", "--strip=1", "--no-backup-if-mismatch", "--directory"];
    let options = options.map(OsStr::new);
    let arguments =
        [&options[..], &[source.as_os_str(), "--input".as_ref(), patch.as_os_str()]].concat();
    let ended = run(preparation, Path::new("patch"), &arguments, Vec::new(), BUILD)?;
    if ended.ending != Ending::Exited(0) {
        let said = ended.stdout.text() + &ended.stderr.text();
        return Err(Lack::missing(
            format!("{CRATE} cannot be patched: {said}"),
            "install patch (Debian: apt-get install patch)",
        ));
    }
    Ok(())
}

/// Runs a command of cargo's on the package with this cell.
fn cargo(
    command: &str,
    cell: &str,
    arguments: &[&OsStr],
    preparation: &Preparation<'_>,
) -> Result<(), Lack> {
    let manifest = root().join(format!("crates/python/cell/{cell}/Cargo.toml"));
    let options = [command, "--quiet", "--locked", "--manifest-path"].map(OsStr::new);
    let arguments = [&options[..], &[manifest.as_os_str()], arguments].concat();
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    // As for the other extension modules: they link no library of the interpreter.
    let variables = vec![("PYO3_BUILD_EXTENSION_MODULE", "1".into())];
    let ended = run(preparation, &cargo, &arguments, variables, BUILD)?;
    if ended.ending != Ending::Exited(0) {
        let said = ended.stderr.text();
        return Err(Lack::broken(format!("cargo {command} ended with {}:\n{said}", ended.ending)));
    }
    Ok(())
}

/// Copies a file so that a program which has the old one open keeps it.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    let beside = to.with_extension(std::process::id().to_string());
    fs::copy(from, &beside)?;
    fs::rename(&beside, to)
}
