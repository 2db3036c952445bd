//! Experiments and tests again and again: what is unstable is found, and what is not is not.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Child};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fixture::{Ran, Workspace, drop_context, objects, sleep_duration, wait_for};

/// An experiment that finds something else in every third of its runs.
const UNSTABLE: &str = r#"
echo >> "$0.runs"
if test $(($(wc -l < "$0.runs") % 3)) = 0; then cat "$0.other"; else cat "$0.events"; fi
"#;

/// A test executable with two tests, of which one fails whenever many run at a time.
const TESTS: &str = r#"
case " $* " in
*" --list "*) printf 'steady: test\nflaky: test\na_bench: benchmark\n'; exit ;;
esac
test "$PWD" = "$CARGO_MANIFEST_DIR" || test "$PWD/" = "$CARGO_MANIFEST_DIR" || exit 9
echo "test steady ... ok"
if test "$RUST_TEST_THREADS" != 1; then echo "test flaky ... ok"; exit; fi
echo "test flaky ... FAILED"
echo "thread 'flaky' (1) panicked at tests/a.rs:3:4:"
echo "lost $PROPTEST_RNG_SEED"
exit 101
"#;

impl Workspace {
    /// Adds an executable with tests to the one package that cargo knows.
    fn tests(&self, script: &str) {
        let executable = self.path("bin/tests");
        self.write("bin/tests", &format!("#!/bin/sh\n{script}"));
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(self.path("package")).unwrap();
        let manifest_path = self.root().canonicalize().unwrap().join("package/Cargo.toml");
        let artifact = serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": manifest_path,
            "target": {"name": "promises", "kind": ["test"]},
            "profile": {"test": true},
            "executable": executable,
        });
        self.write("tests.jsonl", &format!("{artifact}\n"));
    }
}

fn unstable() -> Workspace {
    let workspace = Workspace::with_two();
    let mut other = drop_context();
    other.variants[0].class = "mixed: clean, aborted".to_owned();
    workspace.experiment(&other);
    let events = workspace.read("bin/01_drop_context.events");
    workspace.scripted(&drop_context(), UNSTABLE);
    workspace.write("bin/01_drop_context.other", &events);
    workspace
}

/// The objects of JSON lines.
#[test]
fn an_experiment_that_differs_now_and_then_is_found_and_the_other_is_not() {
    let workspace = unstable();
    let ran = workspace.run(&["stress", "--for", "3", "--load", "1", "--format", "json"]);
    let ran = ran.expect_code(1);
    let [one, other] = &objects(&ran)[..] else { panic!("{ran}") };
    let runs = one["runs"].as_u64().unwrap();
    let found = one["instabilities"].as_array().unwrap();
    assert_eq!(found.len() as u64, runs / 3, "{one:#}");
    assert!(runs >= 3, "{one:#}");
    assert_eq!(found[0]["round"], 2);
    let words = found[0]["found"].as_str().unwrap();
    assert!(words.contains("was expected to be `always aborted`, and was `mixed: clean, aborted`"));
    assert!(!words.contains("--accept"), "an instability is not to be accepted: {words}");
    let rerun = format!("cargo xtask experiments --only 01 --seed {}", found[0]["seed"]);
    assert_eq!(found[0]["rerun"], rerun);
    assert!(other["runs"].as_u64().unwrap() >= runs - 1);
    assert_eq!(other["instabilities"], serde_json::json!([]));
    ran.says("again: cargo xtask experiments --only 01 --seed ");
}

#[test]
fn what_is_stable_is_not_said_to_be_so_for_ever() {
    let workspace = Workspace::with_two();
    let options = ["stress", "--only", "01", "--for", "0.1", "--load", "0", "--quick"];
    let ran = workspace.run(&options).expect_code(0);
    ran.says("Nothing was unstable. That is not never")
        .says("0 threads busy")
        .does_not_say("sleep-duration");
}

#[test]
fn so_many_rounds_are_run_and_said_to_have_been() {
    let workspace = unstable();
    let options = ["stress", "--rounds", "4", "--load", "0"];
    let ran = workspace.run(&[&options[..], &["--format", "json"]].concat()).expect_code(1);
    let [one, other] = &objects(&ran)[..] else { panic!("{ran}") };
    assert_eq!((&one["runs"], &other["runs"]), (&4.into(), &4.into()));
    assert_eq!(one["instabilities"].as_array().unwrap().len(), 1, "the third: {one:#}");
    // The runs before these were four.
    workspace.run(&options).expect_code(1).says("8 runs in 4 rounds, ").says("1 of 8 runs were");
    let one = ["stress", "--only", "03", "--rounds", "1", "--load", "0"];
    workspace.run(&one).expect_code(0).says("1 run in 1 round, ");
}

