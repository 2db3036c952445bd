//! A run in parts, put together.

use crate::fixture::{Workspace, drop_context, sleep_duration};

fn run_shard(workspace: &Workspace, shard: &str, path: &str) {
    workspace.run(&["experiments", "--shard", shard, "--results", path]).expect_code(0);
}

#[test]
fn complete_shards_make_the_table_of_an_undivided_run() {
    let workspace = Workspace::with_two();
    let whole = workspace.run(&["experiments"]).expect_code(0);
    run_shard(&workspace, "1/2", "one.json");
    run_shard(&workspace, "2/2", "two.json");
    let merged = workspace.run(&["experiments", "--merge", "two.json", "one.json"]).expect_code(0);
    let table = |text: &str| text.split("Full results").next().unwrap_or_default().to_owned();
    assert_eq!(table(&merged.stdout), table(&whole.stdout));
}

#[test]
fn a_missing_shard_is_missed_by_the_name_of_what_it_ran() {
    let workspace = Workspace::with_two();
    run_shard(&workspace, "1/2", "one.json");
    let ran = workspace.run(&["experiments", "--merge", "one.json"]).expect_code(1);
    ran.says("nothing has results of 03 sleep-duration");
}

#[test]
fn a_shard_that_is_there_twice_is_noticed() {
    let workspace = Workspace::with_two();
    run_shard(&workspace, "1/1", "one.json");
    let ran = workspace.run(&["experiments", "--merge", "one.json", "one.json"]).expect_code(1);
    ran.says("01 drop-context is in one.json and in one.json");
}

#[test]
fn a_merge_compares_with_the_snapshots_again() {
    let workspace = Workspace::with_two();
    run_shard(&workspace, "1/1", "one.json");
    let snapshot = "experiments/snapshots/01_drop_context.snap";
    workspace.edit(snapshot, "always aborted", "always clean  ");
    let ran = workspace.run(&["experiments", "--merge", "one.json"]).expect_code(1);
    ran.says("variant old/outside-alive was expected to be `always clean`");
}

#[test]
fn what_is_no_longer_an_experiment_is_noticed() {
    let workspace = Workspace::with_two();
    run_shard(&workspace, "1/1", "one.json");
    std::fs::remove_file(workspace.path("experiments/src/bin/03_sleep_duration.rs")).unwrap();
    let ran = workspace.run(&["experiments", "--merge", "one.json"]).expect_code(1);
    ran.says("03 sleep-duration in one.json is not among the experiments");
}

#[test]
fn other_versions_are_no_shards_of_one_run() {
    let workspace = Workspace::with_two();
    run_shard(&workspace, "1/2", "one.json");
    workspace.edit("Cargo.lock", "1.54.0", "1.55.0");
    run_shard(&workspace, "2/2", "two.json");
    let ran = workspace.run(&["experiments", "--merge", "one.json", "two.json"]).expect_code(1);
    ran.says("other versions of tokio");
}

#[test]
fn a_shard_that_is_not_there_is_named() {
    let workspace = Workspace::with_two();
    let ran = workspace.run(&["experiments", "--merge", "none.json"]).expect_code(1);
    ran.says("cannot read the results in none.json: No such file");
}

#[test]
fn the_heaviest_experiment_has_a_shard_of_its_own() {
    let workspace = Workspace::empty();
    let mut heavy = sleep_duration();
    heavy.variants[0].trials = 1000;
    workspace.experiment(&heavy);
    workspace.experiment(&drop_context());
    let ran = workspace.run(&["experiments", "--accept", "--shard", "1/2"]).expect_code(0);
    ran.says("sleep-duration").does_not_say("drop-context");
}
