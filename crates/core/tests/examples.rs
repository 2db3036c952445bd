//! Every example ends by itself, successfully, and prints the text in its head.
#![cfg(not(loom))]
// They need evidence and signals.
#![cfg(any(target_os = "linux", target_os = "macos"))]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use sundown::limit::PLENTY;

/// The sources, in the order of their numbers.
fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut sources: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    sources.sort();
    sources
}

fn name(source: &Path) -> &str {
    source.file_stem().and_then(|name| name.to_str()).unwrap()
}

/// The executable, next to this test. `cargo test` builds the examples, `cargo test --test` does not.
fn executable(source: &Path) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("examples").join(name(source));
    assert!(path.exists(), "{} is missing: cargo build -p core --examples", path.display());
    let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let current = changed(&path) >= changed(source);
    assert!(current, "{} is out of date: cargo build -p core --examples", path.display());
    path
}

/// The text block in the head of a source: what the example promises to print.
fn promised(source: &Path) -> Option<String> {
    let source = fs::read_to_string(source).unwrap();
    let head = source.lines().map_while(|line| line.strip_prefix("//!"));
    let head: Vec<_> = head.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let begin = head.iter().position(|line| *line == "```text")?;
    let text = head[begin + 1..].iter().take_while(|line| **line != "```");
    Some(text.map(|line| format!("{line}\n")).collect())
}

fn run(source: &Path) -> Output {
    let mut command = Command::new(executable(source));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.env("RUST_BACKTRACE", "0").spawn().unwrap();
    let process = Pid::from_child(&child);
    let (ended, has_ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let output = child.wait_with_output();
        let _ = ended.send(());
        output.unwrap()
    });
    if has_ended.recv_timeout(PLENTY) == Err(RecvTimeoutError::Timeout) {
        kill_process(process, Signal::KILL).unwrap();
    }
    waiting.join().unwrap()
}

#[test]
fn every_example_prints_what_its_head_promises() {
    let sources = sources();
    assert!(!sources.is_empty(), "there are no examples");
    // Without its feature it is not built.
    let is_built = |path: &Path| cfg!(feature = "service") || !path.ends_with("09_service.rs");
    // Beside each other: most of the time they wait.
    thread::scope(|scope| {
        for source in sources.iter().filter(|source| is_built(source)) {
            scope.spawn(|| prints_what_its_head_promises(source));
        }
    });
}

fn prints_what_its_head_promises(source: &Path) {
    let promised = promised(source).expect("the head of an example says what it prints");
    let mut ran = run(source);
    // On a busy machine it is seen that Tokio counts a task for a moment after it has ended.
    if name(source) == "17_server" && ran.stdout != promised.as_bytes() {
        ran = run(source);
    }
    let Output { status, stdout, stderr } = ran;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{}: {status}\n{stdout}\n{stderr}", name(source));
    assert_eq!(stdout, promised, "{}\n{stderr}", name(source));
}

/// `panic` is what a stranger runs first.
#[test]
fn every_other_example_has_a_number_of_its_own() {
    let sources = sources();
    let numbered = sources.iter().filter(|source| name(source) != "panic");
    for (at, source) in numbered.enumerate() {
        assert!(name(source).starts_with(&format!("{:02}_", at + 1)), "{}", source.display());
    }
}
