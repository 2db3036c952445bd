//! What cannot be done is refused in clear words, with the right exit code.

use crate::fixture::{Ran, Workspace, drop_context, sleep_duration};

#[test]
fn invalid_options_are_usage_errors() {
    let workspace = Workspace::with_two();
    for (options, words) in [
        ("--trials 0", "--trials"),
        ("--jobs 0", "--jobs"),
        ("--seed seven", "0x"),
        ("--shard 3/2", "there is no shard 3 of 2"),
        ("--shard 0/2", "not 0/n"),
        ("--shard x", "1/3"),
        ("--shard 1/99999999999", "1000 shards at most"),
        ("--shard 1/2 --list", "cannot be used with"),
        ("--format xml", "json"),
        ("--quick --trials 9", "cannot be used with"),
        ("--quick --full", "cannot be used with"),
        ("--only slep-duration", "did you mean `sleep-duration` (03)"),
        ("--only 04", "there is no experiment `04`. `cargo xtask experiments --list` shows"),
        ("--only 01,", "is there a comma too many?"),
        ("--trials many", "expected a whole number from 1"),
        ("--accept --list", "cannot be used with"),
        ("--snapshots no-such-folder", "there is no folder of snapshots at"),
        ("--merge a.json --only 01", "cannot be used with"),
    ] {
        let arguments: Vec<_> = ["experiments"].into_iter().chain(options.split(' ')).collect();
        workspace.run(&arguments).expect_code(2).says(words);
    }
}

#[test]
fn unwritable_folders_are_reported_before_anything_runs() {
    let workspace = Workspace::empty();
    workspace.scripted(&sleep_duration(), "touch \"$0.ran\"; cat \"$0.events\"");
    workspace.write("file", "");
    for (options, path, words) in [
        (&["--results"][..], "file/results.json", "cannot write the results to"),
        (&["--results"], "docs", "cannot write the results to"),
        (&["--accept", "--snapshots"], "file", "cannot write snapshots to"),
        (&["--accept", "--snapshots"], "file/snapshots", "cannot write snapshots to"),
    ] {
        let path = workspace.path(path).display().to_string();
        let ran = workspace.run(&[&["experiments"], options, &[&path]].concat()).expect_code(1);
        ran.says(&format!("{words} {path}: "));
    }
    assert!(!workspace.exists("bin/03_sleep_duration.ran"));
    let new = workspace.path("new").display().to_string();
    workspace.run(&["experiments", "--accept", "--snapshots", &new]).expect_code(0);
    workspace.run(&["experiments", "--snapshots", &new]).expect_code(0);
}

#[test]
fn unwritable_results_do_not_hide_what_was_found() {
    let workspace = Workspace::with_two();
    let path = workspace.path("results.json").display().to_string();
    workspace.scripted(&sleep_duration(), &format!("mkdir '{path}'; cat \"$0.events\""));
    let ran = workspace.run(&["experiments", "--results", &path]).expect_code(1);
    ran.says("cannot write the results to").says("✓ 03 sleep-duration");
}

#[test]
fn an_invalid_results_file_is_reported_with_the_command_that_writes_one() {
    let workspace = Workspace::with_two();
    workspace.write("empty.json", "");
    workspace.write("half.json", "{\"meta\": {");
    workspace.write("other.json", "[]");
    for file in ["empty.json", "half.json", "other.json"] {
        for command in [&["experiments", "--merge", file][..], &["notebooks", "--results", file]] {
            let ran = workspace.run(command).expect_code(1);
            ran.says(&format!("{file} is not a complete file of results"))
                .says("`cargo xtask experiments --results ");
        }
    }
}

#[test]
fn results_whose_counts_contradict_each_other_are_refused() {
    let workspace = Workspace::with_two();
    workspace.run(&["experiments", "--results", "found.json"]).expect_code(0);
    let found: serde_json::Value = serde_json::from_str(&workspace.read("found.json")).unwrap();
    let trials = found["experiments"][0]["variants"][0]["trials"].as_u64().unwrap();
    let [old, new] = [trials, trials - 1].map(|trials| format!("\"trials\": {trials},"));
    workspace.edit("found.json", &old, &new);
    for command in
        [["experiments", "--merge", "found.json"], ["notebooks", "--results", "found.json"]]
    {
        workspace.run(&command).expect_code(1).says("do not add up");
    }
}

#[test]
fn a_missing_cargo_is_reported() {
    let workspace = Workspace::with_two();
    let mut command = workspace.command(&["experiments"]);
    command.env("CARGO", "no-such-cargo").env("PATH", workspace.path("bin"));
    let ran = Ran::of(command).expect_code(1);
    ran.says("cannot start cargo (is it on PATH?): No such file");
}

#[test]
fn without_cargo_a_command_uses_the_surrounding_workspace() {
    let workspace = Workspace::with_two();
    workspace.write("xtask/Cargo.toml", "");
    let mut command = workspace.command(&["experiments", "--list"]);
    command.env_remove("CARGO_MANIFEST_DIR").current_dir(workspace.path("docs/src"));
    Ran::of(command).expect_code(0).says("03 sleep-duration").does_not_say("12 wal-residue");
}

#[test]
fn a_failing_experiment_is_reported_and_the_others_run() {
    for (script, words) in [
        ("echo no SQLite here >&2; exit 1", "03 sleep-duration ended with exit code 1:\n    no SQ"),
        ("kill -SEGV $$", "03 sleep-duration was killed by signal 11"),
        ("echo 'Segmentation fault'", "makes no sense: `Segmentation fault`"),
        ("head -c 100000000 /dev/zero", "03 sleep-duration printed a line that makes no sense"),
        ("true", "03 sleep-duration ended without a result"),
        ("cat \"$0.events\"; exit 1", "03 sleep-duration ended with exit code 1"),
        ("echo; sleep 1000", "03 sleep-duration printed a line that makes no sense"),
    ] {
        let workspace = Workspace::with_two();
        workspace.scripted(&sleep_duration(), script);
        let ran = workspace.run(&["experiments"]).expect_code(1);
        ran.says(words).says("✓ 01 drop-context").says("error: without a result: 03");
    }
}

#[test]
fn a_process_that_an_experiment_leaves_does_not_delay_the_run() {
    let workspace = Workspace::with_two();
    workspace.scripted(&sleep_duration(), "sleep 1000 & cat \"$0.events\"");
    workspace.run(&["experiments"]).expect_code(0).says("All 2 experiments");
}

#[test]
fn a_declaration_that_does_not_match_its_file_is_refused() {
    let workspace = Workspace::with_two();
    let declaration = workspace.read("bin/01_drop_context.declaration");
    workspace.write("bin/03_sleep_duration.declaration", &declaration);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("03 sleep-duration declares itself as `01_drop_context`");
    workspace.write("artifacts.jsonl", "");
    workspace.run(&["experiments"]).expect_code(1).says("01 drop-context was not built");
    workspace.remove("artifacts.jsonl");
    workspace.run(&["experiments"]).expect_code(1).says("the experiments do not build");
    workspace.experiment(&drop_context());
    workspace.write("experiments/src/bin/01_other.rs", "fn main() {}\n");
    workspace.run(&["experiments"]).expect_code(1).says("have the same number");
}
