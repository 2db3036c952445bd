//! Servers run as long as who started them, and no longer. The one here is a stand-in.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Ran, Workspace, wait_for};

/// A workspace, and a folder in it that is all of PATH, with a `redis-server` that is this script.
fn with_server(script: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("path/redis-server", script);
    let program = workspace.path("path/redis-server");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    workspace
}

fn with_stand_in() -> Workspace {
    // Beside this test: `cargo test` builds examples, `cargo test --test` alone does not.
    let test = env::current_exe().unwrap();
    let stand_in = test.parent().unwrap().with_file_name("examples").join("stand_in_server");
    let shown = stand_in.display();
    assert!(stand_in.exists(), "{shown} is missing: cargo build -p xtask --examples");
    let version = "test \"$1\" = --version && echo 'Redis server v=1.2.3 sha=0' && exit";
    with_server(&format!("#!/bin/sh\n{version}\nexec '{shown}' \"$@\"\n"))
}

fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command(&[&["servers", "--only", "redis"], arguments].concat());
    command.env("PATH", workspace.path("path"));
    command
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Ran {
    Ran::of(command(workspace, arguments).output().unwrap())
}

/// Starts the servers, and returns where the one listens.
fn start(workspace: &Workspace) -> (Child, SocketAddr) {
    let mut running = command(workspace, &[]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("REDIS_ADDRESS=").unwrap_or_else(|| panic!("{line:?}"));
    (running, address.parse().unwrap())
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer)).is_ok()
        && answer == *b"+PONG"
}

fn end(mut running: Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&running), signal).unwrap();
    wait_for("the end of the command", || running.try_wait().unwrap()).code()
}

#[test]
fn a_server_answers_where_it_is_said_to_until_ctrl_c() {
    let workspace = with_stand_in();
    let (running, address) = start(&workspace);
    assert!(answers(address));
    assert_eq!(end(running, Signal::INT), Some(0));
    assert!(!answers(address));
}

#[test]
fn a_server_goes_when_who_started_it_is_killed() {
    let workspace = with_stand_in();
    let (running, address) = start(&workspace);
    assert!(answers(address));
    assert_eq!(end(running, Signal::KILL), None);
    wait_for("the end of the server", || (!answers(address)).then_some(()));
}

#[test]
fn a_command_finds_the_addresses_and_its_exit_code_is_ours() {
    let workspace = with_stand_in();
    let ran = run(&workspace, &["--", "/bin/sh", "-c", "echo $REDIS_ADDRESS; exit 7"]);
    let ran = ran.expect_code(7);
    let address: SocketAddr = ran.stdout.trim().parse().unwrap();
    assert!(!answers(address));
    run(&workspace, &["--", "/bin/sh", "-c", "kill -9 $$"]).expect_code(128 + 9);
}

#[test]
fn json_tells_of_program_version_address_and_variable() {
    let workspace = with_stand_in();
    let mut running = command(&workspace, &["--format", "json"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(end(running, Signal::TERM), Some(0));
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told[0]["server"], "redis-server");
    assert_eq!(told[0]["version"], "1.2.3");
    assert_eq!(told[0]["variable"], "REDIS_ADDRESS");
    assert!(told[0]["address"].as_str().unwrap().parse::<SocketAddr>().is_ok());
}

#[test]
fn who_has_no_server_is_told_what_to_install() {
    let ran = run(&Workspace::empty(), &[]).expect_code(1);
    ran.says("there is no redis-server or valkey-server").says("apt-get install redis-server");
}

#[test]
fn a_server_that_ends_is_quoted() {
    let ran = run(&with_server("#!/bin/sh\necho out of order >&2\nexit 3\n"), &[]);
    ran.expect_code(1).says("ended before it answered (exit code 3)").says("out of order");
}

#[test]
fn a_command_that_there_is_not_is_named() {
    let ran = run(&with_stand_in(), &["--", "no-such-command"]);
    ran.expect_code(2).says("there is no command `no-such-command` in PATH");
}
