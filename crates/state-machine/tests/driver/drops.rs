//! The future of a run, dropped at every await in turn.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::executor::block_on;
use state_machine::{
    driver::Driver,
    start::resolve_at_start,
    transition::{Effect, Severity, State},
};

use crate::{
    faults::{STEPS, must_be_defined, must_be_settled, reaching},
    script::{Answer, App, settings},
};

/// Polls a run so many times and drops it; whether it had come to its end.
fn drop_after(driver: &Driver<App>, polls: usize) -> bool {
    let mut run = Box::pin(driver.run());
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).any(|_| matches!(run.as_mut().poll(&mut context), Poll::Ready(_)))
}

/// Drops a run of such an application after 0, 1, 2, … polls, until it comes to its end before, and
/// counts in which states that was.
fn at_every_await(app: impl Fn() -> Arc<App>, mut seen: impl FnMut(State)) -> usize {
    for polls in 0.. {
        let app = app();
        let driver = Driver::new(Arc::clone(&app), settings());
        let ended = drop_after(&driver, polls);
        let what = format!("dropped after {polls} polls");
        if polls == 0 {
            assert!(app.world().calls.is_empty(), "it did something before it was polled");
            continue;
        }
        let state = driver.progress().borrow().state;
        must_be_defined(&app, &driver, &what);
        must_be_settled(&app, &driver, &what);
        if ended {
            return polls;
        }
        seen(state);
    }
    unreachable!("a run ends")
}

/// Each call gives way before it acts and after: so the run is dropped before each action, between
/// the action and its answer, and after it.
#[test]
fn a_run_that_is_dropped_at_any_await_leaves_a_defined_state() {
    let (mut recoverable, mut unrecoverable) = (0, 0);
    let polls = at_every_await(
        || App::new().usually(Answer::Turns(2)),
        |state| match state {
            State::Failed(Severity::Recoverable) => recoverable += 1,
            State::Failed(Severity::Unrecoverable) => unrecoverable += 1,
            _ => panic!("{state:?}"),
        },
    );
    // Eleven calls with four awaits each; the request and all before it are four calls.
    assert_eq!((recoverable, unrecoverable, polls), (4 * 4, 7 * 4, 11 * 4 + 1));
}

#[test]
fn so_does_one_that_is_dropped_on_the_way_to_a_failure_of_each_step() {
    for (at, (_, effect)) in STEPS.into_iter().enumerate() {
        let app = || reaching(effect).usually(Answer::Turns(1)).answering(effect, Answer::Fails);
        // Each of the steps before it has awaits.
        assert!(at_every_await(app, drop) > at, "{effect:?}");
    }
}

/// A request that is dropped when the server has acted: only the server knows, and it is asked.
#[test]
fn a_logout_that_was_dropped_when_the_server_had_acted_is_found_out_by_the_next_start() {
    let app = App::new().usually(Answer::Turns(1));
    let driver = Driver::new(Arc::clone(&app), settings());
    let mut run = Box::pin(driver.run());
    let mut context = Context::from_waker(Waker::noop());
    while app.world().token == state_machine::application::Token::Valid {
        assert!(run.as_mut().poll(&mut context).is_pending());
    }
    drop(run);
    assert_eq!(driver.progress().borrow().state, State::Failed(Severity::Recoverable));
    assert!(app.world().syncing && app.world().user_id && app.world().intent);
    app.heal();
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, state_machine::start::Resolution::LoggedOut), "{resolved:?}");
    assert!(!app.world().user_id && !app.world().intent);
}

/// The same, found out by another run in the same process.
#[test]
fn or_by_another_run() {
    let app = App::new().answering(Effect::RequestLogout, Answer::ActsAndNever);
    let driver = Driver::new(Arc::clone(&app), settings());
    assert!(!drop_after(&driver, 1));
    app.heal();
    block_on(driver.run()).unwrap();
    assert!(!app.world().user_id && !app.world().intent && !app.world().session);
}

#[test]
fn dropping_restarts_sync_even_where_that_panics() {
    let app = App::new()
        .answering(Effect::StopSync, Answer::Never)
        .answering(Effect::RestartSync, Answer::Panics);
    let driver = Driver::new(Arc::clone(&app), settings());
    assert!(!drop_after(&driver, 1));
    assert!(!driver.is_under_way());
    assert_eq!(
        driver.progress().borrow().message,
        "the logout was given up half-way: not logged out, as far as is known; the session goes on; \
         besides, restarting the sync service failed: it panicked: it is scripted to panic"
    );
}
