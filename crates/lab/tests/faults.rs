//! The sandbox against everything that a trial, its surroundings and its user may do to it.
//!
//! The trials are those of `examples/90_misbehaviour.rs`, run as a user would run them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use lab::{
    Outcome,
    results::{ExperimentResult, VariantResult, Verdict},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// How long to wait for what must happen soon, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The experiment, beside this test: `cargo test` builds examples, `cargo test --test` alone not.
fn experiment() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("examples").join("90_misbehaviour");
    assert!(path.exists(), "{} is missing: cargo build -p lab --examples", path.display());
    path
}

/// A run of the experiment in a temporary directory of its own, which must be empty afterwards.
struct Run {
    temporary: TempDir,
}

impl Run {
    fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(experiment());
        command.args(arguments).env("TMPDIR", self.temporary.path());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        self.assert_nothing_is_left();
        output
    }

    fn assert_nothing_is_left(&self) {
        until("the temporary directory is empty", || entries(self.temporary.path()).is_empty());
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn variant(name: &str) -> VariantResult {
    let output = Run::new().output(&["--format", "json", "--quick", "--only", name]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: ExperimentResult = serde_json::from_slice(&output.stdout).unwrap();
    result.variants.into_iter().find(|variant| variant.name == name).unwrap()
}

fn assert_always(name: &str, outcome: Outcome) -> VariantResult {
    let variant = variant(name);
    assert_eq!(variant.outcomes.count(outcome), 5, "{variant:#?}");
    variant
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

fn is_running(process: i64) -> bool {
    let process = i32::try_from(process).unwrap();
    // A zombie whose parent has not waited for it yet is no longer running.
    let zombie = fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z')));
    !zombie && kill(Pid::from_raw(process), None).is_ok()
}

fn problems(variant: &VariantResult) -> String {
    variant.examples.iter().flat_map(|example| example.problems.clone()).collect()
}

#[test]
fn a_panic_on_another_thread_counts_though_the_exit_code_is_0() {
    let found = assert_always("panics-elsewhere", Outcome::Panicked);
    let [example] = &found.examples[..] else { panic!("{found:#?}") };
    assert_eq!(example.ending, "exit code 0 after a panic");
    assert!(example.panics[0].starts_with("elsewhere: nobody looks here (crates/lab/examples/"));
    assert!(example.stderr.contains("nobody looks here"));
}

#[test]
fn panics_survive_the_abort_that_they_end_in() {
    let found = assert_always("aborts", Outcome::Aborted);
    let [example] = &found.examples[..] else { panic!("{found:#?}") };
    assert_eq!(example.ending, "SIGABRT after 3 panics");
    let unwinding: Vec<_> =
        example.panics.iter().map(|panic| panic.ends_with(", while unwinding")).collect();
    assert_eq!(unwinding, [false, true, true]);
    assert!(found.sites.iter().any(|site| site == "std: core/src/panicking.rs"), "{found:#?}");
}

#[test]
fn a_trial_that_is_killed_is_signalled() {
    assert_eq!(assert_always("kills-itself", Outcome::Signalled).examples[0].ending, "SIGKILL");
}

#[test]
fn a_trial_that_hangs_is_killed_at_its_deadline() {
    let found = assert_always("hangs", Outcome::Hung);
    assert!(found.resources.unwrap().wall_micros.min >= 400_000);
}

#[test]
fn what_is_wrong_with_a_trial_is_said() {
    let check = assert_always("fails-a-check", Outcome::Failed);
    assert_eq!(problems(&check), "two is one");
    let error = assert_always("returns-an-error", Outcome::Failed);
    assert!(problems(&error).starts_with("error: No such file or directory"));
    let code = assert_always("exits-with-3", Outcome::Failed);
    assert_eq!(problems(&code), "it ended with exit code 3");
}

#[test]
fn silence_is_not_success() {
    for name in ["leaves-early", "closes-its-descriptors", "reuses-the-descriptor"] {
        let found = assert_always(name, Outcome::Failed);
        assert!(problems(&found).contains("it ended before its body did"), "{found:#?}");
    }
    assert_always("leaves-when-done", Outcome::Clean);
}

#[test]
fn nonsense_in_the_report_pipe_fails_the_trial() {
    let found = assert_always("reports-nonsense", Outcome::Failed);
    assert!(problems(&found).contains("the report pipe is not readable from line 1 on"));
}

#[test]
fn what_prints_without_end_is_cut() {
    let found = assert_always("prints-100-megabytes", Outcome::Clean);
    // 50 MB in each stream; the lab itself stays small, and so does what it keeps.
    assert!(found.resources.unwrap().peak_kib.max < 64 * 1024, "{found:#?}");
}

#[test]
fn a_panic_is_reported_though_no_descriptor_is_left() {
    let found = assert_always("runs-out-of-descriptors", Outcome::Panicked);
    assert!(found.examples[0].panics[0].contains("no descriptor is left"));
}

#[test]
fn a_trial_sees_an_empty_directory_and_a_scrubbed_environment() {
    let found = assert_always("sees-a-clean-world", Outcome::Clean);
    let lab::Observation::Count { values } = &found.observations["environment"] else {
        panic!("{found:#?}")
    };
    let expected = "HOME LAB_RUN LANG PATH RUST_BACKTRACE TMPDIR";
    assert_eq!(*values, BTreeMap::from([(expected.to_owned(), 5)]));
}

#[test]
fn what_a_part_does_is_for_its_trial_to_judge() {
    assert_always("looks-at-a-part", Outcome::Clean);
}

#[test]
fn children_that_ignore_signals_do_not_outlive_their_trial() {
    let found = assert_always("leaves-a-child", Outcome::Clean);
    let left = found.observations["left"].spread().unwrap();
    assert!(!is_running(left.min) && !is_running(left.max));
}

#[cfg(target_os = "linux")]
#[test]
fn daemons_do_not_outlive_the_run() {
    for name in ["leaves-a-daemon", "leaves-a-quiet-daemon"] {
        let found = assert_always(name, Outcome::Clean);
        let left = found.observations["left"].spread().unwrap();
        assert!(!is_running(left.min) && !is_running(left.max), "{name}");
    }
}

/// Starts trials that wait for long, and waits until two of them run: each names its process and
/// its child's.
fn start_waiting(run: &Run, arguments: &[&str]) -> (std::process::Child, Vec<i64>) {
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
    let run = Run::new();
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
    let run = Run::new();
    let (child, processes) = start_waiting(&run, &["--format", "json"]);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
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
    let run = Run::new();
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
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "and the reader knows why");
    run.assert_nothing_is_left();
}

#[test]
fn one_trial_alone_is_told_in_json_as_well() {
    let chosen = ["--only", "well-behaved", "--trial", "2", "--seed", "7", "--format", "json"];
    let output = Run::new().output(&chosen);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["variant"], &told["trial"]), (&"well-behaved".into(), &2.into()));
    assert_eq!(told["outcome"], "clean");
    assert!(told["observations"].is_object(), "{told:#}");
}

