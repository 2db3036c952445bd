//! Servers run as long as the command that started them. All but PostgreSQL are stand-ins here.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command},
};

use rustix::process::Signal;

use crate::fixture::{Ran, Workspace, end, wait_for};

/// A workspace with a folder that is all of PATH. Its `redis-server` is this script.
fn with_server(script: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.program("path/redis-server", script);
    workspace
}

fn with_stand_in() -> Workspace {
    // Beside this test: `cargo test` builds examples, `cargo test --test` alone does not.
    let test = env::current_exe().unwrap();
    let stand_in = test.parent().unwrap().with_file_name("examples").join("stand_in_server");
    let shown = stand_in.display();
    assert!(stand_in.exists(), "{shown} is missing: cargo build -p xtask --examples");
    let version = "test \"$1\" = --version && echo 'Redis server v=1.2.3 sha=0' && exit";
    with_server(&format!("{version}\nexec '{shown}' \"$@\"\n"))
}

fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command(&[&["servers", "--only", "redis"], arguments].concat());
    command.env("PATH", workspace.path("path"));
    command
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Ran {
    Ran::of(command(workspace, arguments))
}

/// Starts the servers, and returns the first line that is printed.
fn start(workspace: &Workspace, arguments: &[&str]) -> (Child, String) {
    let mut running = command(workspace, arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (running, line)
}

fn address(line: &str) -> SocketAddr {
    let address = line.trim().strip_prefix("REDIS_ADDRESS=").unwrap_or_else(|| panic!("{line:?}"));
    address.parse().unwrap()
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer)).is_ok()
        && answer == *b"+PONG"
}

#[test]
fn a_server_answers_until_ctrl_c() {
    let workspace = with_stand_in();
    let (running, line) = start(&workspace, &[]);
    assert!(answers(address(&line)));
    end(running, Signal::INT).expect_code(0);
    assert!(!answers(address(&line)));
}

#[test]
fn a_server_ends_when_the_command_is_killed() {
    let workspace = with_stand_in();
    let (running, line) = start(&workspace, &[]);
    assert!(answers(address(&line)));
    end(running, Signal::KILL);
    wait_for("the end of the server", || (!answers(address(&line))).then_some(()));
}

#[test]
fn a_command_gets_the_addresses_and_its_exit_code_is_returned() {
    let workspace = with_stand_in();
    let script = "echo REDIS_ADDRESS=$REDIS_ADDRESS; exit 7";
    let ran = run(&workspace, &["--", "/bin/sh", "-c", script]).expect_code(7);
    assert!(!answers(address(&ran.stdout)));
    run(&workspace, &["--", "/bin/sh", "-c", "kill -9 $$"]).expect_code(128 + 9);
}

#[test]
fn json_has_program_version_address_and_variable() {
    let workspace = with_stand_in();
    let (running, line) = start(&workspace, &["--format", "json"]);
    end(running, Signal::TERM).expect_code(0);
    let servers: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(servers[0]["server"], "redis-server");
    assert_eq!(servers[0]["version"], "1.2.3");
    assert_eq!(servers[0]["variable"], "REDIS_ADDRESS");
    assert!(servers[0]["address"].as_str().unwrap().parse::<SocketAddr>().is_ok());
}

#[test]
fn a_server_that_cannot_start_is_reported() {
    let ran = run(&Workspace::empty(), &[]).expect_code(1);
    ran.says("there is no redis-server or valkey-server").says("apt-get install redis-server");
    let ran = run(&with_server("echo out of order >&2\nexit 3\n"), &[]).expect_code(1);
    ran.says("ended before it answered (exit code 3)").says("out of order");
    let ran = run(&with_stand_in(), &["--", "no-such-command"]).expect_code(2);
    ran.says("there is no command `no-such-command` in PATH");
}

#[test]
fn postgres_without_initdb_is_reported() {
    let workspace = Workspace::empty();
    workspace.program("path/postgres", "echo 'postgres (PostgreSQL) 1.2.3'\n");
    let mut command = workspace.command(&["servers", "--only", "postgres"]);
    command.env("PATH", workspace.path("path"));
    let ran = Ran::of(command).expect_code(1);
    ran.says("there is no initdb beside").says("apt-get install postgresql");
}

/// Its processes leave the group in which they were started.
#[test]
fn all_processes_of_postgres_end_when_the_command_is_killed() {
    let workspace = Workspace::empty();
    let mut running = workspace.command(&["servers", "--only", "postgres"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        let ran = Ran::from(running.wait_with_output().unwrap()).expect_code(1);
        assert!(
            ["there is no", "makes none"].iter().any(|it| ran.stderr.contains(it)),
            "{}",
            ran.stderr
        );
        // Not `println!`, which the harness shows only of a test that fails.
        io::stdout().write_all(format!("skipped: PostgreSQL: {}", ran.stderr).as_bytes()).unwrap();
        return;
    }
    let address: SocketAddr =
        line.trim().strip_prefix("POSTGRES_ADDRESS=").unwrap().parse().unwrap();
    // A session that has started, in a process of its own.
    let mut session = TcpStream::connect(address).unwrap();
    session.write_all(b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0").unwrap();
    session.read_exact(&mut [0; 9]).unwrap();
    end(running, Signal::KILL);
    // Its process holds the other end until it ends.
    let mut rest = Vec::new();
    let _ = session.read_to_end(&mut rest);
    wait_for("the end of the server", || TcpStream::connect(address).is_err().then_some(()));
}
