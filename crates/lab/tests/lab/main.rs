//! The lab against everything that a trial, its surroundings and its user may do to it.
//!
//! The experiments are those of `examples`, run as a user would run them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod misbehaviour;
mod programs;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    thread,
    time::{Duration, Instant},
};

use lab::results::{Declaration, ExperimentResult, TrialExample, VariantResult};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// How long to wait for what must happen soon, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// An experiment of `examples`, with a temporary directory that must be empty after each run.
struct Run {
    experiment: PathBuf,
    temporary: TempDir,
}

impl Run {
    fn of(name: &str) -> Self {
        // Beside this test: `cargo test` builds examples, `cargo test --test` alone does not.
        let test = std::env::current_exe().unwrap();
        let experiment = test.parent().unwrap().with_file_name("examples").join(name);
        assert!(
            experiment.exists(),
            "{} is missing: cargo build -p lab --examples",
            experiment.display()
        );
        Self { experiment, temporary: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.experiment);
        command.args(arguments).env("TMPDIR", self.temporary.path());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.finish(&mut self.command(arguments))
    }

    fn finish(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap();
        self.assert_nothing_is_left();
        output
    }

    /// What a successful run prints.
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let printed = self.text(&[&["--format", "json", "--quick"], arguments].concat());
        serde_json::from_str(&printed).unwrap()
    }

    /// The results of all variants but these, each of which must be as predicted.
    fn all_but(&self, left_out: &[&str]) -> BTreeMap<String, VariantResult> {
        let declared: Declaration = self.json(&["--list"]);
        let names = declared.variants.iter().map(|variant| &*variant.name);
        let names: Vec<_> = names.filter(|name| !left_out.contains(name)).collect();
        let result: ExperimentResult = self.json(&["--only", &names.join(",")]);
        let variants = result.variants.into_iter().filter(|it| names.contains(&&*it.name));
        let variants = variants.inspect(|it| assert!(it.predicted && it.trials == 5, "{it:#?}"));
        variants.map(|variant| (variant.name.clone(), variant)).collect()
    }

    fn assert_nothing_is_left(&self) {
        until("the temporary directory is empty", || entries(self.temporary.path()).is_empty());
    }
}

/// The one trial that is shown of a variant.
fn example(variant: &VariantResult) -> &TrialExample {
    let [example] = &variant.examples[..] else { panic!("{variant:#?}") };
    example
}

/// The end of that trial, its panics and its problems, in one line.
fn end(variant: &VariantResult) -> String {
    let TrialExample { ending, panics, problems, .. } = example(variant);
    [std::slice::from_ref(ending), panics, problems].concat().join("; ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
}

fn is_running(process: i64) -> bool {
    let process = i32::try_from(process).unwrap();
    // A zombie that nobody has waited for yet is no longer running.
    let zombie = fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z')));
    !zombie && kill(Pid::from_raw(process), None).is_ok()
}
