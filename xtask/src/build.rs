//! Builds executables with cargo, once, and finds out where they are.

use std::{
    env,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use lab::interrupt::Interrupt;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use thiserror::Error;

use crate::{failure::Failure, workspace::Workspace};

/// How often it is looked whether the build has ended or is to end.
const TICK: Duration = Duration::from_millis(20);

/// How long cargo may take to stop when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Why something is not built.
#[derive(Debug, Error)]
enum BuildError {
    #[error("cannot start cargo: {0}; is it on PATH?")]
    NotStarted(io::Error),
    #[error("{0} do not build (cargo's own words are above)")]
    Failed(String),
}

/// An executable that was built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Artifact {
    /// Where it is.
    pub executable: PathBuf,
    /// What of its package it is.
    pub target: Target,
    /// The manifest of its package.
    #[serde(default)]
    pub manifest_path: PathBuf,
    #[serde(default)]
    profile: Profile,
}

/// A part of a package.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it is: `bin`, `lib`, `test`.
    pub kind: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Profile {
    test: bool,
}

impl Artifact {
    /// Whether it runs the tests of its target.
    pub const fn is_test(&self) -> bool {
        self.profile.test
    }

    /// Whether its target is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.target.kind.iter().any(|it| it == kind)
    }
}

/// Builds what these arguments to cargo ask for, with cargo's own progress on standard error, and
/// says which executables there are. What it is all called in a sentence comes first; the flags are
/// for the compiler, after those of the user, and none where there are none.
pub fn build(
    called: &str,
    arguments: &[&str],
    flags: &str,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Vec<Artifact>, Failure> {
    let mut cargo = workspace.cargo();
    if !flags.is_empty() {
        let given = env::var("RUSTFLAGS").unwrap_or_default();
        cargo.env("RUSTFLAGS", format!("{given} {flags}").trim());
    }
    let mut cargo = cargo
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BuildError::NotStarted)?;
    let messages = cargo.stdout.take();
    let reader = thread::spawn(move || messages.map(artifacts).unwrap_or_default());
    let mut asked_to_stop = None;
    let status = loop {
        if let Some(status) = cargo.try_wait()? {
            break status;
        }
        if interrupt.raised() {
            stop(&mut cargo, *asked_to_stop.get_or_insert_with(Instant::now))?;
        }
        thread::sleep(TICK);
    };
    if interrupt.raised() {
        return Err(Failure::Interrupted("nothing had begun"));
    }
    if !status.success() {
        return Err(BuildError::Failed(called.to_owned()).into());
    }
    Ok(reader.join().unwrap_or_default())
}

/// Asks cargo to stop, and makes it where it takes too long. On a terminal it was asked already.
fn stop(cargo: &mut Child, since: Instant) -> io::Result<()> {
    if since.elapsed() > GRACE {
        return cargo.kill();
    }
    if let Some(process) = Pid::from_raw(cargo.id().cast_signed()) {
        let _ = kill_process(process, Signal::INT);
    }
    Ok(())
}

/// Takes from cargo's messages which executables it made.
fn artifacts(messages: impl io::Read) -> Vec<Artifact> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(flatten)]
        artifact: Artifact,
    }
    let lines = BufReader::new(messages).lines().map_while(Result::ok);
    // What has no executable is of no interest, nor is what is no message.
    lines
        .filter_map(|line| serde_json::from_str::<Message>(&line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .map(|message| message.artifact)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::artifacts;

    #[test]
    fn executables_are_taken_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lab","kind":["lib"]},"executable":null}
warning: not a message
{"reason":"compiler-artifact","target":{"name":"01_a","kind":["bin"]},"executable":"/t/01_a"}
{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"a","kind":["lib"]},"profile":{"test":true},"executable":"/t/a-1"}
{"reason":"build-finished","success":true}
"#;
        let found = artifacts(messages.as_bytes());
        let found: Vec<_> = found.iter().map(|it| (&*it.target.name, it.is_test())).collect();
        assert_eq!(found, [("01_a", false), ("a", true)]);
    }
}
