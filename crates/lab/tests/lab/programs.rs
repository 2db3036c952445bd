//! Trials that become another program, and runs that lack what they need.

use std::{collections::BTreeMap, fs, process::Stdio, sync::LazyLock};

use lab::results::{Event, ExperimentResult, Skipped, VariantResult};

use super::{Run, end, entries, interrupt, is_running, text, until};

static FOUND: LazyLock<BTreeMap<String, VariantResult>> = LazyLock::new(|| run().all_but(&[]));

fn run() -> Run {
    Run::of("91_programs")
}

#[test]
fn a_wrong_end_is_described() {
    for (name, expected) in [
        ("ends-otherwise", "it ended with exit code 0, and not 3"),
        ("misses-its-last-line", "its last line should be `bye`, and was `hello`"),
        ("says-what-it-must-not", "it says `FATAL` on standard error"),
        ("has-a-problem", "a row was lost"),
        ("panics", "exit code 0 after a panic; worker: over (src/lib.rs:2:5)"),
        ("aborts", "SIGABRT"),
        ("is-killed", "SIGSEGV"),
        ("cannot-start", "cannot become there-is-no-such-program: "),
    ] {
        let said = end(&FOUND[name]);
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn what_the_trial_and_the_program_record_is_kept() {
    let found = &FOUND["ends-well"];
    assert_eq!(found.observations["before"].count("true"), 5);
    assert_eq!(found.observations["rows"].spread().unwrap().max, 3);
    let result: ExperimentResult = run().json(&["--only", "ends-well"]);
    assert_eq!(result.equipment["shell"], "of some kind");
}

#[cfg(target_os = "linux")]
#[test]
fn the_time_that_it_takes_to_leave_is_recorded() {
    let took = FOUND["says-when-it-leaves"].observations["exit_took"].spread().unwrap();
    // The script reads the clock in whole seconds.
    assert!(took.min >= 0 && took.max < 60_000_000_000, "{took:?}");
}

#[test]
fn an_experiment_without_what_it_needs_is_skipped_with_the_reason() {
    let run = run();
    let lacking = |format: &str| {
        let output = run.finish(run.command(&["--format", format]).env("LACK", "it"));
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
fn what_is_out_of_order_fails_the_run_but_not_a_listing() {
    let run = run();
    let output = run.finish(run.command(&["--quick"]).env("LACK", "order"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cannot prepare what is needed: the shell is out of order")
    );
    assert!(output.stdout.is_empty());
    let listed = run.finish(run.command(&["--list"]).env("LACK", "order"));
    assert!(text(&listed.stdout).contains("ends-well"));
}

#[test]
fn an_interrupted_preparation_leaves_nothing_behind() {
    let (run, place) = (run(), tempfile::tempdir().unwrap());
    let file = place.path().join("process");
    let mut command = run.command(&["--quick"]);
    command.env("LACK", "time").env("FILE", &file);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut process = None;
    until("the preparation runs", || {
        process = fs::read_to_string(&file).ok().and_then(|it| it.trim().parse().ok());
        process.is_some()
    });
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    until("it is gone", || !is_running(process.unwrap()));
    until("so is its directory", || entries(run.temporary.path()).is_empty());
}
