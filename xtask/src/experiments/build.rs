//! Builds the experiments, once.

use std::{
    collections::BTreeMap,
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

/// The package that holds the experiments.
const PACKAGE: &str = "experiments";

/// How often it is looked whether the build has ended or is to end.
const TICK: Duration = Duration::from_millis(20);

/// How long cargo may take to stop when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Why the experiments are not built.
#[derive(Debug, Error)]
enum BuildError {
    #[error("cannot start cargo: {0}")]
    NotStarted(io::Error),
    #[error("the experiments do not build (cargo's own words are above)")]
    Failed,
}

/// Builds all experiments, with cargo's own progress on standard error, and says where each
/// executable is, by its name.
pub fn build(
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut cargo = workspace
        .cargo()
        .args(["build", "--package", PACKAGE, "--bins"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BuildError::NotStarted)?;
    let messages = cargo.stdout.take();
    let reader = thread::spawn(move || messages.map(executables).unwrap_or_default());
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
        return Err(Failure::Interrupted("no experiment had begun"));
    }
    if !status.success() {
        return Err(BuildError::Failed.into());
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
fn executables(messages: impl io::Read) -> BTreeMap<String, PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut executables = BTreeMap::new();
    for line in BufReader::new(messages).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        let Message { reason, executable: Some(executable), target: Some(target) } = message else {
            continue;
        };
        if reason == "compiler-artifact" && target.kind.iter().any(|kind| kind == "bin") {
            executables.insert(target.name, executable);
        }
    }
    executables
}

#[cfg(test)]
mod tests {
    use super::executables;

    #[test]
    fn executables_are_taken_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lab","kind":["lib"]},"executable":null}
warning: not a message
{"reason":"compiler-artifact","target":{"name":"01_a","kind":["bin"]},"executable":"/t/01_a"}
{"reason":"build-finished","success":true}
"#;
        let executables = executables(messages.as_bytes());
        assert_eq!(executables.keys().collect::<Vec<_>>(), ["01_a"]);
    }
}
