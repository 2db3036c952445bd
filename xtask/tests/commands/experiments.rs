//! A run, and how it compares with its snapshots.

use lab::{
    Observation, Outcome, Role, Value,
    results::{Declaration, ExperimentResult},
};

use crate::fixture::{SITE, Workspace, drop_context, experiment, skipped, sleep_duration, variant};

const SNAPSHOT: &str = "experiments/snapshots/01_drop_context.snap";
const PENDING: &str = "experiments/snapshots/01_drop_context.snap.new";

#[test]
fn the_tables_have_sites_classes_and_verdicts() {
    let ran = Workspace::with_two().run(&["experiments", "--verbose"]).expect_code(0);
    ran.says("always aborted")
        .says(SITE)
        .says("84–100 %")
        .says("20/20")
        .says("01 drop-context")
        .says("A2 refuted")
        .says("All 2 experiments")
        .says("target/experiments/results.json");
}

#[test]
fn the_table_fits_into_eighty_columns() {
    let workspace = Workspace::empty();
    let name = "current/outside-shutdown";
    let wide = variant(Role::Hazard, name, Outcome::Aborted, &[SITE, SITE]);
    workspace.experiment(&experiment("01", "drop-context", vec![wide]));
    let ran = workspace.run(&["experiments", "--accept", "--verbose"]).expect_code(0);
    let ran = ran.says(name).says(SITE);
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_new_snapshot_is_left_for_review_and_written_if_accepted() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("+ 01 drop-context · no snapshot yet (--accept writes it)")
        .says("01 drop-context has no snapshot yet")
        .says("--only 01 --accept")
        .says("cargo insta review")
        .says("error: without a snapshot: 01 drop-context");
    assert!(!workspace.exists(SNAPSHOT));
    let pending = workspace.read(PENDING);
    workspace.run(&["experiments", "--accept"]).expect_code(0).says("written");
    assert!(!workspace.exists(PENDING));
    assert_eq!(workspace.read(SNAPSHOT), pending);
    let begins = "---\nsource: xtask/src/experiments/snapshots.rs\ndescription: 01 drop-context\n---\n\
                  hypothesis  supported\n    It is drop-context that decides.\n\
                  claim A2    refuted\n    the panic comes from tasks that still run\n\n\
                  hazard   old/outside-alive  always aborted  at ";
    assert!(pending.starts_with(begins), "{pending}");
    workspace.run(&["experiments"]).expect_code(0).says("✓ 01 drop-context · failed");
}

#[test]
fn in_ci_no_snapshot_is_left_for_review() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    workspace.run_with("CI", "true", &["experiments"]).expect_code(1);
    let first = workspace.read("target/experiments/results.json");
    let ran = workspace.run_with("PROBE_SEED", "77", &["experiments"]).expect_code(1);
    ran.says("seed 77");
    assert!(!workspace.exists(PENDING));
    assert_eq!(workspace.read("target/experiments/results.json"), first);
}

#[test]
fn a_match_removes_the_pending_snapshot() {
    let workspace = Workspace::with_two();
    let mut changed = drop_context();
    changed.verdict = lab::Verdict::Refuted;
    workspace.experiment(&changed);
    workspace.run(&["experiments"]).expect_code(1);
    assert!(workspace.exists(PENDING));
    workspace.experiment(&drop_context());
    workspace.run(&["experiments"]).expect_code(0);
    assert!(!workspace.exists(PENDING));
}

#[test]
fn a_mismatch_names_the_variant_and_shows_the_lines() {
    let workspace = Workspace::with_two();
    workspace.edit(SNAPSHOT, "always aborted", "always clean  ");
    let mut odd = drop_context();
    odd.variants[0].examples[0].expected = false;
    workspace.experiment(&odd);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says(
        "01 drop-context: variant `old/outside-alive` was expected to be `always clean`, \
         and was `always aborted` (20 of 20)",
    )
    .says("  -hazard   old/outside-alive")
    .says("  +hazard   old/outside-alive")
    .says("To see an unexpected trial alone:\n    cargo run -p experiments --bin x -- --only")
    .says("--only 01 --accept")
    .says("1 of 2 experiments found what their snapshots say")
    .says("error: not as the snapshot says: 01 drop-context");
}

