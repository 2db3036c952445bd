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
mod crash;
mod ending;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod filter;
mod place;
mod policy;
mod report;
mod survey;
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
    place::Place,
    policy::{LONGEST, NONE, POLICIES, Policy},
    report::Report,
    survey::{Counts, Survey, Surveys, TIMES},
};

/// The argument that makes a program hold the threads of another.
const HOLD_THREADS: &str = "hold-threads";

/// In place of the names of policies: all of them.
const ANY: &str = "any";

/// In place of a folder or a file: what was done is written nowhere, and nothing is known of the program.
const NOWHERE: &str = "-";

/// The exit code of an error of this crate: that of other programs which run a program, such as timeout(1).
const OWN_ERROR: u8 = 125;

/// What a command's threads are held with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The policies, of which trial after trial takes the next, by `PROBE_TRIAL`; all if there are none here. The
    /// seed of a trial's decisions is in `PROBE_SEED`.
    pub policies: &'a [Policy],
    /// The folder for what was done: a [`Report`], as `trial-N.json` if `PROBE_TRIAL` is N.
    pub reports: Option<&'a Path>,
    /// The file with what is known of the program: [`Surveys`].
    pub surveys: Option<&'a Path>,
}

/// The words that stand before a command so that its threads are held, by this executable.
///
/// # Errors
///
/// If this executable cannot be found.
pub fn words(options: &Options<'_>) -> io::Result<Vec<OsString>> {
    let names: Vec<_> = options.policies.iter().map(|policy| policy.name).collect();
    let policies = if names.is_empty() { ANY.to_owned() } else { names.join(",") };
    let path = |path: Option<&Path>| path.map_or(OsStr::new(NOWHERE), Path::as_os_str).to_owned();
    let [reports, surveys] = [options.reports, options.surveys].map(path);
    Ok(vec![env::current_exe()?.into(), HOLD_THREADS.into(), policies.into(), reports, surveys])
}

/// The policy of a trial, if it is one of these.
#[must_use]
pub fn policy_of_trial(policies: &[Policy], trial: u32) -> Policy {
    let policies = if policies.is_empty() { &POLICIES[..] } else { policies };
    policies[trial as usize % policies.len()]
}

/// Whether a command's threads can be held here: runs `true` in that way.
///
/// # Errors
///
/// What the tracer said, if this system, or its container, does not let a process trace its children.
pub fn can_hold() -> io::Result<()> {
    let mut words = words(&Options { policies: &[NONE], ..Options::default() })?.into_iter();
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
    let (Some(policies), Some(reports), Some(surveys), program) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.collect::<Vec<_>>())
    else {
        return Some(failed("it takes policies, a folder, a file and a command"));
    };
    let number = |name| env::var(name).ok().and_then(|number| number.parse().ok());
    let seed = number("PROBE_SEED").unwrap_or_else(|| fastrand::u64(..));
    let trial = number("PROBE_TRIAL").and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
    let policies: Option<Vec<_>> = match policies.to_str() {
        Some(ANY) => Some(Vec::new()),
        names => names.and_then(|names| names.split(',').map(Policy::named).collect()),
    };
    let (Some(policies), Some(name)) = (policies, program.first()) else {
        return Some(failed("there is no such policy, or no command"));
    };
    let surveys = match &*surveys {
        file if file == NOWHERE => Surveys::default(),
        file => match Surveys::read(Path::new(file)) {
            Ok(surveys) => surveys,
            Err(error) => return Some(failed(&format!("cannot read {}: {error}", file.display()))),
        },
    };
    let policy = policy_of_trial(&policies, trial);
    let ended = tracer::run(&program, &policy, seed, &surveys).and_then(|(ended, report)| {
        if reports != NOWHERE {
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
