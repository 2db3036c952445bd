//! Builds executables with cargo, and finds out where they are.

use std::{
    env,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::Stdio,
    thread,
};

use lab::interrupt::Interrupt;
use rustix::process::Signal;
use serde::Deserialize;

use crate::{
    child,
    failure::{Context as _, Failure, Result},
    workspace::Workspace,
};

/// An executable that was built, as cargo describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Artifact {
    pub executable: PathBuf,
    pub target: Target,
    #[serde(default)]
    pub manifest_path: PathBuf,
    #[serde(default)]
    profile: Profile,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    pub name: String,
    /// `bin`, `lib`, `test`.
    pub kind: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Profile {
    test: bool,
}

impl Artifact {
    pub const fn is_test(&self) -> bool {
        self.profile.test
    }

    pub fn is(&self, kind: &str) -> bool {
        self.target.kind.iter().any(|it| it == kind)
    }
}

/// Runs cargo with these arguments, and returns the executables. `what` names them in an error.
/// `rustflags` are added to those of the user.
pub fn build(
    what: &str,
    arguments: &[&str],
    rustflags: &str,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Vec<Artifact>> {
    let mut cargo = workspace.cargo();
    if !rustflags.is_empty() {
        let given = env::var("RUSTFLAGS").unwrap_or_default();
        cargo.env("RUSTFLAGS", format!("{given} {rustflags}").trim());
    }
    cargo.args(arguments).arg("--message-format=json-render-diagnostics");
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut cargo = cargo.spawn().context(|| "cannot start cargo (is it on PATH?)")?;
    let messages = cargo.stdout.take();
    let reader = thread::spawn(move || messages.map(artifacts).unwrap_or_default());
    let status = child::wait(&mut cargo, interrupt, Signal::INT)?;
    if interrupt.raised() {
        return Err(Failure::Interrupted);
    }
    if !status.success() {
        return Err(Failure::Failed(format!("{what} do not build (cargo says why, above)")));
    }
    Ok(reader.join().unwrap_or_default())
}

fn artifacts(messages: impl io::Read) -> Vec<Artifact> {
    let lines = BufReader::new(messages).lines().map_while(Result::ok);
    lines.filter_map(|line| artifact(line.as_bytes())).collect()
}

/// The executable of which this message of cargo says that it is built. Libraries have none, and compilers
/// may print lines that are not messages.
pub fn artifact(line: &[u8]) -> Option<Artifact> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(flatten)]
        artifact: Artifact,
    }
    let message: Message = serde_json::from_slice(line).ok()?;
    (message.reason == "compiler-artifact").then_some(message.artifact)
}

#[cfg(test)]
mod tests {
    use super::artifacts;

    #[test]
    fn executables_are_found_among_cargos_messages() {
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
