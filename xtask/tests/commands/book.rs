//! The book is built, and served until Ctrl-C. mdBook is a stand-in here.

use std::{
    io::{BufRead as _, BufReader},
    process::Command,
};

use rustix::process::Signal;

use crate::fixture::{Ran, TELL_PID, Workspace, end, expect_gone};

/// A workspace whose `mdbook`, if it is asked for help, has both commands, and otherwise is this script.
fn with_mdbook(script: &str) -> Workspace {
    let workspace = Workspace::empty();
    let help = "case \"$2\" in --help) exit 0;; esac";
    workspace.program("path/mdbook", &format!("{help}\n{script}\n"));
    workspace
}

fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command(&[&["book"], arguments].concat());
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", workspace.path("path").display()));
    command
}

#[test]
fn it_is_built_and_its_place_printed() {
    let workspace = with_mdbook("echo \"$*\" > asked");
    let ran = Ran::of(command(&workspace, &["--build"])).expect_code(0);
    assert_eq!(ran.stdout, "target/book/index.html\n");
    let root = workspace.path("").display().to_string();
    let asked = workspace.read("asked").replace(&root, "");
    assert_eq!(asked, "build docs --dest-dir target/book\n");
}

#[test]
fn a_warning_and_a_failure_are_errors() {
    let warned = with_mdbook("echo ' WARN no such page' >&2");
    Ran::of(command(&warned, &["--build"])).expect_code(1).says("mdBook warns: WARN no such page");
    let failed = with_mdbook("echo 'no book.toml' >&2; exit 101");
    Ran::of(command(&failed, &["--build"]))
        .expect_code(1)
        .says("no book.toml")
        .says("mdbook build");
}

#[test]
fn mdbook_is_built_if_it_is_missing_and_a_failure_of_that_is_an_error() {
    let workspace = with_mdbook("true");
    // It can build and not serve.
    workspace.program("path/mdbook", "exit 2\n");
    let ran = Ran::of(command(&workspace, &[])).expect_code(1);
    ran.says("no mdBook that can serve is installed. Building")
        .says("`cargo install mdbook` failed");
}

#[test]
fn it_is_served_until_ctrl_c_and_nothing_stays() {
    let workspace = with_mdbook(&format!("case $1 in serve) {TELL_PID}exec sleep 600;; esac"));
    let mut serving = command(&workspace, &[]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serving.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http://127.0.0.1:"), "{line:?}");
    let mdbook = workspace.process("path/mdbook.pid");
    end(serving, Signal::INT).expect_code(0);
    expect_gone(mdbook);
}

#[test]
fn a_port_that_is_taken_is_an_error_before_anything_is_built() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let workspace = with_mdbook("echo \"$*\" > asked");
    Ran::of(command(&workspace, &["--port", &port]))
        .expect_code(1)
        .says("choose another by --port");
    assert!(!workspace.exists("asked"));
}
