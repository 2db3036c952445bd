//! What cannot be done is said clearly, with the right exit code.

use crate::fixture::{Workspace, drop_context, sleep_duration};

#[test]
fn what_makes_no_sense_is_a_mistake_in_usage() {
    let workspace = Workspace::with_two();
    for (arguments, words) in [
        (&["--trials", "0"][..], "--trials"),
        (&["--jobs", "0"], "--jobs"),
        (&["--seed", "seven"], "0x"),
        (&["--shard", "3/2"], "there is no shard 3 of 2"),
        (&["--shard", "0/2"], "not 0/n"),
        (&["--shard", "x"], "1/3"),
        (&["--format", "xml"], "json"),
        (&["--quick", "--trials", "9"], "cannot be used with"),
        (&["--only", "slep-duration"], "did you mean `sleep-duration` (03)"),
        (&["--only", "04"], "there is no experiment `04`. `cargo xtask experiments --list` shows"),
        (&["--only", "01,"], "is there a comma too many?"),
        (&["--trials", "many"], "expected a whole number from 1"),
        (&["--accept", "--list"], "cannot be used with"),
        (&["--snapshots", "no-such-folder"], "there is no folder of snapshots at"),
        (&["--merge", "a.json", "--only", "01"], "cannot be used with"),
    ] {
        let arguments = [&["experiments"], arguments].concat();
        workspace.run(&arguments).expect_code(2).says(words);
    }
}

#[test]
fn an_unknown_wish_for_insta_is_a_mistake_in_usage() {
    let workspace = Workspace::with_two();
    let ran = workspace.command(&["experiments"]).env("INSTA_UPDATE", "sometimes").output();
    let ran = crate::fixture::Ran::of(ran.unwrap());
    ran.expect_code(2).says("INSTA_UPDATE is `sometimes`");
}

#[test]
fn results_that_cannot_be_written_are_found_out_before_anything_runs() {
    let workspace = Workspace::empty();
    workspace.scripted(&sleep_duration(), "touch \"$0.ran\"; cat \"$0.events\"");
    workspace.write("file", "");
    for path in ["file/results.json", "docs"] {
        let path = workspace.path(path).display().to_string();
        let ran = workspace.run(&["experiments", "--results", &path]).expect_code(1);
        ran.says(&format!("cannot write the results to {path}"));
    }
    assert!(!workspace.exists("bin/03_sleep_duration.ran"));
}

#[test]
fn snapshots_that_cannot_be_written_are_found_out_before_anything_runs() {
    let workspace = Workspace::empty();
    workspace.scripted(&sleep_duration(), "touch \"$0.ran\"; cat \"$0.events\"");
    workspace.write("file", "");
    for path in ["file", "file/snapshots"] {
        let path = workspace.path(path).display().to_string();
        let ran = workspace.run(&["experiments", "--accept", "--snapshots", &path]).expect_code(1);
        ran.says(&format!("cannot write snapshots to {path}: ")).does_not_say("unwrap");
    }
    assert!(!workspace.exists("bin/03_sleep_duration.ran"));
    let new = workspace.path("new").display().to_string();
    workspace.run(&["experiments", "--accept", "--snapshots", &new]).expect_code(0);
    workspace.run(&["experiments", "--snapshots", &new]).expect_code(0);
}

#[test]
fn a_file_that_holds_no_results_is_named_with_what_writes_one() {
    let workspace = Workspace::with_two();
    workspace.write("empty.json", "");
    workspace.write("half.json", "{\"meta\": {");
    workspace.write("other.json", "[]");
    for file in ["empty.json", "half.json", "other.json"] {
        for command in [&["experiments", "--merge", file][..], &["notebooks", "--results", file]] {
            let ran = workspace.run(command).expect_code(1);
            ran.says(&format!("{file} holds no results, or not the whole of them"))
                .says("`cargo xtask experiments --results ");
        }
    }
}