#[test]
fn a_run_can_be_repeated_and_one_trial_of_it_alone() {
    let seeds = |arguments: &[&str]| {
        let output = Run::new().output(&[&["--only", "well-behaved"], arguments].concat());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let observed =
        |text: &str| text.lines().find(|line| line.contains("seed")).unwrap().trim().to_owned();
    let one = seeds(&["--trials", "5", "--seed", "0x7", "--format", "text"]);
    let same = seeds(&["--trials", "5", "--seed", "7", "--format", "text"]);
    assert_eq!(observed(&one), observed(&same));
    assert_eq!(
        seeds(&["--trial", "3", "--seed", "7"]).lines().next(),
        seeds(&["--trial", "3", "--seed", "7"]).lines().next()
    );
    assert_ne!(
        seeds(&["--trial", "3", "--seed", "7"]).lines().next(),
        seeds(&["--trial", "4", "--seed", "7"]).lines().next()
    );
}

#[test]
fn a_failing_trial_comes_with_the_command_that_runs_it_again() {
    let found = assert_always("fails-a-check", Outcome::Failed);
    let example = &found.examples[0];
    assert!(example.rerun.contains("--only fails-a-check --trial 0 --seed "), "{example:#?}");
    let words: Vec<_> = example.rerun.split(" -- ").last().unwrap().split(' ').collect();
    let output = Run::new().output(&words);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("its own seed {}", example.seed)), "{text}");
    assert!(text.contains("two is one"), "{text}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_right() {
    for (arguments, expected) in [
        (&["--trials", "0"][..], "--trials"),
        (&["--only", "wellbehaved"], "did you mean 'well-behaved'?"),
        (&["--only", "*s*", "--trial", "1"], "name it by --only"),
        (&["--trial", "1"], "--only"),
        (&["--seed", "seven"], "a number of 64 bits"),
        (&["--jobs", "0"], "--jobs"),
        (&["--format", "xml"], "possible values"),
    ] {
        let output = Run::new().output(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn a_place_where_no_directory_can_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(experiment()).env("TMPDIR", file.path()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains(file.path().to_str().unwrap()), "{message}");
    assert!(message.contains("TMPDIR"), "{message}");
}

/// A file system without room, in a mount namespace that goes with the command.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let place = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o nr_inodes=1 full {0} && touch {0}/x; exec env TMPDIR={0} {1}",
        place.path().display(),
        experiment().display()
    );
    let unshare = |script: &str| {
        Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", script]).output()
    };
    let mount = format!("mount -t tmpfs -o nr_inodes=1 full {}", place.path().display());
    if !unshare(&mount).is_ok_and(|output| output.status.success()) {
        let reason = "skipped: a_full_disk_is_named: no mount namespace can be made here\n";
        std::io::stderr().write_all(reason.as_bytes()).unwrap();
        return;
    }
    let output = unshare(&script).unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.contains(place.path().to_str().unwrap()), "{message}");
}

