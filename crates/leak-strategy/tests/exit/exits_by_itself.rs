//! Programs that exit the process inside `ExitPlan::run`, as some event loops do.

use std::{
    env,
    io::{self, Write as _},
    process::{self, Command},
    sync::mpsc,
    thread,
};

use leak_strategy::plan::{Exit, ExitPlan};

use crate::{CODE, Exited, LEAK, PLAN, Plan, SHORT, SLACK, TEAR_DOWN, add_noisy, run};

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
    let test = env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join("event_loop");
    let run = |arguments: &[&str]| {
        let ended = Command::new(&program).args(arguments).output();
        let ended = ended.expect("cargo build -p leak-strategy --examples");
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
