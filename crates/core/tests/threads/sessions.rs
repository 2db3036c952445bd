//! Sessions, by themselves and beside everything else.

use std::time::Duration;

use futures::executor::block_on;
use sundown::{
    evidence::Unconfirmed,
    group::TaskGroup,
    limit::PLENTY,
    runtime::RuntimeOwner,
    session::Session,
    shutdown::{GracefulShutdown, shutdown_in_order},
    task::BackgroundTask,
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
