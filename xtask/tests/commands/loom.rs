//! Models that hold, that fail, and that do not end. Their executable is a stand-in.

use rustix::process::Signal;

use crate::fixture::{TELL_PID, Workspace, end, expect_gone};

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
    let artifact = serde_json::json!({
        "reason": "compiler-artifact",
        "manifest_path": workspace.path("docs/Cargo.toml"),
        "target": {"name": "loom", "kind": ["test"]},
        "profile": {"test": true},
        "executable": workspace.program("bin/models", script),
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
    let [model, twin] = &ran.objects()[..] else { panic!("{ran}") };
    assert_eq!((&model["kind"], &model["interleavings"]), (&"model".into(), &13.into()));
    assert_eq!((&twin["kind"], &twin["interleavings"]), (&"twin".into(), &().into()));
}

#[test]
fn a_model_that_fails_is_shown_with_its_output() {
    let ran = models(&format!("{HOLD}exit 101")).run(&["loom"]).expect_code(1);
    ran.says("as it should").says("a model failed, or a broken twin was not caught");
}

#[test]
fn models_that_cannot_run_are_reported() {
    let workspace = models("echo \"$* $RUSTFLAGS\" > ../arguments");
    let ran = workspace.run(&["loom", "--only", "lach"]).expect_code(2);
    ran.says("there is no test of a model with `lach` in its name");
    assert_eq!(workspace.read("arguments"), "--nocapture lach \n");
    let ran = Workspace::empty().run(&["loom"]).expect_code(1);
    ran.says("it does not compile").says("the models of loom do not build");
}

#[test]
fn an_interrupted_exploration_prints_the_results_so_far_and_leaves_nothing_running() {
    let workspace = models(&format!("{HOLD}{TELL_PID}sleep 1000"));
    let run = workspace.start(&["loom"]);
    let model = workspace.process("bin/models.pid");
    end(run, Signal::INT).expect_code(130).says("1 models explored");
    expect_gone(model);
}
