//! Tests that notice what they leave behind: what is left is found and named, and nothing else is.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod clean;
mod outcomes;
mod planted;

use std::{
    env,
    process::{Command, Output},
};

/// Runs one of these tests that must not run with the others, as `cargo test` would.
fn command(test: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored"]);
    for variable in [
        "NEXTEST_EXECUTION_MODE",
        "RUST_BACKTRACE",
        "RUST_TEST_NOCAPTURE",
        "RUST_TEST_THREADS",
        "SUNDOWN_TEST_PARENT",
    ] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().copied());
    command
}

fn run(test: &str, environment: &[(&str, &str)]) -> (Output, String) {
    let output = command(test, environment).output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).concat();
    assert!(said.contains("running 1 test"), "{test} does not exist: {said}");
    (output, said)
}

/// Each test has a process of its own.
const NEXTEST: [(&str, &str); 1] = [("NEXTEST_EXECUTION_MODE", "process-per-test")];

/// One test after the other, in one process.
const ONE_BY_ONE: [(&str, &str); 1] = [("RUST_TEST_THREADS", "1")];