#[test]
fn without_cargo_that_is_what_is_said() {
    let workspace = Workspace::with_two();
    let mut command = workspace.command(&["experiments"]);
    let ran = command.env("CARGO", "no-such-cargo").env("PATH", workspace.path("bin")).output();
    let ran = crate::fixture::Ran::of(ran.unwrap()).expect_code(1);
    ran.says("cannot start cargo: No such file").says("is it on PATH?");
}

#[test]
fn a_command_started_by_hand_works_on_the_workspace_around_it() {
    let workspace = Workspace::with_two();
    workspace.write("xtask/Cargo.toml", "");
    let mut command = workspace.command(&["experiments", "--list"]);
    command.env_remove("CARGO_MANIFEST_DIR").current_dir(workspace.path("docs/src"));
    let ran = crate::fixture::Ran::of(command.output().unwrap()).expect_code(0);
    ran.says("03 sleep-duration").does_not_say("12 wal-residue");
}

#[test]
fn results_that_cannot_be_written_in_the_end_do_not_hide_the_table() {
    let workspace = Workspace::with_two();
    let path = workspace.path("results.json");
    workspace
        .scripted(&sleep_duration(), &format!("mkdir '{}'; cat \"$0.events\"", path.display()));
    let path = path.display().to_string();
    let ran = workspace.run(&["experiments", "--results", &path]).expect_code(1);
    ran.says("cannot write the results to").says("always aborted");
}

#[test]
fn an_experiment_that_goes_wrong_is_named_and_the_others_run() {
    for (script, words) in [
        ("echo no SQLite here >&2; exit 1", "03 sleep-duration ended with exit code 1"),
        ("echo no SQLite here >&2; exit 1", "no SQLite here"),
        ("kill -SEGV $$", "03 sleep-duration was killed by signal 11"),
        ("echo 'Segmentation fault'", "makes no sense: `Segmentation fault`"),
        ("head -c 100000000 /dev/zero", "03 sleep-duration said something that makes no sense"),
        ("true", "03 sleep-duration ended without a result"),
        ("cat \"$0.events\"; exit 1", "03 sleep-duration ended with exit code 1"),
        ("echo; sleep 1000", "03 sleep-duration said something that makes no sense"),
    ] {
        let workspace = Workspace::with_two();
        workspace.scripted(&sleep_duration(), script);
        let ran = workspace.run(&["experiments"]).expect_code(1);
        ran.says(words).says("old/outside-alive").says("Without a result");
    }
}

#[test]
fn what_an_experiment_leaves_behind_does_not_hold_the_run_up() {
    let workspace = Workspace::with_two();
    workspace.scripted(&sleep_duration(), "sleep 1000 & cat \"$0.events\"");
    workspace.run(&["experiments"]).expect_code(0).says("All 2 experiments");
}

#[test]
fn an_experiment_that_declares_another_name_is_not_believed() {
    let workspace = Workspace::with_two();
    let declaration = workspace.read("bin/01_drop_context.declaration");
    workspace.write("bin/03_sleep_duration.declaration", &declaration);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("03 sleep-duration declares itself as `01_drop_context`");
}

#[test]
fn an_experiment_that_was_not_built_is_named() {
    let workspace = Workspace::with_two();
    workspace.write("artifacts.jsonl", "");
    workspace.run(&["experiments"]).expect_code(1).says("01 drop-context was not built");
}

#[test]
fn a_build_that_fails_is_the_end() {
    let workspace = Workspace::with_two();
    std::fs::remove_file(workspace.path("artifacts.jsonl")).unwrap();
    workspace.run(&["experiments"]).expect_code(1).says("the experiments do not build");
}

#[test]
fn two_experiments_with_one_number_are_a_mistake() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    workspace.write("experiments/src/bin/01_other.rs", "fn main() {}\n");
    workspace.run(&["experiments"]).expect_code(1).says("have the same number");
}
