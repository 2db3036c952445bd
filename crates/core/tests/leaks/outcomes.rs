//! How a test ends besides: it panics, returns an error, aborts its process, or needs no allowance.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{self, Stdio},
    thread,
    time::Duration,
};

use sundown::testing::{Options, leak_free};

use crate::{NEXTEST, ONE_BY_ONE, command, run};

#[sundown::test]
#[should_panic(expected = "as it should")]
async fn a_test_may_have_to_panic() {
    panic!("as it should");
}

#[ignore = "returns an error"]
#[sundown::test]
fn returns_an_error() -> io::Result<()> {
    Err(io::Error::other("no"))
}

#[test]
fn an_error_is_a_failure() {
    let (output, said) = run("outcomes::returns_an_error", &[]);
    assert!(!output.status.success() && said.contains("the test returned an error"), "{said}");
}

#[ignore = "leaves a thread behind and does not panic"]
#[sundown::test]
#[should_panic]
fn leaks_and_does_not_panic() {
    thread::spawn(thread::park);
}

#[ignore = "leaves a thread behind and panics"]
#[sundown::test]
#[should_panic(expected = "as it should")]
fn leaks_and_panics() {
    thread::spawn(thread::park);
    panic!("as it should");
}

#[ignore = "leaves a task behind and panics"]
#[sundown::test]
#[should_panic = "as it should"]
async fn leaks_a_task_and_panics() {
    tokio::spawn(std::future::pending::<()>());
    panic!("as it should");
}

#[ignore = "panics with another message"]
#[sundown::test]
#[should_panic(expected = "as it should")]
fn panics_otherwise() {
    panic!("as it did");
}

#[ignore = "leaves a thread behind"]
#[test]
#[should_panic(expected = "left behind")]
fn leaks_in_a_plain_test() {
    leak_free(Options::new(), || drop(thread::spawn(thread::park)));
}

#[ignore = "leaves a thread behind"]
#[tokio::test]
async fn leaks_in_a_test_with_a_runtime() {
    leak_free(Options::new(), || drop(thread::spawn(thread::park)));
}

#[ignore = "leaves a thread behind and panics"]
#[test]
fn leaks_and_panics_in_a_plain_test() {
    leak_free(Options::new().should_panic("as it should"), || {
        thread::spawn(thread::park);
        panic!("as it should");
    });
}

#[test]
fn the_report_of_a_leak_is_never_the_panic_that_is_expected() {
    let tests = [
        ("leaks_and_does_not_panic", "the test did not panic, which it should"),
        ("leaks_and_panics", "the test left behind"),
        ("leaks_a_task_and_panics", "the test left behind"),
        ("panics_otherwise", "panic: as it did\n  expected: as it should\n"),
        ("leaks_in_a_plain_test", "the test left behind"),
        ("leaks_in_a_test_with_a_runtime", "the test left behind"),
        ("leaks_and_panics_in_a_plain_test", "the test left behind"),
    ];
    let check = |test: &str, expected: &str, environment: &[_]| {
        let (output, said) = run(&format!("outcomes::{test}"), environment);
        assert!(!output.status.success() && said.contains(expected), "{test}: {said}");
    };
    // Side by side: most of the time they wait for something to end that does not.
    thread::scope(|scope| {
        for (test, expected) in tests {
            for environment in [&[][..], &NEXTEST, &ONE_BY_ONE] {
                scope.spawn(move || check(test, expected, environment));
            }
        }
    });
}

#[ignore = "aborts its process"]
#[sundown::test]
fn aborts() {
    process::abort();
}

#[ignore = "ends its process"]
#[sundown::test]
fn exits() {
    process::exit(0);
}

#[ignore = "prints"]
#[sundown::test]
fn prints_and_fails() {
    println!("seen {}", 1 + 1);
    panic!("it failed");
}

#[ignore = "has an allowance that it does not need"]
#[sundown::test(allow(thread = "kept-", reason = "of a library that is gone"))]
fn needs_no_allowance() {
    println!("it ran");
}

#[ignore = "leaves something else than what is allowed behind"]
#[sundown::test(allow(thread = "kept-", reason = "another thread"))]
fn needs_another_allowance() {
    thread::Builder::new().name("other".to_owned()).spawn(thread::park).unwrap();
}

#[ignore = "takes a second"]
#[sundown::test]
async fn time_passes() {
    let began = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(began.elapsed() >= Duration::from_millis(100));
}

/// It aborts the harness: there is no process of its own.
#[test]
fn tests_that_run_one_by_one_have_no_process_of_their_own() {
    use std::os::unix::process::ExitStatusExt as _;
    let (output, said) = run("outcomes::aborts", &ONE_BY_ONE);
    assert_eq!(output.status.signal(), Some(6), "{said}");
}

#[test]
fn a_test_that_ends_its_process_has_failed() {
    let (output, said) = run("outcomes::aborts", &[]);
    assert!(!output.status.success() && said.contains("ended by signal 6"), "{said}");
    let (output, said) = run("outcomes::exits", &[]);
    let expected = "the process of `outcomes::exits` ended with code 0 before the test had ended";
    assert!(!output.status.success() && said.contains(expected), "{said}");
}

