//! Hosts in C and in Python, which use the interface as it is meant: they are compiled or run by whatever is
//! there, also under valgrind and with AddressSanitizer. What is not there is skipped, and a line says so.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where cargo puts the libraries beside the tests.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a program is there. If not, says what is skipped.
fn is_there(program: &str, what: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: {what}: there is no {program}");
    }
    is_there
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Compiles a program with the library in it, with further options.
///
/// # Errors
///
/// What the compiler says.
fn compiled(source: &str, called: &str, options: &[&str]) -> Result<PathBuf, String> {
    compiled_with(&[&libraries().join("libsundown_ffi.a")], source, called, options)
}

fn compiled_with(
    libraries: &[&Path],
    source: &str,
    called: &str,
    options: &[&str],
) -> Result<PathBuf, String> {
    let host = Path::new(env!("CARGO_TARGET_TMPDIR")).join(called);
    let output = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g"])
        .args(options)
        .arg("-I")
        .arg(package().join("include"))
        .arg(package().join(source))
        .args(libraries)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&host)
        .output()
        .unwrap();
    if output.status.success() { Ok(host) } else { Err(said(&output)) }
}

/// The library that is loaded.
fn shared_library() -> PathBuf {
    let name = format!("{}sundown_ffi{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    libraries().join(name)
}

fn one_case(host: &Path, with: &[&str], case: &str) -> Output {
    let mut words = with.iter().map(AsRef::as_ref).chain([host.as_os_str()]);
    Command::new(words.next().unwrap()).args(words).arg(case).output().unwrap()
}

/// Runs each case of a host, in a process of its own.
fn every_case(host: &Path, with: impl Fn(&str) -> Vec<&'static str>) {
    every_case_of(host, |case| one_case(host, &with(case), case));
}

fn every_case_of(host: &Path, run: impl Fn(&str) -> Output) {
    let list = Command::new(host).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.lines().count() > 3, "{list}");
    let mut failed = Vec::new();
    for case in list.lines() {
        let output = run(case);
        if !output.status.success() {
            failed.push(format!("{case}: {}\n{}", output.status, said(&output)));
        }
        if output.stdout.starts_with(b"skipped: ") {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_host_in_c_gets_what_the_header_says() {
    if is_there("cc", "the host in C") {
        every_case(&compiled("tests/c/host.c", "host", &[]).unwrap(), |_| Vec::new());
    }
}

#[test]
fn a_host_that_closes_the_library_may_fork_before_and_after() {
    if !is_there("cc", "the host in C that loads the library") {
        return;
    }
    let host = compiled_with(&[], "tests/c/unload.c", "unload", &[]).unwrap();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("copy-of-the-library");
    fs::copy(shared_library(), &copy).unwrap();
    every_case_of(&host, |case| {
        Command::new(&host).arg(shared_library()).arg(&copy).arg(case).output().unwrap()
    });
}

#[test]
fn the_example_does_what_the_book_says() {
    if !is_there("cc", "the example in C") {
        return;
    }
    let example = compiled("examples/import.c", "import", &[]).unwrap();
    let output = Command::new(example).args(["one", "two"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("one: 1000 rows"), "{said}");
    assert!(
        said.contains("ok: `importer` has ended") && said.contains("2 ran, 0 did not"),
        "{said}"
    );
}

#[test]
fn valgrind_finds_neither_a_wrong_access_nor_a_leak() {
    if !is_there("cc", "the host in C") || !is_there("valgrind", "the host in C under valgrind") {
        return;
    }
    let host = compiled("tests/c/host.c", "host-valgrind", &[]).unwrap();
    let options = |case: &str| {
        // A forked child has copies of what its parent's threads had, and no thread to free them.
        let leaks = if case.contains("forked") { "--leak-check=no" } else { "--leak-check=full" };
        let lost = ["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"];
        let others = ["valgrind", "--quiet", "--error-exitcode=99", "--fair-sched=yes", leaks];
        [&others[..], &lost].concat()
    };
    for control in ["control_wrong_access", "control_leak"] {
        assert_eq!(one_case(&host, &options(control), control).status.code(), Some(99));
    }
    every_case(&host, options);
}

#[test]
fn address_sanitizer_finds_no_wrong_access() {
    if !is_there("cc", "the host in C") {
        return;
    }
    match compiled("tests/c/host.c", "host-sanitized", &["-fsanitize=address,undefined"]) {
        Ok(host) => {
            let control = one_case(&host, &[], "control_wrong_access");
            assert!(said(&control).contains("heap-use-after-free"), "{}", said(&control));
            every_case(&host, |_| Vec::new());
        }
        Err(said) if said.contains("asan") => {
            println!("skipped: the host in C with AddressSanitizer: the compiler has none");
        }
        Err(said) => panic!("{said}"),
    }
}

#[test]
fn the_header_is_valid_cpp() {
    if !is_there("c++", "the header in C++") {
        return;
    }
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.cpp");
    fs::write(&source, "#include \"sundown.h\"\nint main() { return SUNDOWN_CODE_OK; }\n").unwrap();
    let output = Command::new("c++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(package().join("include"))
        .arg(source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn python_uses_it_through_ctypes() {
    if !is_there("python3", "the host in Python") {
        return;
    }
    let output = Command::new("python3")
        .arg(package().join("tests/python/host.py"))
        .env("SUNDOWN_FFI", shared_library())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
