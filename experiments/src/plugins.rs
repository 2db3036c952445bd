//! A plugin with a runtime, and a host in C that loads and closes it: for experiment 66.
//!
//! A trial [becomes](Trial::becomes) the host. The plugins are built with cargo and `cc`, which Rust links
//! with anyway.

pub mod addons;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use lab::{Equipment, Lack, Preparation, Program, Trial, TrialResult, sandbox::Ending};

use crate::python::{root, run};

/// What is compiled by `cc`, and the rest, as seen from this folder.
const HOST: &str = "../../crates/ffi/plugin/c/host.c";
const IN_C: &str = "../../crates/ffi/plugin/c/plugin.c";
const IN_RUST: &str = "../../crates/ffi/plugin/src/lib.rs";

/// The variables in which a trial finds the host and the plugins.
const VARIABLES: [&str; 3] = ["PLUGIN_HOST", "PLUGIN_IN_C", "PLUGIN_IN_RUST"];

/// How long a build may take on a machine that has never built it before.
const BUILD: Duration = Duration::from_secs(900);

/// The design that is written in C.
const C_INTERFACE: &str = "c";

/// On which thread a host calls a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// On a thread that has ended when the host closes the plugin.
    Elsewhere,
    /// On the main thread.
    Here,
}

/// Builds the plugins and the host, and looks whether this system unmaps a library that is closed.
pub fn plugins(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        let what = "it looks into /proc, and for a library that `dlclose` takes out of memory";
        return Err(Lack::missing(what, "run it on Linux with glibc"));
    }
    preparation.say("building a plugin, the C interface (crates/ffi) and a host");
    let built = interface(preparation)?;
    let compile = |source, called, options: &[&str]| {
        let options: Vec<_> = options.iter().map(Into::into).collect();
        compiled(preparation, source, called, &options)
    };
    let host = compile(HOST, "plugin-host", &["-lpthread", "-ldl"])?;
    let archive = built.join("libsundown_ffi.a");
    let archive = archive.to_str().ok_or_else(|| Lack::broken("a path that is not UTF-8"))?;
    // Keeps the symbols of the library inside the plugin.
    let linked =
        ["-shared", "-fPIC", archive, "-Wl,--exclude-libs,ALL", "-lpthread", "-ldl", "-lm"];
    let in_c = compile(IN_C, "libplugin_in_c.so", &linked)?;
    let found = [host.into(), in_c.into(), built.join("libplugin.so").into_os_string()];
    // Its source belongs to the experiment.
    fs::metadata(here(IN_RUST)).map_err(Lack::broken)?;
    let equipment = Equipment::new();
    Ok(VARIABLES.into_iter().zip(found).fold(equipment, |it, (name, path)| it.variable(name, path)))
}

/// A file as seen from this folder.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path)
}

/// Builds the C interface, and the plugin beside it. Returns the folder that they are in.
fn interface(preparation: &Preparation<'_>) -> Result<PathBuf, Lack> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (manifest, target) = (root().join("crates/ffi/Cargo.toml"), target());
    let mut arguments: Vec<OsString> =
        ["build", "--quiet", "--locked", "--workspace", "--manifest-path"].map(Into::into).into();
    arguments.extend([manifest.into(), "--target-dir".into(), target.clone().into()]);
    step(preparation, Path::new(&cargo), &arguments)?;
    Ok(target.join("debug"))
}

/// Compiles a source in C, and puts it beside the interface.
fn compiled(
    preparation: &Preparation<'_>,
    source: &str,
    called: &str,
    options: &[OsString],
) -> Result<PathBuf, Lack> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let made = target().join("debug").join(called);
    let mut arguments: Vec<OsString> = ["-O1", "-D_GNU_SOURCE", "-I"].map(Into::into).into();
    arguments.extend([root().join("crates/ffi/include").into(), here(source).into()]);
    arguments.extend(options.iter().cloned());
    arguments.extend(["-o".into(), made.clone().into()]);
    step(preparation, Path::new(&compiler), &arguments)?;
    Ok(made)
}

/// The options for a library that has the interface inside, with its symbols.
fn as_a_library(built: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = ["-shared", "-fPIC"].map(Into::into).into();
    options.push(built.join("libsundown_ffi.a").into());
    options.extend(["-Wl,--exclude-libs,ALL", "-lpthread", "-ldl", "-lm"].map(Into::into));
    options
}

/// A folder of its own, beside what the workspace builds. `SUNDOWN_FFI_TARGET` sets another.
fn target() -> PathBuf {
    env::var_os("SUNDOWN_FFI_TARGET").map_or_else(|| root().join("target/ffi"), PathBuf::from)
}

/// Runs a step of a build.
fn step(preparation: &Preparation<'_>, program: &Path, arguments: &[OsString]) -> Result<(), Lack> {
    let ended = run(preparation, program, arguments, Vec::new(), BUILD)?;
    if ended.ending == Ending::Exited(0) {
        return Ok(());
    }
    let (program, said) = (program.display(), ended.stderr.text());
    Err(Lack::broken(format!("{program} ended with {}:\n{said}", ended.ending)))
}

/// Turns the trial into the host, which loads a plugin of this design so many times. It finds what must not
/// be left, and reports that as a problem.
///
/// # Errors
///
/// If the experiment does not declare [`plugins`], or the host cannot be started.
pub fn becomes(trial: &Trial<'_>, design: &str, calls: Calls, rounds: u32) -> TrialResult {
    let [host, in_c, in_rust] = VARIABLES.map(env::var_os);
    let plugin = if design == C_INTERFACE { in_c } else { in_rust };
    let (Some(host), Some(plugin)) = (host, plugin) else {
        return Err("the experiment does not declare `plugins::plugins`".into());
    };
    let where_from = if calls == Calls::Here { "here" } else { "elsewhere" };
    let seed = trial.random().u32(..);
    let mut command = Command::new(host);
    command.arg(plugin).args([design, where_from, &rounds.to_string(), &seed.to_string()]);
    trial.becomes(Program::new(command).ends_with("the last line"))
}
