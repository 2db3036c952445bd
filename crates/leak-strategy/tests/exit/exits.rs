//! From where a plan can be executed, and how the process ends.

use std::{
    cell::RefCell,
    env,
    future::pending,
    process::{self, Command},
    sync::mpsc,
    thread,
};

use leak_strategy::plan::{Exit, ExitPlan};
use tokio::runtime::Builder;

use crate::{CODE, Noisy, PLAN, Plan, SHORT, TEAR_DOWN, add, add_noisy, park_forever, run};

/// A plan that ends with a normal exit.
const NORMAL: Plan = Plan { exit: Exit::Normal, ..PLAN };

#[test]
fn if_two_threads_leave_the_first_decides_and_the_plan_runs_once() {
    let exited = run(PLAN, |plan| {
        let (second, begun) = (plan.clone(), mpsc::channel());
        add(plan, "once", TEAR_DOWN, move |_exit| {
            println!("torn down");
            // This is the second call, on another thread.
            thread::spawn(move || {
                begun.0.send(()).unwrap();
                second.leave(CODE + 1)
            });
            Ok(begun.1.recv()?)
        });
    });
    exited.expect_code();
    assert_eq!(exited.stdout, "torn down\n");
}

#[test]
fn a_task_may_leave_from_its_worker() {
    let exited = run(PLAN, |plan| {
        let plan = plan.clone();
        add_noisy(&plan, "client", TEAR_DOWN, &[]);
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.spawn(async move { plan.leave(CODE) });
        runtime.block_on(pending())
    });
    exited.expect_code();
    assert_eq!(exited.stdout, "dropped client\n");
}

/// Forks a child that leaves by this plan, and returns its exit code.
fn leaves_in_a_child(plan: &ExitPlan) -> i32 {
    match fork::fork().unwrap() {
        fork::Fork::Child => plan.leave(CODE + 1),
        fork::Fork::Parent(child) => fork::WEXITSTATUS(fork::waitpid(child).unwrap()),
    }
}

#[test]
fn a_forked_child_leaves_at_once_and_tears_nothing_of_its_parent_down() {
    let exited = run(PLAN, |plan| {
        let inherited = plan.clone();
        add(plan, "once", TEAR_DOWN, move |_exit| {
            // While the parent leaves.
            println!("torn down, and {}", leaves_in_a_child(&inherited));
            Ok(())
        });
        println!("{}", leaves_in_a_child(plan));
    });
    exited.expect_code();
    assert_eq!(exited.stdout, format!("{0}\ntorn down, and {0}\n", CODE + 1));
}

#[test]
fn a_program_that_returns_or_panics_runs_the_plan() {
    let returned = run(PLAN, |plan| {
        add_noisy(plan, "client", TEAR_DOWN, &[]);
        plan.run(|| {
            println!("the program");
            CODE
        })
    });
    let panicked = run(PLAN, |plan| {
        add_noisy(plan, "client", TEAR_DOWN, &[]);
        plan.run(|| panic!("the program is broken"))
    });
    returned.expect_code();
    assert_eq!(returned.stdout, "the program\ndropped client\n");

    assert_eq!(panicked.code, Some(101));
    assert_eq!(panicked.ledger.as_ref().unwrap().code, 101);
    assert_eq!(panicked.stdout, "dropped client\n");
    assert!(panicked.stderr.contains("the program is broken"));
}

thread_local! {
    static LOCAL: RefCell<Option<Noisy>> = const { RefCell::new(None) };
}

/// Registers an `atexit` handler, and a destructor of a thread-local.
fn set_hooks() {
    extern "C" fn hook() {
        println!("hook");
    }
    LOCAL.set(Some(Noisy("local")));
    shutdown_hooks::add_shutdown_hook(hook);
}

/// The last program is the control: it runs both.
#[test]
fn an_immediate_exit_runs_no_hooks_and_a_normal_exit_no_destructors_of_thread_locals() {
    let immediate = run(PLAN, |_| {
        set_hooks();
        print!("an unfinished line is flushed");
    });
    let normal = run(NORMAL, |_| set_hooks());
    let std = run(PLAN, |_| {
        set_hooks();
        process::exit(CODE)
    });
    assert_eq!(immediate.expect_code().exit, Exit::Immediate);
    assert_eq!(normal.expect_code().exit, Exit::Normal);
    assert_eq!(immediate.stdout, "an unfinished line is flushed");
    assert_eq!(normal.stdout, "hook\n");
    assert_eq!(std.stdout, "dropped local\nhook\n");
}

#[test]
fn a_hook_that_hangs_is_cut_off_at_the_limit() {
    extern "C" fn hangs() {
        println!("hanging");
        park_forever()
    }
    let exited = run(Plan { limit: SHORT, ..NORMAL }, |_| {
        shutdown_hooks::add_shutdown_hook(hangs);
    });
    exited.expect_code();
    assert_eq!(exited.stdout, "hanging\n");
}

/// Leaves in its destructor.
struct Leaves(ExitPlan);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.leave(CODE)
    }
}

thread_local! {
    static LEAVES: RefCell<Option<Leaves>> = const { RefCell::new(None) };
}

#[test]
fn the_destructor_of_a_thread_local_may_leave() {
    let exited = run(PLAN, |plan| {
        let plan = plan.clone();
        add_noisy(&plan, "client", TEAR_DOWN, &[]);
        thread::spawn(|| LEAVES.set(Some(Leaves(plan)))).join().unwrap();
    });
    exited.expect_code();
    assert_eq!(exited.stdout, "dropped client\n");
}

/// The test harness owns the main thread, so the program is an example.
#[test]
fn so_may_the_destructor_of_a_thread_local_of_the_main_thread() {
    let test = env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join("thread_local");
    for arguments in [&[][..], &["normal"]] {
        let ended = Command::new(&program).args(arguments).output();
        let ended = ended.expect("cargo build -p leak-strategy --examples");
        assert_eq!(ended.status.code(), Some(CODE), "{ended:?}");
        assert_eq!(ended.stdout, b"main returns\ntorn down\n");
    }
}
