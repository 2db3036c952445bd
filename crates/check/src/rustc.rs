//! This program as cargo's wrapper of rustc, for the builds of the check: adds what the check needs to every call.
//!
//! A profile cannot do that, because a package may have one of its own, which wins. And flags in the environment
//! replace those that a project has in its configuration.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// Set for the builds. The value is the wrapper that cargo would call otherwise, or empty.
pub const WRAPPER: &str = "SUNDOWN_CHECK_WRAPPER";

/// The last of several wins.
const FLAGS: [&str; 5] = [
    "-Copt-level=0",
    "-Cdebuginfo=line-tables-only",
    "-Cstrip=none",
    "-Clto=off",
    // Names with all generic arguments.
    "-Csymbol-mangling-version=v0",
];

/// Runs rustc in place of this process, if cargo calls this as a wrapper. Returns only if it cannot.
pub fn wrapped() -> Option<ExitCode> {
    let wrapper = env::var_os(WRAPPER)?;
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    // cargo calls with a program: rustc, or the wrapper for the workspace. In a build script, `cargo sundown check` may
    // be a command.
    let program = arguments.first()?.to_string_lossy();
    if ["sundown", "check", "explain", "help"].contains(&&*program) || program.starts_with('-') {
        return None;
    }
    if !wrapper.is_empty() {
        arguments.insert(0, wrapper);
    }
    // Not when cargo asks for the version.
    if arguments.iter().any(|argument| argument == "--crate-name") {
        arguments.extend(FLAGS.map(OsString::from));
    }
    let program = arguments.remove(0);
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("error: cannot run {}: {error}", program.display());
    Some(ExitCode::FAILURE)
}