#[ignore = "says that it has passed"]
#[sundown::test]
fn writes_to_its_standard_input_and_exits() {
    let _ = rustix::io::write(rustix::stdio::stdin(), b"passed");
    process::exit(0);
}

#[ignore = "replaces its standard input"]
#[sundown::test]
fn replaces_its_standard_input() {
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null").unwrap()).unwrap();
}

#[ignore = "reads its standard input"]
#[sundown::test]
fn reads_its_standard_input() {
    assert_eq!(io::read_to_string(io::stdin()).unwrap(), "for the test");
}

#[test]
fn standard_input_is_the_harnesss_and_not_where_the_answer_goes() {
    let (output, said) = run("outcomes::writes_to_its_standard_input_and_exits", &[]);
    assert!(!output.status.success() && said.contains("ended with code 0"), "{said}");
    let (output, said) = run("outcomes::replaces_its_standard_input", &[]);
    assert!(output.status.success(), "{said}");
    let mut harness = command("outcomes::reads_its_standard_input", &[]);
    let mut harness = harness.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    harness.stdin.take().unwrap().write_all(b"for the test").unwrap();
    assert!(harness.wait().unwrap().success());
}

#[ignore = "calls `leak_free` on another thread"]
#[test]
fn calls_on_another_thread() {
    thread::scope(|scope| drop(scope.spawn(|| leak_free(Options::new(), || {})).join()));
    let named = thread::Builder::new().name("helper".to_owned());
    thread::scope(|scope| {
        named.spawn_scoped(scope, || leak_free(Options::new(), || {})).unwrap().join().unwrap();
    });
}

#[test]
fn a_call_on_another_thread_says_what_to_do() {
    let (output, said) = run("outcomes::calls_on_another_thread", &[("RUST_TEST_THREADS", "2")]);
    for expected in [
        "`leak_free` was called on a thread without a name. Call it on the test's own thread",
        "`helper` did not run in a process of its own. There may be no such test, because",
    ] {
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
    // Where the test has the process for itself, it does not matter.
    let (output, said) = run("outcomes::calls_on_another_thread", &NEXTEST);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_program_that_was_built_again_is_still_the_one_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    // The test below deletes the program that it is.
    let mut harness = process::Command::new(&program);
    let arguments = ["--ignored", "--test-threads=2", "outcomes::deletes_its_program"];
    let harness = harness.args(arguments).env_remove("NEXTEST_EXECUTION_MODE");
    let output = harness.env("SUNDOWN_DELETED", &program).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed") && !program.exists(), "{said}");
}

#[ignore = "deletes its program"]
#[test]
fn deletes_its_program() {
    let program = std::env::var_os("SUNDOWN_DELETED").unwrap();
    // It comes here twice.
    let _ = std::fs::remove_file(program);
    leak_free(Options::new(), || {});
}

#[ignore = "never ends"]
#[sundown::test]
fn never_ends() {
    println!("process {}", process::id());
    loop {
        thread::park();
    }
}

#[test]
fn a_test_ends_with_the_harness_that_is_killed() {
    let mut harness = command("outcomes::never_ends", &[("RUST_TEST_NOCAPTURE", "1")]);
    let mut harness = harness.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(harness.stdout.take().unwrap()).lines();
    let mut ids = lines.filter_map(|line| Some(line.unwrap().strip_prefix("process ")?.to_owned()));
    let test = ids.next().unwrap();
    assert_ne!(test, harness.id().to_string());
    harness.kill().unwrap();
    harness.wait().unwrap();
    // Its end of the pipe is closed.
    assert_eq!(ids.next(), None);
}

#[test]
fn what_a_test_prints_is_passed_on_when_it_fails() {
    let (output, said) = run("outcomes::prints_and_fails", &[]);
    assert!(
        !output.status.success()
            && said.contains("---- outcomes::prints_and_fails stdout ----\nseen 2"),
        "{said}"
    );
    assert!(said.contains("it failed") && !said.contains("left behind"), "{said}");
}

#[test]
fn an_allowance_allows_what_it_names_and_is_told_apart_when_it_is_not_needed() {
    for environment in [&[][..], &NEXTEST, &ONE_BY_ONE] {
        let (output, said) = run("outcomes::needs_another_allowance", environment);
        assert!(!output.status.success() && said.contains("thread `other`"), "{said}");
        let (output, said) = run("outcomes::needs_no_allowance", environment);
        assert!(output.status.success() && !said.contains("left behind:"), "{said}");
    }
}

#[test]
fn the_clock_of_a_test_runs() {
    let (output, said) = run("outcomes::time_passes", &[]);
    assert!(output.status.success(), "{said}");
}

#[ignore = "has two bodies, of which the second would not run"]
#[test]
fn has_two_bodies() {
    leak_free(Options::new(), || {});
    leak_free(Options::new(), || panic!("the second body"));
}

#[test]
fn a_second_body_fails_the_test_instead_of_being_left_out() {
    let (output, said) = run("outcomes::has_two_bodies", &[("RUST_TEST_THREADS", "2")]);
    assert!(!output.status.success() && said.contains("for the second time"), "{said}");
    // Where the test has the process for itself, both run.
    let (output, said) = run("outcomes::has_two_bodies", &NEXTEST);
    assert!(!output.status.success() && said.contains("the second body"), "{said}");
}
