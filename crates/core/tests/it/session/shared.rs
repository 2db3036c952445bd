//! Sessions that share a runtime, and foreign tasks of a runtime that a session owns.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use futures::executor::block_on;
use sundown::{
    NotCovered,
    limit::within,
    runtime::{RuntimeOwner, State},
    session::{CloseErrorKind, CloseReport, Confirmation, NotStarted, Session},
    shutdown::{CutOff, GracefulShutdown, ShutdownErrorKind},
};

use super::in_the_way_within;
use crate::fixtures::{PLENTY, SHORT, multi_thread, obeys, stuck};

fn runtimes() -> [RuntimeOwner; 2] {
    let builder = || RuntimeOwner::builder("test");
    [builder().current_thread().start().unwrap(), builder().workers(2).start().unwrap()]
}

fn session_on(owner: &RuntimeOwner) -> Session {
    Session::builder("test").runtime(owner.clone()).start().unwrap()
}

fn shared_with(report: &CloseReport) -> Option<usize> {
    report.not_covered.iter().find_map(|item| match item {
        NotCovered::SharedRuntime { sessions } => Some(*sessions),
        _ => None,
    })
}

#[test]
fn of_two_sessions_on_a_runtime_the_last_to_close_takes_it_down_and_the_first_says_so() {
    for owner in runtimes() {
        let (first, second) = (session_on(&owner), session_on(&owner));
        let still_serves = owner.spawn("serves the second", obeys).unwrap();
        let report = first.close_blocking(PLENTY).unwrap();
        assert_eq!(
            (report.confirmation, shared_with(&report)),
            (Confirmation::HandlesOnly, Some(1))
        );
        assert!(report.to_string().contains("1 other session"), "{report}");
        assert_eq!(owner.stats().state, State::Running);
        let report = second.close_blocking(PLENTY).unwrap();
        assert_eq!((report.confirmation, shared_with(&report)), (Confirmation::OwnRuntime, None));
        assert_eq!(owner.stats().state, State::Ended);
        assert_eq!(block_on(still_serves), Ok(()));
        let again = first.close_blocking(PLENTY).unwrap();
        assert_eq!(shared_with(&again), None, "it has ended by now");
    }
}

#[test]
fn a_repeated_close_takes_down_what_the_other_session_left() {
    for owner in runtimes() {
        let (closed, dropped) = (session_on(&owner), session_on(&owner));
        let goes_on = owner.spawn("goes on", obeys).unwrap();
        assert_eq!(shared_with(&closed.close_blocking(PLENTY).unwrap()), Some(1));
        drop(dropped);
        assert_eq!(owner.stats().state, State::Running, "nobody has closed it");
        let again = closed.close_blocking(PLENTY).unwrap();
        assert_eq!(again.confirmation, Confirmation::OwnRuntime);
        assert_eq!(owner.stats().state, State::Ended);
        assert_eq!(block_on(goes_on), Ok(()));
    }
}

#[test]
fn of_sessions_that_close_at_once_one_takes_the_runtime_down() {
    for owner in runtimes() {
        let sessions = [(); 4].map(|()| session_on(&owner));
        let reports = thread::scope(|scope| {
            let closing =
                sessions.each_ref().map(|session| scope.spawn(|| session.close_blocking(PLENTY)));
            closing.map(|closing| closing.join().unwrap().unwrap())
        });
        let owners = reports.iter().filter(|it| it.confirmation == Confirmation::OwnRuntime);
        assert_eq!((owners.count(), owner.stats().state), (1, State::Ended));
    }
}

#[test]
fn a_task_of_a_shared_runtime_can_close_a_session_that_leaves_it_running() {
    for owner in runtimes() {
        let (first, second) = (session_on(&owner), session_on(&owner));
        let closes = owner.spawn("closes", |_| async move { first.close(PLENTY).await }).unwrap();
        let _ = block_on(closes).unwrap().unwrap();
        let _ = second.close_blocking(PLENTY).unwrap();
    }
}

#[test]
fn a_session_on_a_runtime_that_has_ended_is_refused_with_the_reason() {
    for owner in runtimes() {
        let _ = session_on(&owner).close_blocking(PLENTY).unwrap();
        let refused = Session::builder("late").runtime(owner).start().unwrap_err();
        assert!(matches!(refused, NotStarted::NoRuntime { .. }), "{refused}");
        assert!(refused.to_string().contains("shut down"), "{refused}");
    }
}

