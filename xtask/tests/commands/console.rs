//! Holding an experiment open: what is asked of the example, and that nothing of it stays behind.

use std::{fs, net::TcpListener, os::unix::fs::symlink, path::Path};

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

use crate::fixture::{Ran, Workspace, wait_for};

/// A workspace with an example that can be watched, which runs this script.
fn watched(script: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("experiments/examples/09_watched.rs", "fn main() {}\n");
    workspace.write("experiments/examples/48_dropped_handle.rs", "fn main() {}\n");
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand-ins/experiment");
    symlink(stand_in, workspace.path("bin/09_watched")).unwrap();
    let artifact = serde_json::json!({
        "reason": "compiler-artifact",
        "target": {"name": "09_watched", "kind": ["example"]},
        "executable": workspace.path("bin/09_watched"),
    });
    workspace.write("artifacts.jsonl", &format!("{artifact}\n"));
    workspace.write("bin/09_watched.script", script);
    workspace
}

#[test]
fn the_example_is_told_what_to_hold_open_and_for_how_long() {
    let workspace = watched("echo \"$*\"");
    let port = free().to_string();
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
fn what_cannot_be_held_open_is_said_before_anything_is_built() {
    let workspace = watched("echo \"held open\"");
    workspace.write("build.script", "echo \"built\" >&2");
    for (arguments, code, words) in [
        (&["07"][..], 2, "experiment `07` cannot be held open; these can: 09\n"),
        (&["drop-context"], 2, "experiment `drop-context` cannot be held open; these can: 09\n"),
        (&["09", "--variant", "old/sideways"], 2, "old/timeout-too-short"),
        (&["09", "--for", "0"], 2, "expected more than 0"),
    ] {
        let ran = workspace.run(&[&["console"], arguments].concat()).expect_code(code);
        ran.says(words).does_not_say("built");
    }
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = workspace.run(&["console", "09", "--port", &port]).expect_code(1);
    ran.says(&format!("port {port}")).says("--port 0").does_not_say("built");
}

#[test]
fn ctrl_c_is_passed_on_once_and_waited_for() {
    let script = r#"
trap 'trap "" TERM; echo "tidied up" >&2; exit 130' TERM
echo $$ > "$0.pid.part"; mv "$0.pid.part" "$0.pid"
while :; do sleep 1000 & wait $!; done
"#;
    let workspace = watched(script);
    let mut run = workspace.start(&["console", "09", "--port", "0"]);
    let path = workspace.path("bin/09_watched.pid");
    let pid = wait_for("the start of the example", || fs::read_to_string(&path).ok());
    let example = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    // What the script has started keeps the pipes open: it is not the example's to end.
    wait_for("the end of the command", || run.try_wait().unwrap());
    let _ = rustix::process::kill_process_group(example, Signal::KILL);
    let ran = Ran::of(run.wait_with_output().unwrap());
    ran.expect_code(130).says("tidied up");
    wait_for("the end of the example", || test_kill_process_group(example).err());
}

#[test]
fn the_input_of_the_example_ends_with_the_command_however_that_ends() {
    let script = r#"
echo $$ > "$0.pid.part"; mv "$0.pid.part" "$0.pid"
cat > /dev/null
touch "$0.ended"
"#;
    let workspace = watched(script);
    let mut run = workspace.start(&["console", "09", "--port", "0"]);
    wait_for("the start of the example", || workspace.exists("bin/09_watched.pid").then_some(()));
    run.kill().unwrap();
    wait_for("the end of its input", || workspace.exists("bin/09_watched.ended").then_some(()));
    run.wait().unwrap();
}

/// A port that nobody has, a moment ago at least.
fn free() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
