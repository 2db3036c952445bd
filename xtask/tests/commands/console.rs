//! Holding an experiment open: how the example is started, and that nothing of it stays behind.

use std::net::TcpListener;

use rustix::process::{Signal, kill_process_group, test_kill_process_group};

use crate::fixture::{Ran, TELL_PID, Workspace, end, wait_for};

/// A workspace with an example that can be kept running and runs this script.
fn watched(script: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("experiments/examples/09_watched.rs", "fn main() {}\n");
    workspace.write("experiments/examples/48_dropped_handle.rs", "fn main() {}\n");
    workspace.stand_in("09_watched", "example", script);
    workspace
}

fn free_port() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

#[test]
fn the_example_gets_variant_port_and_times() {
    let workspace = watched("echo \"$*\"");
    let port = free_port().local_addr().unwrap().port().to_string();
    let ran = workspace.run(&["console", "09", "--port", &port, "--before", "2s", "--for", "1m"]);
    ran.expect_code(0).says(&format!("old/background {port} 2000 60000"));
    let variant = ["console", "09", "--port", "0", "--variant", "current/drop"];
    let ran = workspace.run(&variant).expect_code(0).says("current/drop ").says(" 10000 -");
    ran.does_not_say("current/drop 0 ");
    workspace.write("experiments/src/bin/09_shutdown_methods.rs", "fn main() {}\n");
    for name in ["9", "shutdown-methods"] {
        workspace.run(&["console", name, "--port", "0"]).expect_code(0).says("old/background ");
    }
}

#[test]
fn only_watched_examples_are_accepted_before_anything_is_built() {
    let workspace = watched("echo \"held open\"");
    workspace.write("build.script", "echo \"built\" >&2");
    let refused = |arguments: &[&str], code| -> Ran {
        let ran = workspace.run(&[&["console"], arguments].concat()).expect_code(code);
        ran.does_not_say("built")
    };
    for experiment in ["07", "drop-context"] {
        let words = format!("experiment `{experiment}` cannot be kept running; these can: 09\n");
        refused(&[experiment], 2).says(&words);
    }
    refused(&["09", "--variant", "old/sideways"], 2).says("old/timeout-too-short");
    refused(&["09", "--for", "0"], 2).says("expected more than 0");
    let taken = free_port();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&["09", "--port", &port], 1).says(&format!("port {port}")).says("--port 0");
}

#[test]
fn ctrl_c_is_passed_on_once_and_waited_for() {
    let trap = r#"trap 'trap "" TERM; echo "tidied up" >&2; exit 130' TERM"#;
    let rest = "while :; do sleep 1000 & wait $!; done\n";
    // The trap comes first: the signal may follow the process id at once.
    let workspace = watched(&format!("{trap}\n{TELL_PID}{rest}"));
    let mut run = workspace.start(&["console", "09", "--port", "0"]);
    let example = workspace.process("bin/09_watched.pid");
    let us = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(us, Signal::INT).unwrap();
    wait_for("the end of the command", || run.try_wait().unwrap());
    // What the script has started keeps the pipes open: the example does not end it.
    let _ = kill_process_group(example, Signal::KILL);
    Ran::from(run.wait_with_output().unwrap()).expect_code(130).says("tidied up");
    wait_for("the end of the example", || test_kill_process_group(example).err());
}

#[test]
fn the_input_of_the_example_ends_even_if_the_command_is_killed() {
    let workspace = watched(&format!("{TELL_PID}cat > /dev/null; touch \"$0.ended\""));
    let run = workspace.start(&["console", "09", "--port", "0"]);
    workspace.process("bin/09_watched.pid");
    end(run, Signal::KILL);
    wait_for("the end of its input", || workspace.exists("bin/09_watched.ended").then_some(()));
}
