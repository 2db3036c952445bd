//! Runs the command.

use std::{path::Path, process::Command};

use serde_json::Value;

/// What a run said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// The object that it printed. Only with `--format json`.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `cargo sundown check`.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-sundown"));
    command.args(["sundown", "check"]);
    command
}

/// `cargo sundown`, with another command.
pub fn sundown(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-sundown"));
    ran(command.arg("sundown").args(arguments))
}

/// Runs it, wherever the test runs.
pub fn check(arguments: &[&str]) -> Ran {
    ran(command().args(arguments))
}

/// Runs it on the fixture; everything but the report's text is read from JSON.
pub fn fixture(arguments: &[&str]) -> Ran {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture/Cargo.toml");
    ran(command().args(["--locked", "--manifest-path"]).arg(manifest).args(arguments))
}
pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the command");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
