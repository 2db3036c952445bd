//! Models that hold, that fail, and that do not come to an end. The executable is a stand-in.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fixture::{Ran, Workspace, objects, wait_for};

/// Two lines among others, as models and twins print them.
const HOLD: &str = r#"
echo "running 2 tests"
echo "test latch ... model latch, fired: 13 interleavings, unbounded, 1.2ms"
echo "twin two flags: caught, 3ms"
echo "thread 'twin' panicked: as it should" >&2
"#;

/// A workspace with an executable of models, which runs this script.
fn models(script: &str) -> Workspace {
    let workspace = Workspace::empty();
    let executable = workspace.path("bin/models");
    workspace.write("bin/models", &format!("#!/bin/sh\n{script}"));
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
    let artifact = serde_json::json!({
        "reason": "compiler-artifact",
        "manifest_path": workspace.path("docs/Cargo.toml"),
        "target": {"name": "loom", "kind": ["test"]},
        "profile": {"test": true},
        "executable": executable,
    });
    workspace.write("tests.jsonl", &format!("{artifact}\n"));
    workspace
}

#[test]
fn models_that_hold_are_counted() {
    let workspace = models(HOLD);
    let ran = workspace.run(&["loom"]).expect_code(0).does_not_say("as it should");
    ran.says("1 models explored in 13 interleavings, 1 broken twins caught");
    let ran = workspace.run(&["loom", "--format", "json"]).expect_code(0);
    let [model, twin] = &objects(&ran)[..] else { panic!("{ran}") };
    assert_eq!((&model["kind"], &model["interleavings"]), (&"model".into(), &13.into()));
    assert_eq!((&twin["kind"], &twin["interleavings"]), (&"twin".into(), &().into()));
}

#[test]
fn a_model_that_fails_is_shown_with_what_it_said() {
    let ran = models(&format!("{HOLD}exit 101")).run(&["loom"]).expect_code(1);
    ran.says("as it should").says("a model failed, or a broken twin was not caught");
}

#[test]
fn a_name_that_no_model_has_is_a_mistake_in_usage() {
    let workspace = models("echo \"$* $RUSTFLAGS\" > ../arguments");
    let ran = workspace.run(&["loom", "--only", "lach"]).expect_code(2);
    ran.says("there is no `lach` in any test's name");
    assert_eq!(workspace.read("arguments"), "--nocapture lach \n");
}

#[test]
fn models_that_do_not_compile_are_said_not_to() {
    let ran = Workspace::empty().run(&["loom"]).expect_code(1);
    ran.says("it does not compile").says("the models of loom do not build");
}

#[test]
fn an_interrupted_exploration_prints_what_is_known_and_leaves_nothing_running() {
    let script = format!("{HOLD}echo $$ > pid.part; mv pid.part pid; sleep 1000");
    let workspace = models(&script);
    let run = workspace.start(&["loom"]);
    let path = workspace.path("docs/pid");
    let pid = wait_for("the start of a model", || fs::read_to_string(&path).ok());
    let model = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    let ran = Ran::of(run.wait_with_output().unwrap()).expect_code(130);
    ran.says("1 models explored");
    wait_for("the end of the model", || test_kill_process(model).err());
}