#[test]
fn every_kind_of_difference_is_described() {
    let workspace = Workspace::with_two();
    let mut changed = drop_context();
    changed.verdict = lab::Verdict::Refuted;
    changed.hypothesis = "It is the context.".to_owned();
    changed.claims.clear();
    changed.variants[0].sites = vec!["tokio-1.54.0/src/runtime/context.rs:1:1".to_owned()];
    changed.variants[1].name = "current/inside-alive".to_owned();
    workspace.experiment(&changed);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("the hypothesis was expected to be `supported`, and was `refuted`")
        .says("Hypotheses that did not hold: 01 drop-context (refuted).")
        .says(
            "below `hypothesis` the snapshot has `It is drop-context that decides.`, and this run",
        )
        .says("the claim A2 is in the snapshot and not in the experiment")
        .says("and did at tokio-1.54.0/src/runtime/context.rs:1:1")
        .says("variant `current/inside-alive` is not in the snapshot")
        .says("variant `old/inside-alive` is in the snapshot and not in the experiment");
}

#[test]
fn a_kept_observation_that_leaves_its_bucket_does_not_match() {
    let workspace = Workspace::empty();
    let measuring = |nanoseconds| {
        let mut result = drop_context();
        result.kept = [("elapsed".to_owned(), vec![1_000_000, 1_000_000_000])].into();
        for variant in &mut result.variants {
            let elapsed = Observation::of(&[Value::Nanoseconds(nanoseconds)]).unwrap();
            variant.observations.insert("elapsed".to_owned(), elapsed);
        }
        workspace.experiment(&result);
    };
    measuring(20_000_000);
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    measuring(700_000_000);
    workspace.run(&["experiments"]).expect_code(0);
    measuring(20_000);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says(
        "below `old/outside-alive` the snapshot has `elapsed: 1.0ms to 1.0s`, and this run \
         `elapsed: below 1.0ms`",
    );
}

#[test]
fn a_snapshot_without_an_experiment_fails_a_full_run() {
    let workspace = Workspace::with_two();
    workspace.remove("experiments/src/bin/03_sleep_duration.rs");
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("snapshots/03_sleep_duration.snap belongs to no experiment")
        .does_not_say("ten-seconds");
    let ran = workspace.run(&["experiments", "--only", "1"]).expect_code(0);
    ran.does_not_say("03_sleep_duration");
}

#[test]
fn only_runs_the_named_experiments() {
    let workspace = Workspace::with_two();
    for name in ["3", "03", "sleep-duration"] {
        let ran = workspace.run(&["experiments", "--only", name]).expect_code(0);
        ran.says("03 sleep-duration").does_not_say("drop-context");
    }
    workspace.run(&["experiments", "--only", "01,03"]).expect_code(0).says("All 2 experiments");
}

