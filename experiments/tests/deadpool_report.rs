//! The program of `docs/src/upstream-report.md` does what the report says.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
};

fn ended(how: &str) -> Output {
    let test = env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join("deadpool_report");
    // `cargo test` builds examples, `cargo test --test` alone not.
    assert!(program.exists(), "{}: cargo build -p experiments --examples", program.display());
    Command::new(program).arg(how).output().unwrap()
}

#[test]
fn outside_of_a_context_two_wrappers_abort_the_process() {
    let outside = ended("outside");
    assert_eq!(outside.status.signal(), Some(6), "{outside:?}");
    assert!(String::from_utf8_lossy(&outside.stderr).contains("there is no reactor running"));
}

#[test]
fn in_the_context_of_a_runtime_that_is_down_both_are_closed() {
    let inside = ended("inside-down");
    assert!(inside.status.success(), "{inside:?}");
    assert_eq!(String::from_utf8_lossy(&inside.stdout).lines().count(), 2, "{inside:?}");
}
