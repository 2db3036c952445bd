//! What is not there, cannot be built or cannot be read: a clear error each, and nothing that looks like an answer.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::command::{Ran, check, command, fixture};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

#[track_caller]
fn assert_refused(ran: &Ran, code: i32, reason: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.contains(reason), "no {reason:?} in {ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
}

/// A folder with a package without dependencies, whose `src/main.rs` is this.
fn package(main: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest =
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    write(&folder.path().join("Cargo.toml"), manifest.as_bytes());
    fs::create_dir(folder.path().join("src")).expect("a folder");
    write(&folder.path().join("src/main.rs"), main.as_bytes());
    folder
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("written");
}

/// A program that rustc builds with these flags.
fn built(folder: &Path, flags: &[&str]) -> PathBuf {
    let (source, program) = (folder.join("hello.rs"), folder.join("hello"));
    write(&source, b"fn main() { drop(vec![String::new()]); }\n");
    let status = Command::new("rustc").args(flags).arg("-o").arg(&program).arg(&source).status();
    assert!(status.expect("rustc").success());
    program
}

fn check_binary(path: &Path) -> Ran {
    check(&["--binary", path.to_str().expect("a path")])
}

#[test]
fn a_file_that_is_not_elf() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    write(&script, b"#!/bin/sh\nexit 0\n");
    assert_refused(&check_binary(&script), 1, "script: not an ELF file");
}

#[test]
fn a_device_without_an_end() {
    assert_refused(&check_binary(Path::new("/dev/zero")), 1, "/dev/zero: not an ELF file");
}

#[test]
fn a_file_that_is_not_there() {
    assert_refused(&check(&["--binary", "/nonexistent"]), 1, "cannot read /nonexistent");
}

#[test]
fn a_program_that_can_be_read_is_and_each_damage_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = built(folder.path(), &[]);
    // The control of the refusals below.
    let control = check_binary(&program);
    assert!(control.is_success() && control.stdout.contains("nothing in it can"), "{control:?}");

    let good = fs::read(&program).expect("a program");
    let mut foreign = good.clone();
    foreign[18] = 183; // e_machine: AArch64
    write(&program, &foreign);
    assert_refused(&check_binary(&program), 1, "a program for Aarch64");
    write(&program, &good[..good.len() / 2]);
    assert_refused(&check_binary(&program), 1, "a damaged ELF file");
}

#[test]
fn a_stripped_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = built(folder.path(), &["-Cstrip=symbols"]);
    assert_refused(&check_binary(&program), 1, "it was stripped");
}

#[test]
fn an_optimized_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = built(folder.path(), &["-Copt-level=3"]);
    assert_refused(&check_binary(&program), 1, "optimized");
}

#[test]
fn a_program_that_is_not_rust() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("hello.c"), folder.path().join("hello"));
    write(&source, b"int main(void) { return 0; }\n");
    let status = Command::new("cc").arg("-o").arg(&program).arg(&source).status();
    assert!(status.expect("cc").success());
    assert_refused(&check_binary(&program), 1, "no destructor of Rust in it");
}

#[test]
fn a_package_that_does_not_build() {
    let folder = package("fn main() { missing(); }\n");
    let ran = in_folder(folder.path(), &[]);
    assert_refused(&ran, 1, "binary app does not build");
    assert!(ran.stderr.contains("cannot find function `missing`"), "{ran:?}");
}

#[test]
fn a_manifest_that_is_none() {
    let folder = package("fn main() {}\n");
    write(&folder.path().join("Cargo.toml"), b"[package\n");
    assert_refused(&in_folder(folder.path(), &[]), 1, "cargo cannot read the workspace");
    fs::remove_file(folder.path().join("Cargo.toml")).expect("removed");
    assert_refused(&in_folder(folder.path(), &[]), 1, "could not find `Cargo.toml`");
}

#[test]
fn a_target_that_is_not_there() {
    let mistyped = fixture(&["--bin", "poled"]);
    assert_refused(&mistyped, 2, "there is no binary `poled`; did you mean `pooled`?");
    assert_refused(&fixture(&["--test", "any"]), 2, "there is no test `any`; there is: it");
    let package = fixture(&["--package", "fixtrue"]);
    assert_refused(&package, 2, "did you mean `fixture`?");
    assert_refused(&fixture(&[]), 2, "several targets could be meant:\n  binary `conditions`");
}

