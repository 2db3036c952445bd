//! The future of a run is dropped at every await.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::executor::block_on;
use state_machine::{
    application::AccessToken,
    driver::Driver,
    recovery::{Resolution, resolve_at_start},
    transition::{Effect, Severity, State},
};

use crate::{
    faults::{STEPS, must_be_defined, must_be_resolved, reaching},
    script::{Answer, App, driver, settings},
};

/// Polls a run this often and drops it. Returns whether it had ended.
fn drop_after(driver: &Driver<App>, polls: usize) -> bool {
    let mut run = Box::pin(driver.run());
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).any(|_| matches!(run.as_mut().poll(&mut context), Poll::Ready(_)))
}

/// Drops runs of an application after 0, 1, 2, … polls, until a run ends first. Reports the state of
/// each dropped run, and returns the number of polls to the end.
fn at_every_await(app: impl Fn() -> Arc<App>, mut seen: impl FnMut(State)) -> usize {
    let mut polls = 0;
    loop {
        let app = app();
        let driver = driver(&app);
        let ended = drop_after(&driver, polls);
        let what = format!("dropped after {polls} polls");
        if polls == 0 {
            assert!(app.world().calls.is_empty(), "it did something before it was polled");
        } else {
            let state = driver.progress().borrow().state;
            must_be_defined(&app, &driver, &what);
            must_be_resolved(&app, &driver, &what);
            if ended {
                return polls;
            }
            seen(state);
        }
        polls += 1;
    }
}

/// Each call yields before and after it acts, so a run is dropped before and after each action.
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
    // Eleven calls with four awaits each. The request is the fourth call.
    assert_eq!((recoverable, unrecoverable, polls), (4 * 4, 7 * 4, 11 * 4 + 1));
}

#[test]
fn so_does_one_that_is_dropped_before_a_step_fails() {
    for (at, (_, effect)) in STEPS.into_iter().enumerate() {
        let app = || reaching(effect).usually(Answer::Turns(1)).answering(effect, Answer::Fails);
        // Each earlier step has awaits.
        assert!(at_every_await(app, drop) > at, "{effect:?}");
    }
}

#[test]
fn the_next_start_resolves_a_logout_that_was_dropped_after_the_server_had_acted() {
    let app = App::new().usually(Answer::Turns(1));
    let driver = driver(&app);
    let mut run = Box::pin(driver.run());
    let mut context = Context::from_waker(Waker::noop());
    while app.world().token == AccessToken::Valid {
        assert!(run.as_mut().poll(&mut context).is_pending());
    }
    drop(run);
    assert_eq!(driver.progress().borrow().state, State::Failed(Severity::Recoverable));
    assert!(app.world().syncing && app.world().user_id && app.world().intent);
    app.heal();
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::LoggedOut), "{resolved:?}");
    assert!(!app.world().user_id && !app.world().intent);
}

#[test]
fn so_does_another_run() {
    let app = App::new().answering(Effect::RequestLogout, Answer::ActsAndNever);
    let driver = driver(&app);
    assert!(!drop_after(&driver, 1));
    app.heal();
    let _ = block_on(driver.run()).unwrap();
    assert!(!app.world().user_id && !app.world().intent && !app.world().session);
}

#[test]
fn a_dropped_run_ends_even_if_the_restart_of_sync_panics() {
    let app = App::new()
        .answering(Effect::StopSync, Answer::Never)
        .answering(Effect::RestartSync, Answer::Panics);
    let driver = driver(&app);
    assert!(!drop_after(&driver, 1));
    assert!(!driver.is_running());
    assert_eq!(
        driver.progress().borrow().message,
        "the logout was dropped: not logged out, as far as is known; the session goes on; warning: \
         restarting the sync service failed: it panicked: it is scripted to panic"
    );
}
