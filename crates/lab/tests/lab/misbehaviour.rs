//! Trials that misbehave, and users and machines that do.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use lab::{
    Observation,
    results::{ExperimentResult, VariantResult, Verdict},
};

use super::{Run, end, entries, example, interrupt, is_running, text, until};

/// All variants but the one that takes ten seconds.
static FOUND: LazyLock<BTreeMap<String, VariantResult>> =
    LazyLock::new(|| run().all_but(&["waits-for-long"]));

fn run() -> Run {
    Run::of("90_misbehaviour")
}

#[test]
fn every_misbehaviour_has_its_outcome_and_is_described() {
    for (name, expected) in [
        ("aborts", "SIGABRT after 3 panics"),
        ("kills-itself", "SIGKILL"),
        ("hangs", "killed at its deadline"),
        ("fails-a-check", "two is one"),
        ("returns-an-error", "error: No such file or directory"),
        ("exits-with-3", "it ended with exit code 3"),
        // Silence is not success.
        ("leaves-early", "it ended before its body did"),
        ("closes-its-descriptors", "it ended before its body did"),
        ("reuses-the-descriptor", "it ended before its body did"),
        ("reports-nonsense", "the report pipe is not readable from line 1 on"),
        ("runs-out-of-descriptors", "no descriptor is left"),
    ] {
        let said = end(&FOUND[name]);
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert!(FOUND["hangs"].resources.unwrap().wall_micros.min >= 400_000);
}

#[test]
fn a_panic_on_another_thread_counts_even_if_the_exit_code_is_0() {
    let example = example(&FOUND["panics-elsewhere"]);
    assert_eq!(example.ending, "exit code 0 after a panic");
    assert!(example.panics[0].starts_with("elsewhere: nobody looks here (crates/lab/examples/"));
    assert!(example.stderr.contains("nobody looks here"));
    assert_eq!(FOUND["panics-elsewhere"].threads, ["elsewhere"]);
}

#[test]
fn a_panic_that_may_or_may_not_occur_counts_and_neither_its_site_nor_its_thread_does() {
    let found = &FOUND["panics-elsewhere-or-not"];
    assert_eq!(found.occasional_sites.len(), 1);
    assert_eq!((&found.sites, &found.threads), (&vec![], &vec![]));
    assert_eq!(found.occasional_threads, ["elsewhere"]);
    assert_eq!(found.outcomes.panicked, found.trials);
}

#[test]
fn panics_survive_the_abort_that_they_end_in() {
    let found = &FOUND["aborts"];
    let panics = &example(found).panics;
    let unwinding: Vec<_> = panics.iter().map(|it| it.ends_with(", while unwinding")).collect();
    assert_eq!(unwinding, [false, true, true]);
    assert!(found.sites.iter().any(|site| site == "std: core/src/panicking.rs"), "{found:#?}");
    assert_eq!(found.threads, ["main"]);
}

#[test]
fn endless_output_is_cut() {
    let found = &FOUND["prints-100-megabytes"];
    // 50 MB on each stream. The lab itself stays small, and so does what it keeps.
    assert!(found.resources.unwrap().peak_kib.max < 64 * 1024, "{found:#?}");
}

#[test]
fn a_trial_sees_a_scrubbed_environment() {
    let Observation::Count { values } = &FOUND["sees-a-clean-world"].observations["environment"]
    else {
        panic!("{FOUND:#?}")
    };
    let expected = "HOME LAB_RUN LANG PATH RUST_BACKTRACE TMPDIR";
    assert_eq!(*values, BTreeMap::from([(expected.to_owned(), 5)]));
}

#[test]
fn the_trials_of_a_variant_have_the_numbers_from_0() {
    let Observation::Integer(numbers) = &FOUND["well-behaved"].observations["number"] else {
        panic!("{FOUND:#?}")
    };
    assert_eq!((numbers.n, numbers.min, numbers.median, numbers.max), (5, 0, 2, 4));
}

#[test]
fn children_and_daemons_do_not_outlive_their_trial() {
    let daemons: &[_] =
        if cfg!(target_os = "linux") { &["leaves-a-daemon", "leaves-a-quiet-daemon"] } else { &[] };
    for name in [&["leaves-a-child"], daemons].concat() {
        let left = FOUND[name].observations["left"].spread().unwrap();
        assert!(!is_running(left.min) && !is_running(left.max), "{name}");
    }
}

/// Starts trials that wait for long, and waits until two of them run. Each names its process and its
/// child's.
fn start_waiting(run: &Run, arguments: &[&str]) -> (Child, Vec<i64>) {
    let arguments = [&["--only", "waits-for-long", "--jobs", "2"], arguments].concat();
    let mut command = run.command(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut processes = Vec::new();
    until("two trials run", || {
        processes = entries(run.temporary.path())
            .iter()
            .flat_map(|directory| entries(directory))
            .filter_map(|trial| fs::read_to_string(trial.join("processes")).ok())
            // A file that is not written yet is empty.
            .flat_map(|text| text.split(' ').filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
            .collect();
        processes.len() == 4
    });
    (child, processes)
}

#[test]
fn nothing_is_left_when_the_lab_is_killed() {
    let run = run();
    let (mut child, processes) = start_waiting(&run, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    until("the trials and their children are gone", || {
        !processes.iter().any(|process| is_running(*process))
    });
    run.assert_nothing_is_left();
}

#[test]
fn an_interrupt_kills_the_trials_and_prints_what_is_known() {
    let run = run();
    let (child, processes) = start_waiting(&run, &["--format", "json"]);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let result: ExperimentResult = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result.interrupted);
    assert_eq!(result.verdict, Verdict::Inconclusive);
    assert!(!processes.iter().any(|process| is_running(*process)));
    run.assert_nothing_is_left();
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let run = run();
    let mut child = run
        .command(&["--only", "well-behaved", "--trials", "100000", "--format", "events"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"event\":\"trial\""), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the run was cut short");
    assert_eq!(text(&output.stderr), "", "and the reader knows why");
    run.assert_nothing_is_left();
}

#[test]
fn one_trial_can_be_run_again_alone() {
    let failed = example(&FOUND["fails-a-check"]);
    assert!(failed.rerun.contains("--only fails-a-check --trial 0 --seed "), "{failed:#?}");
    let words: Vec<_> = failed.rerun.split(" -- ").last().unwrap().split(' ').collect();
    let again = text(&run().output(&words).stdout);
    assert!(again.contains(&format!("its own seed {}", failed.seed)), "{again}");
    assert!(again.contains("two is one"), "{again}");

    let one = |number| ["--only", "well-behaved", "--trial", number, "--seed", "7"];
    let told: serde_json::Value = run().json(&one("2"));
    assert_eq!((&told["variant"], &told["trial"]), (&"well-behaved".into(), &2.into()));
    assert_eq!(
        (&told["outcome"], &told["observations"]["number"]["integer"]),
        (&"clean".into(), &2.into())
    );
    // What it draws depends on its seed, and its seed on its number.
    let drawn =
        |number| run().json::<serde_json::Value>(&one(number))["observations"]["seed"].clone();
    assert_eq!(drawn("2"), told["observations"]["seed"]);
    assert_ne!(drawn("3"), drawn("2"));
}

#[test]
fn each_trial_can_be_run_by_another_program() {
    let under = |words: &[&str]| {
        let words = words.iter().flat_map(|word| ["--under", word]);
        let all = ["--only", "well-behaved", "--trial", "2", "--seed", "7"];
        run().json::<serde_json::Value>(&all.into_iter().chain(words).collect::<Vec<_>>())
    };
    let alone = under(&[]);
    // The program knows what the trial knows.
    let asks = format!("test $PROBE_SEED-$PROBE_TRIAL = {}-2 && exec \"$@\"", alone["seed"]);
    let ran = under(&["sh", "-c", &asks, "-"]);
    assert_eq!((&ran["outcome"], &ran["observations"]), (&"clean".into(), &alone["observations"]));
    assert_eq!(under(&["false"])["outcome"], "failed");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_right() {
    for (arguments, expected) in [
        (&["--trials", "0"][..], "--trials"),
        (&["--only", "wellbehaved"], "did you mean `well-behaved`?"),
        (&["--only", "*s*", "--trial", "1"], "name it by --only"),
        (&["--trial", "1"], "--only"),
        (&["--seed", "seven"], "a number of 64 bits"),
        (&["--jobs", "0"], "--jobs"),
        (&["--format", "xml"], "possible values"),
    ] {
        let output = run().output(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn a_place_without_room_for_a_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = run().command(&[]).env("TMPDIR", file.path()).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains(file.path().to_str().unwrap()), "{message}");
    assert!(message.contains("TMPDIR"), "{message}");
}

/// The file system without room is in a mount namespace that goes with the command.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let (run, place) = (run(), tempfile::tempdir().unwrap());
    let place = place.path().to_str().unwrap();
    let unshare = |script: &str| {
        Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", script]).output()
    };
    let mount = format!("mount -t tmpfs -o nr_inodes=1 full {place}");
    if !unshare(&mount).is_ok_and(|output| output.status.success()) {
        let reason = "skipped: a_full_disk_is_named: no mount namespace can be made here\n";
        std::io::stderr().write_all(reason.as_bytes()).unwrap();
        return;
    }
    let experiment = run.experiment.display();
    let script = format!("{mount} && touch {place}/x; exec env TMPDIR={place} {experiment}");
    let output = unshare(&script).unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.contains(place), "{message}");
}

#[test]
fn output_in_a_pipe_is_plain() {
    let text = run().text(&["--only", "well-behaved,fails-a-check", "--quick"]);
    assert!(!text.contains(['\u{1b}', '│', '┌']), "{text}");
    assert!(text.contains("well-behaved"), "{text}");
    assert!(text.contains("Verdict: supported, because"), "{text}");
}

#[test]
fn a_person_sees_the_trials_that_are_shown_first() {
    let only = ["--quick", "--only", "panics-elsewhere,well-behaved,aborts", "--format", "text"];
    let text = run().text(&only);
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    let shown = [
        "aborts, trial 0:\n",
        "→ aborted (SIGABRT after 3 panics)\n",
        "panics-elsewhere, trial 0:\n  thread 'elsewhere' panicked at",
        "  nobody looks here\n",
        "→ panicked (exit code 0 after a panic)\n",
    ];
    // In the declared order, each in one piece, and before anything else.
    assert!(text.starts_with(shown[0]), "{text}");
    assert!(shown.is_sorted_by_key(|part| place(part)), "{text}");
    assert_eq!(text.matches(", trial 0:\n").count(), 2, "{text}");
}