#[test]
fn options_that_contradict_each_other() {
    let ran = check(&["--bin", "a", "--lib"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = check(&["--deny=perhaps"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn a_profile_that_optimizes_and_strips_is_overridden() {
    let folder = package("fn main() { drop(vec![String::new()]); }\n");
    let manifest = folder.path().join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).expect("a manifest");
    text.push_str("\n[profile.dev]\nopt-level = 3\nstrip = true\nlto = true\ndebug = false\n");
    write(&manifest, text.as_bytes());
    let ran = in_folder(folder.path(), &[]);
    assert!(ran.is_success() && ran.stdout.contains("nothing in it can"), "{ran:?}");
}

#[test]
fn an_interrupt_ends_the_build_with_the_check() {
    let folder = package("fn main() {}\n");
    // A build script that says which process it is, and does not end.
    let script = "fn main() {\n    \
        std::fs::write(\"running.new\", std::process::id().to_string()).unwrap();\n    \
        std::fs::rename(\"running.new\", \"running\").unwrap();\n    \
        loop { std::thread::park(); }\n}\n";
    write(&folder.path().join("build.rs"), script.as_bytes());
    let running = folder.path().join("running");
    let mut child = command()
        .current_dir(folder.path())
        .env_remove("CARGO_TARGET_DIR")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    let said = BufReader::new(child.stderr.take().expect("standard error"));
    wait_for("the build script", || running.exists());
    let script = fs::read_to_string(&running).expect("a process").parse().expect("a number");
    let script = Pid::from_raw(script).expect("a process");
    assert!(test_kill_process(script).is_ok(), "the build script is not running");

    kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    wait_for("the end of the build script", || test_kill_process(script).is_err());
    // Before that it may have waited for a lock of cargo's, which other tests use as well.
    let mut lines = said.lines().map(|line| line.expect("what cargo said"));
    assert!(lines.any(|line| line.contains("Compiling app")));
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < limit, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs the check in a folder, with a target directory there.
fn in_folder(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = command();
    command.args(arguments).current_dir(folder).env_remove("CARGO_TARGET_DIR");
    crate::command::ran(&mut command)
}

#[test]
fn an_object_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let object = built(folder.path(), &["--emit", "obj"]);
    assert_refused(&check_binary(&object), 1, "an object file, not linked yet");
}

#[test]
fn a_program_whose_tokio_has_other_names_gets_no_all_clear() {
    let report = fixture(&["--bin", "destructors", "--format", "json"]).json();
    let mut program = fs::read(report["program"].as_str().expect("a path")).expect("the program");
    // In a mangled name, a number stands before each word.
    for (name, other) in [
        ("11spawn_inner", "11spawn_other"),
        ("7current", "7curious"),
        ("17spawn_local_inner", "17spawn_local_other"),
        ("4wait", "4rest"),
        ("13enter_runtime", "13enter_runaway"),
        ("8block_on", "8stand_by"),
        ("14block_in_place", "14stand_in_place"),
    ] {
        let places: Vec<_> = program
            .windows(name.len())
            .enumerate()
            .filter(|(_, it)| *it == name.as_bytes())
            .collect();
        let places: Vec<_> = places.into_iter().map(|(place, _)| place).collect();
        for place in places {
            program[place..place + name.len()].copy_from_slice(other.as_bytes());
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let renamed = folder.path().join("renamed");
    write(&renamed, &program);
    assert_refused(&check_binary(&renamed), 1, "renamed: it has Tokio's runtime, and none of the");
}

#[test]
fn a_report_of_the_surest_denies_and_accepts_nothing() {
    for option in ["--deny", "--accept"] {
        assert_refused(&check(&["--sure", "will", option]), 2, "cannot be used with");
    }
}

/// What is wrong with the other files is said before cargo is called.
#[test]
fn nothing_is_built_for_input_that_cannot_be_used() {
    let folder = package("fn main() { missing(); }\n");
    write(&folder.path().join("accepted.txt"), b"");
    write(&folder.path().join("damaged.txt"), b"app::Store\n");
    write(&folder.path().join("constructors.toml"), b"values = []\n");
    for (arguments, code, reason) in [
        (&["--only", ""][..], 2, "--only needs a part of a type's name"),
        (&["--only", " "], 2, "--only needs a part of a type's name"),
        (
            &["--deny", "--baseline", "acepted.txt"],
            2,
            "there is no baseline `acepted.txt`; did you mean `accepted.txt`?",
        ),
        (
            &["--deny", "--baseline", "missing/accepted.txt"],
            2,
            "there is no baseline `missing/accepted.txt`; `--accept` writes such a file",
        ),
        (
            &["--accept", "--baseline", "missing/accepted.txt"],
            2,
            "cannot write missing/accepted.txt: there is no folder missing",
        ),
        (&["--accept", "--baseline", "src"], 2, "cannot write src: it is a folder"),
        (&["--deny", "--baseline", "damaged.txt"], 1, "damaged.txt:1: `app::Store` is not a code"),
        (&["--try", "missing.toml"], 1, "cannot read missing.toml"),
        (&["--try", "constructors.toml"], 1, "no `[[values]]`"),
    ] {
        let ran = in_folder(folder.path(), arguments);
        assert_refused(&ran, code, reason);
        assert!(!ran.stderr.contains("Compiling"), "{ran:?}");
    }
    // The control: it is cargo that says so of the package itself.
    let ran = in_folder(folder.path(), &["--deny", "--baseline", "accepted.txt"]);
    assert_refused(&ran, 1, "does not build");
    assert!(ran.stderr.contains("Compiling"), "{ran:?}");
}

#[test]
fn a_baseline_of_the_folder_above_is_told_of() {
    let folder = package("fn main() { missing(); }\n");
    let note = |ran: &Ran| ran.stderr.contains("sundown-check.txt is not read");
    let below = folder.path().join("src");
    assert!(!note(&in_folder(&below, &["--deny"])));
    write(&folder.path().join("sundown-check.txt"), b"");
    assert!(note(&in_folder(&below, &["--deny"])));
    assert!(!note(&in_folder(folder.path(), &["--deny"])));
}

#[test]
fn nobody_reads_standard_error() {
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let ended = command().args(["--binary", "/nonexistent"]).stderr(full).status();
    assert_eq!(ended.expect("the command").code(), Some(1));
}