#[test]
fn a_listing_runs_nothing() {
    let output = Run::new().output(&["--list", "--format", "json", "--quick"]);
    let declared: lab::results::Declaration = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((declared.id.as_str(), declared.name.as_str()), ("90", "misbehaviour"));
    assert!(declared.variants.iter().all(|variant| variant.trials == 5));
}

#[test]
fn what_is_printed_in_a_pipe_is_plain() {
    let output = Run::new().output(&["--only", "well-behaved,fails-a-check", "--quick"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(['\u{1b}', '│', '┌']), "{text}");
    assert!(text.contains("well-behaved"), "{text}");
    assert!(text.contains("Verdict: supported, because"), "{text}");
}

#[test]
fn what_an_experiment_tells_comes_first_and_only_to_a_person() {
    let arguments = ["--quick", "--only", "panics-elsewhere,well-behaved,aborts"];
    let output = Run::new().output(&[&arguments[..], &["--format", "text"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    let told = [
        "aborts, trial 0:\n",
        "→ aborted (SIGABRT after 3 panics)\n",
        "panics-elsewhere, trial 0:\n  thread 'elsewhere' panicked at",
        "  nobody looks here\n",
        "→ panicked (exit code 0 after a panic)\n",
    ];
    // As it was declared, in one piece, and before anything else.
    assert!(text.starts_with(told[0]), "{text}");
    assert!(told.is_sorted_by_key(|part| place(part)), "{text}");
    assert_eq!(text.matches(", trial 0:\n").count(), 2, "{text}");

    let output = Run::new().output(&[&arguments[..], &["--format", "json"]].concat());
    let json = serde_json::from_slice::<ExperimentResult>(&output.stdout);
    assert!(json.is_ok(), "{json:?}");

    let output = Run::new().output(&["--quick", "--only", "well-behaved", "--format", "text"]);
    assert!(!String::from_utf8(output.stdout).unwrap().contains("trial 0:"));
}
