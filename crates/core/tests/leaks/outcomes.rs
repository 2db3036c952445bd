//! How a test ends besides: it panics, returns an error, aborts its process, or needs no allowance.

use std::{
    io::{self, BufRead as _, BufReader},
    process::{self, Stdio},
    thread,
    time::Duration,
};

use crate::{NEXTEST, ONE_BY_ONE, command, run};

#[sundown::test]
#[should_panic(expected = "as it should")]
async fn a_test_may_have_to_panic() {
    panic!("as it should");
}

#[sundown::test]
#[should_panic(expected = "an error")]
fn an_error_is_a_failure() -> io::Result<()> {
    Err(io::Error::other("no"))
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
    assert!(!output.status.success() && said.contains("did not run"), "{said}");
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
    use sundown::testing::{Options, leak_free};
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
