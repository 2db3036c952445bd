//! Runs a program and holds its threads back, for a moment each, at the places where the races of a shutdown live.
//! The program needs no change, and this needs no privilege: it traces the program with ptrace, from its first
//! instruction on. `cargo xtask probe --chaos` counts how the program then ends.
//!
//! A program that links this crate calls [`served`] first in its `main`. It can then be run as
//! `PROGRAM hold-threads POLICY FOLDER COMMAND…`, see [`words`], and ends as the command does. Needs Linux on x86-64.

#![cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    allow(dead_code, reason = "there is no tracer")
)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod filter;
mod policy;
mod report;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

pub use crate::{
    policy::{LONGEST, POLICIES, Place, Policy},
    report::Report,
};

/// The argument that makes a program hold the threads of another.
const HOLD_THREADS: &str = "hold-threads";

/// In place of a policy's name: the one that the seed takes.
const ANY: &str = "any";

/// In place of a folder: what was done is written nowhere.
const NOWHERE: &str = "-";

/// The exit code of an error of this crate: that of other programs which run a program, such as timeout(1).
const OWN_ERROR: u8 = 125;

/// The words that stand before a command so that its threads are held: by this executable, with this policy or the
/// one that each seed takes. The seed is in `PROBE_SEED`. What was done is written into the folder, as
/// `trial-N.json` if `PROBE_TRIAL` is N: a [`Report`]. Without a folder it is not written.
///
/// # Errors
///
/// If this executable cannot be found.
pub fn words(policy: Option<Policy>, reports: Option<&Path>) -> io::Result<Vec<OsString>> {
    let policy = policy.map_or(ANY, |policy| policy.name);
    let (own, reports) =
        (env::current_exe()?, reports.map_or(OsStr::new(NOWHERE), Path::as_os_str));
    Ok(vec![own.into(), HOLD_THREADS.into(), policy.into(), reports.to_owned()])
}

/// Whether a command's threads can be held here: runs `true` in that way.
///
/// # Errors
///
/// What the tracer said, if this system, or its container, does not let a process trace its children.
pub fn can_hold() -> io::Result<()> {
    let mut words = words(None, None)?.into_iter();
    let own = words.next().unwrap_or_default();
    let tried = Command::new(own).args(words).arg("true").output()?;
    if tried.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&tried.stderr).trim().to_owned()))
}

/// If this process was started by [`words`], or by itself for that, does the work and returns the exit code. Ends by
/// the command's signal if the command does.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[must_use]
pub fn served() -> Option<ExitCode> {
    if let Some(failed) = tracer::become_traced() {
        return Some(failed);
    }
    let mut arguments = env::args_os().skip(1);
    arguments.next().filter(|first| first == HOLD_THREADS)?;
    let (Some(policy), Some(reports), program) =
        (arguments.next(), arguments.next(), arguments.collect::<Vec<_>>())
    else {
        return Some(failed("it takes a policy, a folder and a command"));
    };
    let seed = env::var("PROBE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let policy = match policy.to_str() {
        Some(ANY) => Some(Policy::of(seed)),
        name => name.and_then(Policy::named),
    };
    let (Some(policy), Some(name)) = (policy, program.first()) else {
        return Some(failed("there is no such policy, or no command"));
    };
    let ended = tracer::run(&program, &policy, seed).and_then(|(ended, report)| {
        if reports != NOWHERE {
            let trial = env::var("PROBE_TRIAL").unwrap_or_else(|_| "0".to_owned());
            report.write(&PathBuf::from(reports).join(format!("trial-{trial}.json")))?;
        }
        Ok(ended)
    });
    Some(match ended {
        Ok(ended) => tracer::end_as(ended),
        Err(error) => failed(&format!("cannot hold the threads of {}: {error}", name.display())),
    })
}

/// Always `None`: there is no tracer for this system.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[must_use]
pub const fn served() -> Option<ExitCode> {
    None
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: {HOLD_THREADS}: {why}");
    ExitCode::from(OWN_ERROR)
}
