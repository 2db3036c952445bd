//! A run, and how it stands with its snapshots.

use lab::{Outcome, Role, results::ExperimentResult};

use crate::fixture::{SITE, Workspace, drop_context, experiment, sleep_duration, variant};

#[test]
fn a_newcomer_sees_the_site_the_class_and_the_verdicts() {
    let ran = Workspace::with_two().run(&["experiments"]).expect_code(0);
    let ran = ran.says("always aborted").says(SITE).says("84–100 %").says("20/20");
    let ran = ran.says("01 drop-context").says("A2 refuted").says("All 2 experiments");
    ran.says("target/experiments/results.json");
}

#[test]
fn the_table_fits_into_a_hundred_columns() {
    let workspace = Workspace::empty();
    let name = "current/outside-after-shutdown";
    let wide = variant(Role::Hazard, name, Outcome::Aborted, &[SITE, SITE]);
    workspace.experiment(&experiment("01", "drop-context", vec![wide]));
    let ran = workspace.run(&["experiments", "--accept"]).expect_code(0).says(name).says(SITE);
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_missing_snapshot_is_new_and_says_what_to_do() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    let ran = workspace.run(&["experiments"]).expect_code(1);
    let ran = ran.says("01 drop-context has no snapshot yet").says("--only 01 --accept");
    ran.says("cargo insta review");
    assert!(workspace.exists("experiments/snapshots/01_drop_context.snap.new"));
    assert!(!workspace.exists("experiments/snapshots/01_drop_context.snap"));
}

#[test]
fn in_ci_nothing_is_left_for_review() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    let status = workspace.command(&["experiments"]).env("CI", "true").output().unwrap().status;
    assert_eq!(status.code(), Some(1));
    assert!(!workspace.exists("experiments/snapshots/01_drop_context.snap.new"));
}

#[test]
fn an_edited_snapshot_is_a_mismatch_that_names_the_variant() {
    let workspace = Workspace::with_two();
    let snapshot = "experiments/snapshots/01_drop_context.snap";
    workspace.edit(snapshot, "always aborted", "always clean  ");
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says(
        "01 drop-context: variant old/outside-alive was expected to be `always clean`, \
         and was `always aborted` (20 of 20)",
    )
    .says("- hazard   old/outside-alive")
    .says("+ hazard   old/outside-alive")
    .says("--only 01 --accept")
    .says("1 of 2 experiments found what their snapshots say");
}

#[test]
fn every_kind_of_difference_is_put_in_words() {
    let workspace = Workspace::with_two();
    let mut changed = drop_context();
    changed.verdict = lab::Verdict::Refuted;
    changed.claims.clear();
    changed.variants[0].sites = vec!["tokio-1.54.0/src/runtime/context.rs:1:1".to_owned()];
    changed.variants[1].name = "current/inside-alive".to_owned();
    workspace.experiment(&changed);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("the hypothesis was expected to be `supported`, and was `refuted`")
        .says("the claim A2 is in the snapshot, and the experiment has none")
        .says("and did at tokio-1.54.0/src/runtime/context.rs:1:1")
        .says("variant current/inside-alive is not in the snapshot")
        .says("variant old/inside-alive is in the snapshot, and the experiment has none");
}

#[test]
fn accept_writes_the_snapshots_and_the_next_run_matches() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    workspace.run(&["experiments"]).expect_code(1);
    workspace.run(&["experiments", "--accept"]).expect_code(0).says("written");
    assert!(!workspace.exists("experiments/snapshots/01_drop_context.snap.new"));
    let snapshot = workspace.read("experiments/snapshots/01_drop_context.snap");
    assert!(snapshot.contains("hazard   old/outside-alive  always aborted"), "{snapshot}");
    assert!(!snapshot.contains(&workspace.root().display().to_string()), "{snapshot}");
    workspace.run(&["experiments"]).expect_code(0).says("match");
}