#[test]
fn json_is_one_object_for_each_experiment_and_nothing_else() {
    let ran = Workspace::with_two().run(&["experiments", "--format", "json"]).expect_code(0);
    let results: Vec<ExperimentResult> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut ids: Vec<_> = results.iter().map(|result| result.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["01", "03"]);
    assert!(ran.stdout.contains(r#""snapshot":"match""#), "{ran}");
    assert!(ran.stderr.contains("All 2 experiments"), "{ran}");
}

#[test]
fn the_results_have_the_circumstances_of_the_run() {
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
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn with_threads_held_the_cures_alone_decide() {
    let workspace = Workspace::empty();
    let script = "echo \"$*\" > \"$0.arguments\"; cat \"$0.events\"";
    let with_a_cure = |cure: Outcome, predicted| {
        let mut hazard = variant(Role::Hazard, "ten-seconds", Outcome::Clean, &[]);
        hazard.predicted = false;
        let mut cure = variant(Role::Cure, "kit/ten-seconds", cure, &[]);
        (cure.predicted, cure.prediction) = (predicted, "always clean".to_owned());
        (cure.hits, cure.trials) = (if predicted { 20 } else { 17 }, 20);
        workspace.scripted(&experiment("03", "sleep-duration", vec![hazard, cure]), script);
        workspace.run(&["experiments", "--chaos", "--seed", "5"])
    };
    let clean = with_a_cure(Outcome::Clean, true);
    if clean.stderr.contains("--chaos traces the command") {
        skipped(&format!("holding threads: {clean}"));
        return;
    }
    clean
        .expect_code(0)
        .says("threads held, cures clean")
        .says("The cures of 1 of 1 experiment were as")
        .says("in 20 trials altogether");
    let arguments = workspace.read("bin/03_sleep_duration.arguments");
    assert!(arguments.contains("--under hold-threads --under any --under -"), "{arguments}");
    assert!(workspace.exists("target/experiments/chaos.json"));
    assert!(!workspace.exists("target/experiments/results.json"), "it is not for the notebook");
    workspace
        .run(&["notebooks", "--results", "target/experiments/chaos.json"])
        .expect_code(1)
        .says("held the threads of its trials");
    with_a_cure(Outcome::Panicked, false)
        .expect_code(1)
        .says("a cure fails if threads are held: 03 sleep-duration")
        .says("kit/ten-seconds is not always clean in 3 of 20 trials");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn with_threads_held_an_experiment_without_cures_says_nothing() {
    let workspace = Workspace::empty();
    let hazard = variant(Role::Hazard, "ten-seconds", Outcome::Clean, &[]);
    workspace.experiment(&experiment("03", "sleep-duration", vec![hazard]));
    let ran = workspace.run(&["experiments", "--chaos"]);
    if ran.stderr.contains("--chaos traces the command") {
        skipped(&format!("holding threads: {ran}"));
        return;
    }
    ran.says("– 03 ").says("it has no cure").does_not_say("✓").does_not_say("cures clean");
}

#[test]
fn a_list_runs_nothing() {
    let workspace = Workspace::empty();
    workspace.scripted(&sleep_duration(), "exit 1");
    let ran = workspace.run(&["experiments", "--list"]).expect_code(0);
    ran.says("03 sleep-duration").says("What does sleep-duration do?").says("20");
    let ran = workspace.run(&["experiments", "--list", "--format", "json"]).expect_code(0);
    let declaration: Declaration = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(declaration.binary, "03_sleep_duration");
}

/// The first experiment ends when the second has begun, or else fails after half a second or a minute.
fn with_two_that_meet(looks: u32) -> Workspace {
    let workspace = Workspace::with_two();
    let trial = r#"{"event":"trial","variant":"a","trial":0,"outcome":"clean"}"#;
    let waits = format!(
        "echo '{trial}'\nfor look in $(seq {looks}); do\n[ -e \"${{0%/*}}/begun\" ] && exec cat \"$0.events\"\n\
         sleep 0.05\ndone\nexit 1"
    );
    workspace.scripted(&drop_context(), &waits);
    workspace.scripted(&sleep_duration(), "touch \"${0%/*}/begun\"; sleep 0.5; cat \"$0.events\"");
    workspace
}

#[test]
fn two_experiments_run_at_a_time_and_the_results_are_in_order() {
    let workspace = with_two_that_meet(1200);
    workspace.run(&["experiments"]).expect_code(0).says("All 2 experiments");
    let results = workspace.read("target/experiments/results.json");
    let (first, second) = (results.find("drop-context"), results.find("sleep-duration"));
    assert!(first.is_some() && first < second, "{results}");
}

#[test]
fn what_is_measured_for_the_notebook_is_measured_alone() {
    for alone in [&["--accept"][..], &["--jobs", "4"]] {
        let arguments = [&["experiments"], alone].concat();
        with_two_that_meet(10).run(&arguments).expect_code(1).says("01 drop-context ended with");
    }
}

#[test]
fn what_does_not_build_stops_nothing_else() {
    let workspace = Workspace::with_two();
    // The first is built alone, and fails.
    workspace.write(
        "build.script",
        "case \"$*\" in *01_drop_context*) echo 'error: no such thing' >&2; exit 101 ;; esac",
    );
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("✗ 01 drop-context · no result")
        .says("01 drop-context does not build")
        .says("✓ 03 sleep-duration")
        .says("no such thing");
}

#[test]
fn a_snapshot_that_cannot_be_read_costs_no_result() {
    let workspace = Workspace::with_two();
    workspace.remove(SNAPSHOT);
    std::fs::create_dir(workspace.path(SNAPSHOT)).unwrap();
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("not compared").says("✓ 03 sleep-duration").says("01_drop_context.snap");
    let results = workspace.read("target/experiments/results.json");
    assert!(results.contains("drop-context") && results.contains("sleep-duration"), "{results}");
}

#[test]
fn a_declaration_that_ends_like_an_interruption_is_tried_once() {
    let workspace = Workspace::with_two();
    workspace.program("bin/01_broken", "exit 130\n");
    workspace.remove("bin/01_drop_context");
    std::fs::rename(workspace.path("bin/01_broken"), workspace.path("bin/01_drop_context"))
        .unwrap();
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("01 drop-context was interrupted").says("✓ 03 sleep-duration");
}