#[test]
fn a_test_that_fails_now_and_then_is_found_with_the_command_that_reruns_it() {
    let workspace = Workspace::empty();
    workspace.tests(TESTS);
    // A seed by which the first run fails and the second does not.
    let one_at_a_time =
        |seed, round| lab::seed::of_trial(seed, "core::f --test promises", round).is_multiple_of(3);
    let seed = (0..).find(|seed| one_at_a_time(*seed, 0) && !one_at_a_time(*seed, 1)).unwrap();
    let seed = &*seed.to_string();
    let options = ["stress", "--test", "core::f", "--for", "2", "--load", "0", "--seed", seed];
    let ran = workspace.run(&[&options[..], &["--format", "json"]].concat()).expect_code(1);
    let [tests] = &objects(&ran)[..] else { panic!("{ran}") };
    let runs = tests["runs"].as_u64().unwrap();
    let found = tests["instabilities"].as_array().unwrap();
    assert!(!found.is_empty() && (found.len() as u64) < runs, "{tests:#}");
    let seed = found[0]["seed"].as_u64().unwrap();
    let words = found[0]["found"].as_str().unwrap();
    assert!(words.contains("exit code 101\nflaky failed\n"), "{words}");
    assert!(words.contains(&format!("flaky: lost {seed} (tests/a.rs:3:4)")), "{words}");
    let rerun = format!(
        "RUST_TEST_THREADS=1 PROPTEST_RNG_SEED={seed} cargo test --package core --test promises f"
    );
    assert_eq!(found[0]["rerun"], rerun);
    ran.does_not_say("drop-context");
}

#[test]
fn a_test_that_hangs_is_named() {
    let workspace = Workspace::empty();
    workspace.tests(
        "case \" $* \" in *--list*) printf 'one: test\\ntwo: test\\n'; exit;; esac\n\
         echo 'test one ... ok'; sleep 1000",
    );
    let options = ["stress", "--test", "core", "--for", "0.1", "--timeout", "0.5"];
    let ran = workspace.run(&options).expect_code(1);
    ran.says("killed at its deadline").says("two had not ended").does_not_say("one had not ended");
}

#[test]
fn what_cannot_be_stressed_is_said_before_anything_runs() {
    let workspace = Workspace::empty();
    for (arguments, code, words) in [
        (&["--test", "nowhere"][..], 2, "the workspace has no package `nowhere`\n"),
        (&["--test", "cor"], 2, "no package `cor`: did you mean `core`?"),
        (&["--test", "core"], 1, "the tests of core do not build"),
        (&["--only", "77"], 2, "there is no experiment `77`"),
        (&["--rounds", "0"], 2, "expected a whole number from 1"),
        (&["--rounds", "2", "--for", "1m"], 2, "cannot be used with"),
        (&["--for", "0"], 2, "expected more than 0"),
        (&["--load", "many"], 2, "--load"),
        (&["--test", "::name"], 2, "core::latch"),
    ] {
        workspace.run(&[&["stress"], arguments].concat()).expect_code(code).says(words);
    }
    workspace.tests("echo");
    let ran = workspace.run(&["stress", "--test", "core::nothing"]).expect_code(2);
    ran.says("no test of package core has `nothing` in its name");
    workspace.experiment(&sleep_duration());
    workspace.run(&["stress"]).expect_code(2).says("03 sleep-duration has no snapshot");
}

/// Waits for the process that writes its number into this file.
fn started(workspace: &Workspace, file: &str) -> Pid {
    let path = workspace.path(file);
    let number = || fs::read_to_string(&path).ok()?.trim().parse().ok();
    Pid::from_raw(wait_for("the start of what does not end", number)).unwrap()
}

fn interrupt(stress: Child) -> Ran {
    kill_process(Pid::from_child(&stress), Signal::INT).unwrap();
    Ran::of(stress.wait_with_output().unwrap()).expect_code(130)
}

#[test]
fn an_interrupted_stress_prints_what_is_known_and_leaves_nothing_running() {
    let experiments = Workspace::with_two();
    experiments.scripted(&sleep_duration(), "echo $$ > pid; sleep 1000");
    let stress = experiments.start(&["stress", "--for", "1h"]);
    let process = started(&experiments, "pid");
    interrupt(stress)
        .says("Interrupted. 1 run in 0 rounds and a part of the next, ")
        .says("Nothing was unstable, as far as it ran; 1 of 2 did not run once to the end.")
        .says("01 drop-context");
    wait_for("the end of the experiment", || test_kill_process(process).err());

    let tests = Workspace::empty();
    tests.tests(
        "case \" $* \" in *--list*) echo 'one: test'; exit;; esac\necho $$ > ../pid; sleep 1000",
    );
    let stress = tests.start(&["stress", "--for", "1h", "--test", "core"]);
    let process = started(&tests, "pid");
    interrupt(stress).says("Nothing ran to its end").says("Interrupted. 0 runs");
    wait_for("the end of the tests", || test_kill_process(process).err());
}