#[test]
fn a_match_takes_back_what_was_left_for_review() {
    let workspace = Workspace::with_two();
    let mut changed = drop_context();
    changed.verdict = lab::Verdict::Refuted;
    workspace.experiment(&changed);
    workspace.run(&["experiments"]).expect_code(1);
    assert!(workspace.exists("experiments/snapshots/01_drop_context.snap.new"));
    workspace.experiment(&drop_context());
    workspace.run(&["experiments"]).expect_code(0);
    assert!(!workspace.exists("experiments/snapshots/01_drop_context.snap.new"));
}

#[test]
fn a_snapshot_without_an_experiment_fails_a_full_run() {
    let workspace = Workspace::with_two();
    workspace.write("experiments/snapshots/02_gone.snap", "---\nsource: x\n---\nold\n");
    workspace.run(&["experiments"]).expect_code(1).says("experiments/snapshots/02_gone.snap");
    workspace.run(&["experiments", "--only", "1"]).expect_code(0).does_not_say("02_gone");
}

#[test]
fn a_binary_whose_source_is_gone_does_not_run() {
    let workspace = Workspace::with_two();
    std::fs::remove_file(workspace.path("experiments/src/bin/03_sleep_duration.rs")).unwrap();
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("03_sleep_duration.snap").does_not_say("ten-seconds");
}

#[test]
fn only_runs_what_was_named() {
    let workspace = Workspace::with_two();
    for name in ["3", "03", "sleep-duration"] {
        let ran = workspace.run(&["experiments", "--only", name]).expect_code(0);
        ran.says("03 sleep-duration").does_not_say("drop-context");
    }
    workspace.run(&["experiments", "--only", "01,03"]).expect_code(0).says("All 2 experiments");
}

#[test]
fn json_is_one_object_per_experiment_and_nothing_else() {
    let ran = Workspace::with_two().run(&["experiments", "--format", "json"]).expect_code(0);
    let results: Vec<ExperimentResult> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = results.iter().map(|result| result.id.as_str()).collect();
    assert_eq!(ids, ["01", "03"]);
    assert!(ran.stdout.contains(r#""snapshot":"match""#), "{ran}");
    assert!(ran.stderr.contains("All 2 experiments"), "{ran}");
}

#[test]
fn the_results_say_under_which_circumstances_they_were_found() {
    let workspace = Workspace::with_two();
    let path = workspace.path("elsewhere/found.json");
    let arguments = ["experiments", "--seed", "0x10", "--trials", "9", "--results"];
    let arguments = [&arguments[..], &[path.to_str().unwrap()]].concat();
    workspace.run(&arguments).expect_code(0).says("seed 16");
    let results: serde_json::Value =
        serde_json::from_str(&workspace.read("elsewhere/found.json")).unwrap();
    assert_eq!(results["meta"]["seed"], 16);
    assert_eq!(results["meta"]["quick"], false);
    assert_eq!(results["meta"]["trials"], 9);
    assert_eq!(results["meta"]["versions"]["tokio"][0], "1.54.0");
    assert_eq!(results["experiments"][1]["name"], "sleep-duration");
    assert_eq!(results["experiments"][1]["snapshot"], "match");
}

#[test]
fn options_reach_the_experiments() {
    let workspace = Workspace::empty();
    let script = "echo \"$*\" > \"$0.arguments\"; cat \"$0.events\"";
    workspace.scripted(&sleep_duration(), script);
    for (options, expected) in [
        ("--seed 0x5 --trials 9 --jobs 3", "--format events --trials 9 --seed 5 --jobs 3"),
        ("--seed 5 --quick", "--format events --quick --seed 5"),
    ] {
        let options = format!("experiments --accept {options}");
        workspace.run(&options.split(' ').collect::<Vec<_>>()).expect_code(0);
        assert_eq!(workspace.read("bin/03_sleep_duration.arguments").trim(), expected);
    }
}

#[test]
fn a_list_runs_nothing() {
    let workspace = Workspace::empty();
    workspace.scripted(&sleep_duration(), "exit 1");
    let ran = workspace.run(&["experiments", "--list"]).expect_code(0);
    ran.says("03 sleep-duration").says("What does sleep-duration do?").says("20");
    let ran = workspace.run(&["experiments", "--list", "--format", "json"]).expect_code(0);
    let declaration: lab::results::Declaration = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(declaration.binary, "03_sleep_duration");
}
