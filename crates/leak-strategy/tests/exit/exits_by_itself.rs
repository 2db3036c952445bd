//! Programs that exit the process inside `ExitPlan::run`, as some event loops do.

use std::{
    io::{self, Write as _},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use leak_strategy::{
    ledger::{Outcome, Reason},
    plan::{Exit, ExitPlan},
};

use crate::{
    CODE, Exited, LEAK, PLAN, Plan, SHORT, SLACK, TEAR_DOWN, add, add_noisy, example, run,
};

/// What the line on standard error begins with.
const SAYS: &str = "error: the program exits the process inside `ExitPlan::run`";

/// The process exited by itself, with `CODE`, and nothing was torn down.
#[track_caller]
fn expect_exit_by_itself(exited: &Exited) {
    assert_eq!(exited.code, Some(CODE), "{}", exited.stderr);
    assert!(exited.took < SHORT + SLACK, "it took {:?}", exited.took);
    assert!(exited.ledger.is_none());
    assert_eq!(exited.stdout, "");
}

fn add_two(plan: &ExitPlan) {
    add_noisy(plan, "runtime", TEAR_DOWN, &[]);
    add_noisy(plan, "client", LEAK, &["runtime"]);
}

#[test]
fn a_program_that_exits_by_itself_is_told_what_was_not_torn_down() {
    let here = run(PLAN, |plan| {
        add_two(plan);
        plan.run(|| process::exit(CODE))
    });
    let on_another_thread = run(PLAN, |plan| {
        add_two(plan);
        plan.run(|| {
            thread::spawn(|| process::exit(CODE)).join().unwrap();
            unreachable!()
        })
    });
    for exited in [here, on_another_thread] {
        expect_exit_by_itself(&exited);
        let lines: Vec<_> = exited.stderr.lines().filter(|line| line.starts_with(SAYS)).collect();
        let [line] = &*lines else { panic!("one line: {}", exited.stderr) };
        assert!(line.contains("Not torn down: `runtime`, `client`. Call `leave`"), "{line}");
    }
}

/// The first is the recipe.
#[test]
fn a_program_that_leaves_or_has_nothing_to_tear_down_is_told_nothing() {
    let leaves = run(PLAN, |plan| {
        add_two(plan);
        plan.run(|| plan.leave(CODE))
    });
    let normally = run(Plan { exit: Exit::Normal, ..PLAN }, |plan| {
        add_two(plan);
        plan.run(|| CODE)
    });
    let has_nothing = run(PLAN, |plan| plan.run(|| process::exit(CODE)));
    for exited in [&leaves, &normally] {
        exited.expect_code();
        assert_eq!(exited.stdout, "dropped runtime\n");
        assert!(!exited.stderr.contains(SAYS), "{}", exited.stderr);
    }
    expect_exit_by_itself(&has_nothing);
    assert!(!has_nothing.stderr.contains(SAYS), "{}", has_nothing.stderr);
}

#[test]
fn a_forked_child_that_exits_is_told_nothing() {
    let exited = run(PLAN, |plan| {
        add_two(plan);
        plan.run(|| match fork::fork().unwrap() {
            fork::Fork::Child => process::exit(0),
            fork::Fork::Parent(child) => {
                fork::waitpid(child).unwrap();
                plan.leave(CODE)
            }
        })
    });
    exited.expect_code();
    assert!(!exited.stderr.contains(SAYS), "{}", exited.stderr);
}

/// Whoever exits while a plan is executed, as another library's handler of the same signal does.
#[test]
fn an_exit_during_a_plan_waits_for_it_and_the_plan_decides_on_the_code() {
    let exits = |plan: &ExitPlan| {
        add_noisy(plan, "runtime", TEAR_DOWN, &[]);
        add(plan, "client", TEAR_DOWN, |_exit| {
            let (sender, exits) = mpsc::channel();
            thread::spawn(move || {
                sender.send(()).unwrap();
                process::exit(CODE + 1)
            });
            exits.recv()?;
            // If the process ended, it would do so in this time.
            thread::sleep(Duration::from_millis(200));
            Ok(())
        });
    };
    let immediately = run(PLAN, exits);
    let normally = run(Plan { exit: Exit::Normal, ..PLAN }, exits);
    for exited in [&immediately, &normally] {
        assert_eq!(exited.expect_code().entries.len(), 2);
        assert_eq!(exited.outcome_of("client"), (Outcome::TornDown, None));
        assert_eq!(exited.stdout, "dropped runtime\n");
    }
}

#[test]
fn a_teardown_that_exits_has_failed_and_the_others_are_torn_down() {
    let exited = run(PLAN, |plan| {
        add_noisy(plan, "runtime", TEAR_DOWN, &[]);
        add(plan, "window", TEAR_DOWN, |_exit| process::exit(CODE + 1));
        add_noisy(plan, "client", TEAR_DOWN, &[]);
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of("window"), (Outcome::Failed, Some(&Reason::Exited)));
    assert_eq!(exited.stdout, "dropped client\ndropped runtime\n");
    let said = "was not torn down: its teardown exits the process";
    assert!(exited.stderr.contains(said), "{}", exited.stderr);
}

/// Standard error is a pipe that is not read before the process has ended.
#[test]
fn an_exit_does_not_wait_for_standard_error() {
    let exited = run(PLAN, |plan| {
        add_two(plan);
        plan.run(|| {
            let (sender, is_locked) = mpsc::channel();
            thread::spawn(move || {
                let mut locked = io::stderr().lock();
                sender.send(()).unwrap();
                // More than the pipe takes.
                locked.write_all(&vec![b'.'; 1 << 24]).unwrap();
            });
            is_locked.recv().unwrap();
            process::exit(CODE)
        })
    });
    expect_exit_by_itself(&exited);
}

#[test]
fn an_event_loop_that_exits_by_itself_leaves_in_its_last_event() {
    let run = |arguments: &[&str]| {
        let ended = example("event_loop", arguments);
        assert!(ended.status.success(), "{ended:?}");
        (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let (printed, said) = run(&[]);
    assert_eq!(printed, "loop: opened a window\nloop: exiting\nthe cache is written\n");
    assert_eq!(said, "");
    let (printed, said) = run(&["forgets"]);
    assert_eq!(printed, "loop: opened a window\n");
    assert!(said.starts_with(SAYS) && said.contains("`cache`"), "{said}");
}

/// Whenever in the login that is: it is taken down, or the plan says that nothing confirms it. Its folder says if a file
/// is still open.
#[test]
fn an_event_loop_that_ends_during_a_login_takes_it_down() {
    for _ in 0..3 {
        let ended = example("gui", &["impatient"]);
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), "loop: exiting\n");
        let said = String::from_utf8(ended.stderr).unwrap();
        let is_unconfirmed = said.contains("the evidence does not confirm it");
        assert!(said.is_empty() || is_unconfirmed && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn an_event_loop_with_logins_leaves_nothing() {
    let ended = example("gui", &[]);
    assert!(ended.status.success(), "{ended:?}");
    let source = include_str!("../../examples/gui.rs");
    let (_, head) = source.split_once("//! ```text\n").unwrap();
    let (head, _) = head.split_once("//! ```\n").unwrap();
    let expected = head.replace("//! ", "");
    let expected = match cfg!(any(target_os = "linux", target_os = "macos")) {
        true => expected,
        false => expected.replace("Ok(Evidence)", "Ok(OwnRuntime)"),
    };
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), expected);
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}
