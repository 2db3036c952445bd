//! However a run ends, nothing of it keeps running.

use std::{
    fs,
    process::{Child, Output},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

use crate::fixture::{Ran, Workspace, drop_context, sleep_duration, wait_for};

/// An experiment that goes on until it is interrupted, and then prints what is known.
const ENDLESS: &str = r#"
trap 'cat "$0.events"; exit 130' INT
echo $$ > "$0.pid.part"; mv "$0.pid.part" "$0.pid"
while :; do sleep 1000 & wait $!; done
"#;

/// One that cannot be interrupted.
const DEAF: &str = r#"
trap '' INT
echo $$ > "$0.pid.part"; mv "$0.pid.part" "$0.pid"
while :; do sleep 1000; done
"#;

fn endless(script: &str) -> Workspace {
    let workspace = Workspace::with_two();
    let mut partial = sleep_duration();
    partial.interrupted = true;
    workspace.scripted(&partial, script);
    workspace
}

/// Starts a run and waits until the endless experiment is what runs: its group, which is its own.
fn start(workspace: &Workspace) -> (Child, Pid) {
    let run = workspace.start(&["experiments"]);
    let path = workspace.path("bin/03_sleep_duration.pid");
    let pid = wait_for("the start of the experiment", || fs::read_to_string(&path).ok());
    (run, Pid::from_raw(pid.trim().parse().unwrap()).unwrap())
}

fn signal(run: &Child, signal: Signal) {
    kill_process(Pid::from_child(run), signal).unwrap();
}

fn end(mut run: Child) -> Output {
    wait_for("the end of the run", || run.try_wait().unwrap());
    run.wait_with_output().unwrap()
}

fn expect_gone(group: Pid) {
    wait_for("the end of the experiment's processes", || test_kill_process_group(group).err());
}

#[test]
fn an_interrupted_run_prints_what_is_known_and_leaves_nothing_running() {
    for sent in [Signal::INT, Signal::TERM] {
        let workspace = endless(ENDLESS);
        let (run, group) = start(&workspace);
        signal(&run, sent);
        let ran = Ran::of(end(run)).expect_code(130);
        ran.says("old/outside-alive")
            .says("ten-seconds")
            .says("supported (interrupted)")
            .says("Interrupted: 1 of 2 experiments ran to the end");
        expect_gone(group);
        let results = workspace.read("target/experiments/results.json");
        assert!(results.contains(r#""interrupted": true"#), "{results}");
    }
}

#[test]
fn an_experiment_that_does_not_stop_is_stopped() {
    let workspace = endless(DEAF);
    let (run, group) = start(&workspace);
    signal(&run, Signal::INT);
    let ran = Ran::of(end(run)).expect_code(130);
    ran.says("old/outside-alive").says("Interrupted: 1 of 2");
    expect_gone(group);
}

#[test]
fn a_killed_run_leaves_nothing_running() {
    let workspace = endless(ENDLESS);
    let (run, group) = start(&workspace);
    signal(&run, Signal::KILL);
    end(run);
    expect_gone(group);
}

#[test]
fn a_build_is_interrupted_as_well() {
    let workspace = Workspace::with_two();
    workspace.write("build.script", "touch building; exec sleep 1000");
    let run = workspace.start(&["experiments"]);
    wait_for("the start of the build", || workspace.exists("building").then_some(()));
    signal(&run, Signal::INT);
    Ran::of(end(run)).expect_code(130).says("interrupted: nothing had begun");
}

#[test]
fn an_interrupted_result_is_not_compared() {
    let workspace = Workspace::with_two();
    let mut partial = drop_context();
    partial.interrupted = true;
    partial.verdict = lab::Verdict::Inconclusive;
    workspace.experiment(&partial);
    let ran = workspace.run(&["experiments", "--only", "1"]).expect_code(1);
    ran.says("inconclusive (interrupted)").does_not_say("was expected to be");
}
