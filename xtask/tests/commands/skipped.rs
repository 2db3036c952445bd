//! An experiment for which the machine lacks something is counted, and nothing else changes.

use lab::results::{Event, Skipped};

use crate::fixture::{Workspace, sleep_duration};

const SAID: &str =
    "skipped: 03 sleep-duration: there is no python3 on PATH\n    install CPython before 3.14";

/// A workspace in which the second of two experiments ran before, and is skipped now.
fn lacking() -> Workspace {
    let workspace = Workspace::with_two();
    workspace.run(&["notebooks"]).expect_code(0);
    let skipped = Skipped {
        id: "03".to_owned(),
        name: "sleep-duration".to_owned(),
        missing: "there is no python3 on PATH".to_owned(),
        remedy: "install CPython before 3.14".to_owned(),
    };
    let preparing = Event::Preparing { doing: "looking for python3".to_owned() };
    let events = [preparing, Event::Skipped { skipped }];
    let lines = events.map(|event| serde_json::to_string(&event).unwrap());
    workspace.scripted(&sleep_duration(), &format!("cat <<'END'\n{}\nEND\n", lines.join("\n")));
    workspace
}

#[test]
fn a_skip_is_reported_with_its_reason_and_is_not_a_failure() {
    let workspace = lacking();
    let ran = workspace.run(&["experiments"]).expect_code(0);
    ran.says("looking for python3")
        .says(&format!("\n{SAID}\n"))
        .says("1 experiment skipped: their snapshots and pages stay as they are.")
        .says("The experiment found what its snapshot says");
    let ran = workspace.run(&["experiments", "--format", "json"]).expect_code(0);
    let [result, skipped] = &ran.objects()[..] else { panic!("{ran}") };
    assert_eq!((&result["id"], &skipped["id"]), (&"01".into(), &"03".into()));
    assert_eq!(skipped["missing"], "there is no python3 on PATH");
}

#[test]
fn a_skip_changes_no_snapshot_page_or_committed_result() {
    let workspace = lacking();
    let files = [
        "experiments/snapshots/03_sleep_duration.snap",
        "docs/results/03_sleep_duration.json",
        "docs/src/03-sleep-duration.md",
    ];
    let before = files.map(|file| workspace.read(file));
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0);
    assert_eq!(files.map(|file| workspace.read(file)), before);
}

#[test]
fn shards_may_have_skipped_something() {
    let workspace = lacking();
    for (shard, path) in [("1/2", "one.json"), ("2/2", "two.json")] {
        workspace.run(&["experiments", "--shard", shard, "--results", path]).expect_code(0);
    }
    let ran = workspace.run(&["experiments", "--merge", "one.json", "two.json"]).expect_code(0);
    ran.says(SAID);
}

#[test]
fn what_runs_on_demand_is_skipped_aloud_until_somebody_asks_for_it() {
    let workspace = Workspace::with_two();
    let declared = "bin/03_sleep_duration.declaration";
    workspace.edit(declared, "{\"", "{\"on_demand\":\"it builds for minutes\",\"");
    let skipped = "skipped: 03 sleep-duration: it builds for minutes\n    \
                   cargo xtask experiments --only 03\n";
    let ran = workspace.run(&["experiments"]).expect_code(0);
    ran.says(skipped)
        .says("1 experiment skipped (--all runs all)")
        .says("The experiment found what its snapshot says");
    for asking in [&["--only", "03"][..], &["--all"]] {
        let ran = workspace.run(&[&["experiments"], asking].concat()).expect_code(0);
        assert!(!ran.to_string().contains("skipped:"), "{ran}");
    }
}
