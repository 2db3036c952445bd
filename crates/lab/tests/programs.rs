//! Trials that become another program, and runs that lack what they need.
//!
//! The trials are those of `examples/91_programs.rs`, run as a user would run them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use lab::{
    Outcome,
    results::{Event, ExperimentResult, Skipped, VariantResult},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long to wait for what must happen soon, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The experiment, beside this test: `cargo test` builds examples, `cargo test --test` alone not.
fn experiment(arguments: &[&str]) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.parent().unwrap().with_file_name("examples").join("91_programs");
    assert!(path.exists(), "{} is missing: cargo build -p lab --examples", path.display());
    let mut command = Command::new(path);
    command.args(arguments).env_remove("LACK");
    command
}

fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn result(arguments: &[&str]) -> ExperimentResult {
    let output = output(experiment(&[&["--format", "json", "--quick"], arguments].concat()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn variant(name: &str) -> VariantResult {
    let variants = result(&["--only", name]).variants;
    variants.into_iter().find(|variant| variant.name == name).unwrap()
}

fn example_of(name: &str, outcome: Outcome) -> String {
    let found = variant(name);
    assert_eq!(found.outcomes.count(outcome), 5, "{found:#?}");
    let [example] = &found.examples[..] else { panic!("{found:#?}") };
    [std::slice::from_ref(&example.ending), &example.panics, &example.problems].concat().join("; ")
}

#[test]
fn every_end_is_what_it_was_predicted_to_be() {
    let result = result(&[]);
    for variant in &result.variants {
        assert!(variant.predicted, "{variant:#?}");
    }
    assert_eq!(result.equipment["shell"], "of some kind");
}

#[test]
fn what_the_trial_and_the_program_record_is_kept() {
    let found = variant("ends-well");
    assert_eq!(found.observations["before"].count("true"), 5);
    assert_eq!(found.observations["rows"].spread().unwrap().max, 3);
}

#[cfg(target_os = "linux")]
#[test]
fn the_time_that_it_takes_to_leave_is_recorded() {
    let took = variant("says-when-it-leaves").observations["exit_took"].spread().unwrap();
    // The script tells the time to a second, cut off.
    assert!(took.min >= 0 && took.max < 60_000_000_000, "{took:?}");
}

#[test]
fn what_is_wrong_with_an_end_is_named() {
    let named = |name, outcome, what: &str| {
        let example = example_of(name, outcome);
        assert!(example.contains(what), "{name}: {example}");
    };
    named("ends-otherwise", Outcome::Failed, "it ended with exit code 0, and not 3");
    named("misses-its-last-line", Outcome::Failed, "should be `bye`, and it printed `hello`");
    named("says-what-it-must-not", Outcome::Failed, "it says `FATAL` on standard error");
    named("has-a-problem", Outcome::Failed, "a row was lost");
    named("panics", Outcome::Panicked, "exit code 0 after a panic; worker: over (src/lib.rs:2:5)");
    named("aborts", Outcome::Aborted, "SIGABRT");
    named("is-killed", Outcome::Signalled, "SIGSEGV");
    named("cannot-start", Outcome::Failed, "cannot become there-is-no-such-program: ");
}

#[test]
fn what_is_missing_skips_the_experiment_with_its_reason() {
    let lacking = |format: &str| {
        let mut command = experiment(&["--format", format]);
        command.env("LACK", "it");
        let output = output(command);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stdout)
    };
    let said = "skipped: 91 programs: there is no shell (install one)\n";
    assert_eq!(lacking("text"), said);
    let skipped: Skipped = serde_json::from_str(&lacking("json")).unwrap();
    assert_eq!((skipped.id.as_str(), format!("{skipped}\n").as_str()), ("91", said));
    let events = lacking("events");
    let events: Vec<Event> = events.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let preparing = Event::Preparing { doing: "looking for a shell".to_owned() };
    assert_eq!(events, [preparing, Event::Skipped { skipped }]);
}

#[test]
fn what_is_out_of_order_fails_the_run() {
    let mut command = experiment(&["--quick"]);
    command.env("LACK", "order");
    let output = output(command);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("prepared: the shell is out of order"));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_listing_needs_nothing() {
    let mut command = experiment(&["--list"]);
    command.env("LACK", "order");
    assert!(text(&output(command).stdout).contains("ends-well"));
}

#[test]
fn an_interrupted_preparation_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("process");
    let temporary = place.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = experiment(&["--quick"]);
    command.env("LACK", "time").env("FILE", &file).env("TMPDIR", &temporary);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut process = None;
    until("the preparation runs", || {
        process = fs::read_to_string(&file).ok().and_then(|it| it.trim().parse::<i32>().ok());
        process.is_some()
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    until("it is gone", || kill(Pid::from_raw(process.unwrap()), None).is_err());
    until("so is its directory", || fs::read_dir(&temporary).unwrap().next().is_none());
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}