#[test]
fn a_foreign_task_that_needs_a_while_to_end_is_not_cut_off() {
    for owner in runtimes() {
        let (session, ended) = (session_on(&owner), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&ended);
        owner.handle().unwrap().spawn(async move {
            // Longer than a plain shutdown would give it.
            within(Duration::from_millis(300), pending::<()>()).await;
            ends.store(true, Ordering::SeqCst);
        });
        let report = session.close_blocking(PLENTY).unwrap();
        assert_eq!((report.foreign, report.aborted), (0, 0), "{report}");
        assert!(ended.load(Ordering::SeqCst));
    }
}

#[test]
fn a_foreign_task_that_never_ends_is_cut_off_and_counted() {
    for owner in runtimes() {
        let session = session_on(&owner);
        owner.handle().unwrap().spawn(pending::<()>());
        // On a busy machine the limit may be too short for the rest; the next close answers then.
        let report = match session.close_blocking(50 * SHORT) {
            Ok(report) => report,
            Err(_) => session.close_blocking(PLENTY).unwrap(),
        };
        assert_eq!((report.foreign, report.aborted), (1, 0), "{report}");
        assert_ne!(report.cut_off, CutOff::Nothing);
        assert!(report.to_string().contains("1 foreign task cut off"), "{report}");
        let again = block_on(session.shutdown_within(PLENTY)).unwrap();
        assert_eq!(again.foreign, 1, "{again}");
    }
}

/// The end of the runtime is delayed by blocking work, so that the error can be read.
#[test]
fn a_runtime_that_does_not_end_is_reported_with_the_time_that_its_foreign_tasks_were_given() {
    let limit = 5 * SHORT;
    let given = |owner: RuntimeOwner, has_hook: bool| {
        let (session, (stuck, blocks)) = (session_on(&owner), stuck());
        if has_hook {
            session.before_close(async || ()).unwrap();
        }
        owner.handle().unwrap().spawn_blocking(blocks);
        stuck.has_begun.recv().unwrap();
        let is_runtime = |kind: &CloseErrorKind| match kind {
            CloseErrorKind::Runtime(error) => matches!(error.kind, ShutdownErrorKind::TimedOut),
            _ => false,
        };
        let error = in_the_way_within(&session, limit, is_runtime);
        drop(stuck.let_go);
        let _ = session.close_blocking(PLENTY).unwrap();
        let time = error.seen.foreign_time.unwrap();
        assert!(error.to_string().contains(&format!("been given {time:.1?}")), "{error}");
        time
    };
    for has_hook in [false, true] {
        for owner in runtimes() {
            let most = if has_hook { limit / 10 } else { limit / 2 };
            assert!(given(owner, has_hook) <= most, "after a hook: {has_hook}");
        }
        let builder = RuntimeOwner::builder("test").foreign_time(limit);
        assert_eq!(given(builder.start().unwrap(), has_hook), limit, "as the builder says");
    }
}

#[test]
fn a_report_counts_the_tasks_of_a_runtime_of_somebody_else_if_there_are_any() {
    let runtime = multi_thread();
    let on_tokio = || Session::builder("test").runtime(runtime.handle().clone()).start().unwrap();
    let alive = || {
        let report = on_tokio().close_blocking(PLENTY).unwrap();
        assert!(report.not_covered.contains(&NotCovered::BlockingWork), "{report}");
        report.not_covered.iter().find_map(|item| match item {
            NotCovered::ForeignTasks { alive } => Some(*alive),
            _ => None,
        })
    };
    assert_eq!(alive(), None);
    runtime.spawn(pending::<()>());
    assert_eq!(alive(), Some(1));
}

#[test]
fn what_holds_a_runtime_at_rest_is_not_counted_as_a_foreign_task() {
    let owner = RuntimeOwner::builder("test").workers(2).start().unwrap();
    let session = Session::builder("test").runtime(owner.current().unwrap()).start().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    owner.handle().unwrap().spawn(async move {
        begun.send(()).unwrap();
        // It does not yield.
        let _ = released.recv();
    });
    has_begun.recv().unwrap();
    let limit = Duration::from_millis(300);
    let _timed_out = owner.shutdown_blocking(limit).unwrap_err();
    let report = session.close_blocking(PLENTY).unwrap();
    let alive = report.not_covered.iter().find_map(|item| match item {
        NotCovered::ForeignTasks { alive } => Some(*alive),
        _ => None,
    });
    assert_eq!(alive, Some(1), "{report}");
    release.send(()).unwrap();
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}
