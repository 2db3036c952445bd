//! Sessions, by themselves and beside everything else.

use std::{panic::resume_unwind, thread, time::Duration};

use futures::executor::block_on;
use sundown::{
    evidence::Unconfirmed,
    group::TaskGroup,
    limit::PLENTY,
    runtime::RuntimeOwner,
    session::{CloseErrorKind, Session},
    shutdown::{GracefulShutdown, ShutdownErrorKind, shutdown_in_order},
    task::BackgroundTask,
    teardown::{TeardownError, teardown_blocking},
};

use crate::{
    answers::{Connection, SHORT, both_flavours, busy, of_the_test, used},
    look::Looks,
};

pub fn after_a_session_was_closed_no_thread_is_left() {
    let runtime = of_the_test();
    let used = || {
        let session = Session::new("session").unwrap();
        drop([session.guard(Connection).unwrap(), session.guard(Connection).unwrap()]);
        session
    };
    let looks = Looks::in_rounds(|looks| {
        let session = used();
        let _ = session.close_blocking(PLENTY).unwrap();
        looks.look();
        // The session is held: it is its close that ends the threads, not its drop.
        drop(session);
        let session = used();
        let _ = block_on(session.close(PLENTY)).unwrap();
        looks.look();
        drop(session);
        let session = used();
        let _ = runtime.block_on(session.close(Duration::MAX)).unwrap();
        looks.look();
        drop(session);
        // The last handle goes while the session closes.
        let session = Session::new("held").unwrap();
        let handle = session.guard(Connection).unwrap();
        runtime.spawn(async move { drop(handle) });
        let _ = session.close_blocking(PLENTY).unwrap();
        looks.look();
    });
    looks.assert_none();
}

pub fn after_a_session_with_a_runtime_and_evidence_was_closed_no_thread_is_left() {
    let looks = Looks::in_rounds(|looks| {
        let owner = RuntimeOwner::builder("owned").current_thread().start().unwrap();
        used(&owner);
        let session = Session::builder("session")
            .runtime(owner.clone())
            .evidence(|| Ok::<(), Unconfirmed>(()))
            .start()
            .unwrap();
        drop(session.guard(Connection).unwrap());
        let _ = session.close_blocking(PLENTY).unwrap();
        looks.look();
    });
    looks.assert_none();
}

/// A hook runs on a thread or a runtime; either way it has ended.
pub fn after_a_session_with_hooks_was_closed_no_thread_is_left() {
    let runtime = of_the_test();
    let looks = Looks::in_rounds(|looks| {
        for handle in [None, Some(runtime.handle().clone())] {
            let builder = Session::builder("session");
            let session = match handle {
                Some(handle) => builder.runtime(handle),
                None => builder,
            };
            let session = session.before_close(async || tokio::task::yield_now().await);
            let session = session.start().unwrap();
            drop(session.guard(Connection).unwrap());
            let _ = session.close_blocking(PLENTY).unwrap();
            looks.look();
        }
    });
    looks.assert_none();
}

/// Panics without a word when it is dropped.
struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        resume_unwind(Box::new("bad"));
    }
}

pub fn after_an_error_that_says_that_everything_has_ended_no_thread_is_left() {
    let runtime = of_the_test();
    let looks = Looks::in_rounds(|looks| {
        let owner = RuntimeOwner::builder("owned").workers(2).start().unwrap();
        drop(owner.spawn("bad", |_| async { drop(Bad) }).unwrap());
        let error = owner.shutdown_blocking(PLENTY).unwrap_err();
        assert!(matches!(error.kind, ShutdownErrorKind::Panicked(_)), "{error}");
        looks.look();
        let group = TaskGroup::new("group");
        group.spawn_on(runtime.handle(), "bad", |_| async { drop(Bad) }).unwrap();
        group.drain_blocking(PLENTY).into_result().unwrap_err();
        looks.look();
        let error = teardown_blocking(Bad, PLENTY).unwrap_err();
        assert!(matches!(error, TeardownError::DestructorPanicked { .. }), "{error}");
        looks.look();
        let session = Session::new("session").unwrap();
        drop(session.guard(Bad).unwrap());
        let error = session.close_blocking(PLENTY).unwrap_err();
        assert!(matches!(error.kind, CloseErrorKind::Panicked), "{error}");
        looks.look();
    });
    looks.assert_none();
}

/// Each of the test's threads closes a session of its own; the last answer leaves nothing.
pub fn after_sessions_were_closed_at_the_same_time_no_thread_is_left() {
    let looks = Looks::in_rounds(|looks| {
        let close = || {
            let session = Session::new("session").unwrap();
            drop(session.guard(Connection).unwrap());
            let _ = session.close_blocking(PLENTY).unwrap();
            let _ = teardown_blocking(Connection, PLENTY).unwrap();
        };
        let threads = [thread::spawn(close), thread::spawn(close)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        looks.look();
    });
    looks.assert_none();
}

pub fn after_a_close_that_timed_out_was_repeated_no_thread_is_left() {
    let looks = Looks::in_rounds(|looks| {
        let session = Session::new("session").unwrap();
        let handle = session.guard(Connection).unwrap();
        session.close_blocking(Duration::ZERO).unwrap_err();
        session.close_blocking(SHORT).unwrap_err();
        drop(handle);
        let _ = session.close_blocking(PLENTY).unwrap();
        looks.look();
    });
    looks.assert_none();
}

/// Two sessions, a runtime, a group and a task, of which each waits beside the others.
pub fn after_everything_has_answered_no_thread_is_left() {
    let looks = Looks::in_rounds(|looks| {
        let [_, workers] = both_flavours();
        let owner = workers.start().unwrap();
        busy(&owner);
        let runtime = owner.handle().unwrap();
        let group = TaskGroup::new("group");
        group.spawn_on(&runtime, "member", |stop| stop).unwrap();
        let task = BackgroundTask::spawn_on(&runtime, "task", |stop| stop);
        let sessions = [Session::new("one").unwrap(), Session::new("other").unwrap()];
        drop(sessions.each_ref().map(|session| session.guard(Connection).unwrap()));
        let all: [&dyn GracefulShutdown; 5] = [&sessions[0], &group, &task, &sessions[1], &owner];
        let side_by_side = all.map(|component| component.shutdown_within(PLENTY));
        let answers = block_on(futures::future::join_all(side_by_side));
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        looks.look();
    });
    looks.assert_none();
    let looks = Looks::in_rounds(|looks| {
        let owner = RuntimeOwner::builder("owned").workers(2).start().unwrap();
        let session = Session::new("session").unwrap();
        drop(session.guard(Connection).unwrap());
        let in_order: [&dyn GracefulShutdown; 2] = [&session, &owner];
        let answers = block_on(shutdown_in_order(in_order, PLENTY));
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        looks.look();
    });
    looks.assert_none();
}
