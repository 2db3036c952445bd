//! Where a plan may be carried out, and how the process ends.

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

use crate::{CODE, Noisy, PLAN, Plan, SHORT, TEAR_DOWN, add, add_noisy, departure, park_forever};

/// A plan that ends with a normal exit.
const NORMAL: Plan = Plan { exit: Exit::Normal, ..PLAN };

#[test]
fn a_plan_without_resources_leaves_with_its_code() {
    let immediate = departure(PLAN, |_| ());
    let normal = departure(NORMAL, |_| ());
    assert!(immediate.as_asked().entries.is_empty());
    assert_eq!(immediate.as_asked().exit, Exit::Immediate);
    assert_eq!(normal.as_asked().exit, Exit::Normal);
}

#[test]
fn if_two_threads_leave_the_first_decides_and_the_plan_runs_once() {
    let left = departure(PLAN, |plan| {
        let (second, begun) = (plan.clone(), mpsc::channel());
        add(plan, "once", TEAR_DOWN, move |_exit| {
            println!("torn down");
            // The first call has decided. This is the second, on another thread.
            thread::spawn(move || {
                begun.0.send(()).unwrap();
                second.leave(CODE + 1)
            });
            Ok(begun.1.recv()?)
        });
    });
    left.as_asked();
    assert_eq!(left.stdout, "torn down\n");
}

#[test]
fn a_task_may_leave_from_its_worker() {
    let left = departure(PLAN, |plan| {
        let plan = plan.clone();
        add_noisy(&plan, "client", TEAR_DOWN, &[]);
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.spawn(async move { plan.leave(CODE) });
        runtime.block_on(pending())
    });
    left.as_asked();
    assert_eq!(left.stdout, "dropped client\n");
}

#[test]
fn a_program_that_returns_or_panics_runs_the_plan() {
    let returned = departure(PLAN, |plan| {
        add_noisy(plan, "client", TEAR_DOWN, &[]);
        plan.run(|| {
            println!("the program");
            CODE
        })
    });
    let panicked = departure(PLAN, |plan| {
        add_noisy(plan, "client", TEAR_DOWN, &[]);
        plan.run(|| panic!("the program is broken"))
    });
    returned.as_asked();
    assert_eq!(returned.stdout, "the program\ndropped client\n");

    assert_eq!(panicked.code, Some(101));
    assert_eq!(panicked.ledger.as_ref().unwrap().code, 101);
    assert_eq!(panicked.stdout, "dropped client\n");
    assert!(panicked.stderr.contains("the program is broken"));
}

thread_local! {
    static LOCAL: RefCell<Option<Noisy>> = const { RefCell::new(None) };
}

/// What a normal exit runs: an `atexit` handler, and the destructor of a thread-local.
fn set_hooks() {
    extern "C" fn hook() {
        println!("hook");
    }
    LOCAL.set(Some(Noisy("local")));
    shutdown_hooks::add_shutdown_hook(hook);
}

/// The last program is the control: both run there.
#[test]
fn an_immediate_exit_runs_no_hooks_and_a_normal_exit_no_destructors_of_thread_locals() {
    let immediate = departure(PLAN, |_| {
        set_hooks();
        print!("an unfinished line is flushed");
    });
    let normal = departure(NORMAL, |_| set_hooks());
    let std = departure(PLAN, |_| {
        set_hooks();
        process::exit(CODE)
    });
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
    let left = departure(Plan { limit: SHORT, ..NORMAL }, |_| {
        shutdown_hooks::add_shutdown_hook(hangs);
    });
    left.as_asked();
    assert_eq!(left.stdout, "hanging\n");
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
    let left = departure(PLAN, |plan| {
        let plan = plan.clone();
        add_noisy(&plan, "client", TEAR_DOWN, &[]);
        thread::spawn(|| LEAVES.set(Some(Leaves(plan)))).join().unwrap();
    });
    left.as_asked();
    assert_eq!(left.stdout, "dropped client\n");
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
