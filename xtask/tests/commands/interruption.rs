//! However a run of experiments ends, nothing of it keeps running.

use std::process::Child;

use rustix::process::{Pid, Signal, test_kill_process_group};

use crate::fixture::{TELL_PID, Workspace, drop_context, end, sleep_duration, wait_for};

/// An experiment that runs until it is interrupted, and then prints what is known.
const ENDLESS: &str =
    "trap 'cat \"$0.events\"; exit 130' INT\nwhile :; do sleep 1000 & wait $!; done\n";

/// An experiment that cannot be interrupted.
const DEAF: &str = "trap '' INT\nwhile :; do sleep 1000; done\n";

/// Starts a run, and waits until the experiment with this script runs. Its group is its own.
fn start(script: &str) -> (Workspace, Child, Pid) {
    let workspace = Workspace::with_two();
    let mut partial = sleep_duration();
    partial.interrupted = true;
    let (first, rest) = script.split_once('\n').unwrap();
    workspace.scripted(&partial, &format!("{first}\n{TELL_PID}{rest}"));
    let run = workspace.start(&["experiments"]);
    let group = workspace.process("bin/03_sleep_duration.pid");
    (workspace, run, group)
}

fn expect_group_gone(group: Pid) {
    wait_for("the end of the experiment's processes", || test_kill_process_group(group).err());
}

#[test]
fn an_interrupted_run_prints_the_results_so_far_and_leaves_nothing_running() {
    for signal in [Signal::INT, Signal::TERM] {
        let (workspace, run, group) = start(ENDLESS);
        end(run, signal)
            .expect_code(130)
            .says("✓ 01 drop-context")
            .says("– 03 sleep-duration · interrupted")
            .says("Interrupted: 1 of 2 experiments ran to the end");
        expect_group_gone(group);
        let results = workspace.read("target/experiments/results.json");
        assert!(results.contains(r#""interrupted": true"#), "{results}");
    }
}

#[test]
fn an_experiment_that_ignores_ctrl_c_is_killed() {
    let (_workspace, run, group) = start(DEAF);
    end(run, Signal::INT).expect_code(130).says("✓ 01 drop-context").says("Interrupted: 1 of 2");
    expect_group_gone(group);
}

#[test]
fn a_killed_run_leaves_nothing_running() {
    let (_workspace, run, group) = start(ENDLESS);
    end(run, Signal::KILL);
    expect_group_gone(group);
}

#[test]
fn a_build_is_interrupted_as_well() {
    let workspace = Workspace::with_two();
    workspace.write("build.script", "touch building; exec sleep 1000");
    let run = workspace.start(&["experiments"]);
    wait_for("the start of the build", || workspace.exists("building").then_some(()));
    end(run, Signal::INT).expect_code(130).says("interrupted before anything ran");
}

#[test]
fn an_interrupted_result_is_not_compared() {
    let workspace = Workspace::with_two();
    let mut partial = drop_context();
    partial.interrupted = true;
    partial.verdict = lab::Verdict::Inconclusive;
    workspace.experiment(&partial);
    let ran = workspace.run(&["experiments", "--only", "1", "--verbose"]).expect_code(1);
    // What has not been tried is neither cured nor inconclusive.
    ran.says("– 01 drop-context · interrupted · failed 20/20\n")
        .says("(interrupted)")
        .does_not_say("was expected to be");
}
