//! What an answer does not cover can outlive it, or fail unseen. The report of the answer names it.
//!
//! Each test has the thing itself beside the reports: the thread that is alive, the work that failed.

use std::{
    future::pending,
    panic::resume_unwind,
    sync::{Arc, mpsc},
    thread,
};

use futures::executor::block_on;
use sundown::{
    BackgroundTask, NotCovered, RuntimeOwner, Session, TaskGroup, evidence::Unconfirmed,
    teardown_blocking,
};
use tokio::{
    runtime::Builder,
    task::{LocalSet, spawn_local},
};

use crate::fixtures::{PLENTY, multi_thread, on_drop, until};

/// What a task or a destructor does.
type Work = Box<dyn FnOnce() + Send>;

/// Every answer with a report: has the kit do the work, and returns what the report does not cover.
type Answer = fn(Work) -> Vec<NotCovered>;

const ANSWERS: [(&str, Answer); 5] = [
    ("runtime", |work| {
        let owner = RuntimeOwner::builder("owned").start().unwrap();
        block_on(owner.spawn("works", |_| async { work() }).unwrap()).unwrap();
        owner.shutdown_blocking(PLENTY).unwrap().not_covered
    }),
    ("group", |work| {
        let (runtime, group) = (multi_thread(), TaskGroup::new("group"));
        group.spawn_on(runtime.handle(), "works", |_| async { work() }).unwrap();
        let report = group.drain_blocking(PLENTY);
        let (not_covered, result) = (report.not_covered.clone(), report.into_result().unwrap());
        assert_eq!(result.not_covered, not_covered);
        not_covered
    }),
    ("task", |work| {
        let runtime = multi_thread();
        let task = BackgroundTask::spawn_on(runtime.handle(), "works", |_| async { work() });
        block_on(task.shutdown_within(PLENTY)).unwrap().not_covered
    }),
    ("teardown", |work| teardown_blocking(on_drop(work), PLENTY).unwrap().not_covered),
    ("session", |work| {
        let session = Session::new("session").unwrap();
        drop(session.guard(on_drop(work)).unwrap());
        session.close_blocking(PLENTY).unwrap().not_covered
    }),
];

/// Gets every answer, each with work of its own, and checks its report.
fn each_report_names(what: &NotCovered, work: impl Fn() -> Work) {
    for (answer, ask) in ANSWERS {
        let not_covered = ask(work());
        assert!(not_covered.contains(what), "{answer}: {not_covered:?}");
    }
}

#[test]
fn a_thread_that_the_work_started_outlives_every_answer_and_each_report_says_so() {
    let (tell, told) = mpsc::channel();
    each_report_names(&NotCovered::PlainThreads, || {
        let tell = tell.clone();
        Box::new(move || {
            let (release, released) = mpsc::channel::<()>();
            tell.send((release, thread::spawn(move || released.recv().unwrap()))).unwrap();
        })
    });
    for (release, thread) in told.try_iter() {
        assert!(!thread.is_finished());
        release.send(()).unwrap();
        thread.join().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_process_that_the_work_started_outlives_every_answer_and_each_report_says_so() {
    let (tell, told) = mpsc::channel();
    each_report_names(&NotCovered::ChildProcesses, || {
        let tell = tell.clone();
        Box::new(move || {
            tell.send(std::process::Command::new("sleep").arg("1000").spawn().unwrap()).unwrap();
        })
    });
    for mut child in told.try_iter() {
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_task_on_another_runtime_outlives_every_answer_and_each_report_says_so() {
    let elsewhere = multi_thread();
    each_report_names(&NotCovered::OtherRuntimes, || {
        let elsewhere = elsewhere.handle().clone();
        Box::new(move || drop(elsewhere.spawn(pending::<()>())))
    });
    assert_eq!(elsewhere.metrics().num_alive_tasks(), ANSWERS.len());
}

#[test]
fn a_local_task_outlives_every_answer_and_each_report_says_so() {
    let (spawn, mut asked) = tokio::sync::mpsc::unbounded_channel::<()>();
    let alive = Arc::<()>::default();
    let held = Arc::clone(&alive);
    let local = thread::spawn(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            while asked.recv().await.is_some() {
                let held = Arc::clone(&held);
                drop(spawn_local(async move {
                    pending::<()>().await;
                    drop(held);
                }));
            }
        });
    });
    each_report_names(&NotCovered::OtherRuntimes, || {
        let spawn = spawn.clone();
        Box::new(move || spawn.send(()).unwrap())
    });
    // Its own, and one for each task.
    until("the tasks", || Arc::strong_count(&alive) == 2 + ANSWERS.len());
    drop(spawn);
    local.join().unwrap();
    assert_eq!(Arc::strong_count(&alive), 1, "they have ended with their set");
}

#[test]
fn work_that_failed_has_ended_and_each_report_says_so() {
    let (tell, told) = mpsc::channel();
    each_report_names(&NotCovered::Success, || {
        let tell = tell.clone();
        Box::new(move || tell.send(std::fs::read("/no/such/file")).unwrap())
    });
    assert_eq!(told.try_iter().filter(Result::is_err).count(), ANSWERS.len());
}

/// A runtime that goes down, and a teardown, wait for their blocking work.
#[test]
fn a_closure_of_a_member_outlives_a_drain_and_the_report_says_so() {
    let (runtime, group) = (multi_thread(), TaskGroup::new("group"));
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let member = |_| async move {
        tell.send(tokio::task::spawn_blocking(move || released.recv())).unwrap();
    };
    group.spawn_on(runtime.handle(), "member", member).unwrap();
    let report = group.drain_blocking(PLENTY);
    assert!(report.not_covered.contains(&NotCovered::BlockingWork), "{report:?}");
    let closure = told.recv().unwrap();
    assert!(report.still_running.is_empty() && !closure.is_finished());
    release.send(()).unwrap();
    block_on(closure).unwrap().unwrap();
}

#[test]
fn a_clone_outside_outlives_a_teardown_and_a_close_and_each_report_says_so() {
    let clone = Arc::new(());
    let report = teardown_blocking(Arc::clone(&clone), PLENTY).unwrap();
    assert!(report.not_covered.contains(&NotCovered::Clones), "{report}");

    let builder = || Session::builder("session");
    // Evidence speaks only of what it looks at.
    for builder in [builder(), builder().evidence(|| Ok::<(), Unconfirmed>(()))] {
        let session = builder.start().unwrap();
        drop(session.guard(Arc::clone(&clone)).unwrap());
        let report = session.close_blocking(PLENTY).unwrap();
        assert!(report.not_covered.contains(&NotCovered::Clones), "{report}");
    }
    assert_eq!(Arc::strong_count(&clone), 1, "what it holds is still open");
}

/// The control: a panic of a task that was spawned through the kit is an error.
#[test]
fn a_panic_of_a_foreign_task_is_no_error_and_the_report_says_so() {
    let owner = RuntimeOwner::builder("panics").start().unwrap();
    let foreign = owner.handle().unwrap().spawn(async { resume_unwind(Box::new("unseen")) });
    assert!(owner.block_on(foreign).unwrap().unwrap_err().is_panic());
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert!(report.not_covered.contains(&NotCovered::ForeignPanics), "{report}");

    owner.restart().unwrap();
    drop(owner.spawn("seen", |_| async { resume_unwind(Box::new("seen")) }).unwrap());
    owner.shutdown_blocking(PLENTY).unwrap_err();
}
