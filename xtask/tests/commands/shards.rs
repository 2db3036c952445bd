//! A run in shards, and the shards joined.

use crate::fixture::{Ran, Workspace};

fn run_shard(workspace: &Workspace, shard: &str, path: &str) {
    workspace.run(&["experiments", "--shard", shard, "--results", path]).expect_code(0);
}

fn merge(workspace: &Workspace, files: &[&str], code: i32) -> Ran {
    workspace.run(&[&["experiments", "--merge"], files].concat()).expect_code(code)
}

#[test]
fn complete_shards_make_the_table_of_an_undivided_run() {
    let workspace = Workspace::with_two();
    let whole = workspace.run(&["experiments"]).expect_code(0);
    run_shard(&workspace, "1/2", "one.json");
    run_shard(&workspace, "2/2", "two.json");
    let merged = merge(&workspace, &["two.json", "one.json"], 0);
    let table = |text: &str| text.split("Full results").next().unwrap_or_default().to_owned();
    assert_eq!(table(&merged.stdout), table(&whole.stdout));
}

#[test]
fn a_merge_compares_with_the_snapshots_again() {
    let workspace = Workspace::with_two();
    run_shard(&workspace, "1/1", "one.json");
    let snapshot = "experiments/snapshots/01_drop_context.snap";
    workspace.edit(snapshot, "always aborted", "always clean  ");
    let ran = merge(&workspace, &["one.json"], 1);
    ran.says("variant `old/outside-alive` was expected to be `always clean`");
}

#[test]
fn one_shard_that_was_measured_in_a_hurry_is_enough_to_keep_all_from_the_notebook() {
    let workspace = Workspace::with_two();
    workspace.run(&["notebooks"]).expect_code(0);
    run_shard(&workspace, "1/2", "one.json");
    let quick = ["experiments", "--quick", "--shard", "2/2", "--results", "two.json"];
    workspace.run(&quick).expect_code(0);
    for files in [["one.json", "two.json"], ["two.json", "one.json"]] {
        merge(&workspace, &files, 0);
        workspace.run(&["notebooks"]).expect_code(0).says("ran with few trials");
    }
}

#[test]
fn a_shard_without_an_experiment_leaves_the_last_results_alone() {
    let workspace = Workspace::with_two();
    workspace.run(&["experiments"]).expect_code(0);
    let before = workspace.read("target/experiments/results.json");
    let ran = workspace.run(&["experiments", "--shard", "9/9"]).expect_code(0);
    ran.says("Full results: none, and those of the run before stay");
    assert_eq!(workspace.read("target/experiments/results.json"), before);
}

#[test]
fn files_that_are_not_the_shards_of_one_run_are_refused() {
    let workspace = Workspace::with_two();
    merge(&workspace, &["none.json"], 1).says("cannot read the results in none.json: No such file");
    run_shard(&workspace, "1/2", "one.json");
    merge(&workspace, &["one.json"], 1).says("no file has results of 03 sleep-duration");
    merge(&workspace, &["one.json", "one.json"], 1)
        .says("01 drop-context is in one.json and in one.json");
    workspace.edit("Cargo.lock", "1.54.0", "1.55.0");
    run_shard(&workspace, "2/2", "two.json");
    merge(&workspace, &["one.json", "two.json"], 1).says("different versions of tokio");
    workspace.remove("experiments/src/bin/03_sleep_duration.rs");
    merge(&workspace, &["two.json"], 1)
        .says("03 sleep-duration in two.json is not among the experiments");
}
