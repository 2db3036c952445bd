//! Logouts that fail, before the point of no return and after it, and those whose end nobody saw.

use std::{future::Future, pin::pin, time::Duration};

use futures::future::{Either, select};
use mock_sdk::{
    app::{
        action::Confirmed,
        managed::{ManagedApp, ManagedError},
        ui::{Shown, UiFault},
    },
    homeserver::{Endpoint, Fault},
};
use state_machine::{
    cancel::Cancellation,
    config::RuntimePolicy,
    error::{LogoutError, RecoverableError},
    transition::{Effect, State},
};

use crate::setting::{POLICIES, ROOM, Running, Setting, soon};

const SHORT: Duration = Duration::from_millis(100);

/// That a logout failed before the point of no return, and the session goes on.
fn goes_on(setting: &Setting, running: &Running) {
    assert_eq!(setting.server.tokens().len(), 1);
    assert_eq!(running.managed.app().files().latest_user_id().unwrap().unwrap(), "@me:example.org");
    let asked = setting.server.count(Endpoint::Sync);
    setting.server.say(ROOM, "other", "are you there?");
    soon("a sync", setting.server.until(|server| server.count(Endpoint::Sync) > asked));
    running.open(ROOM);
}

#[test]
fn a_logout_that_does_not_reach_the_server_leaves_everything_as_it_was() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        setting.server.go_down();
        let failed = running.log_out().unwrap_err();
        assert!(
            matches!(failed, LogoutError::Recoverable { cause: RecoverableError::NotSent(_), .. }),
            "{failed}"
        );
        running.screen(|screen| matches!(screen.shown, Shown::Failure { .. }));
        setting.server.come_back().unwrap();
        goes_on(&setting, &running);
        let _ = running.log_out().unwrap();
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn a_lost_answer_is_asked_for_and_the_logout_completes() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        setting.server.fail_next(Endpoint::Logout, Fault::reset_mid_body());
        let report = running.log_out().unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert!(report.steps.iter().any(|step| step.state == State::AskingServer));
        assert_eq!(setting.server.count(Endpoint::Whoami), 1);
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn a_logout_that_the_server_refuses_leaves_everything_as_it_was() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        setting.server.fail_next(Endpoint::Logout, Fault::status(502));
        let failed = running.log_out().unwrap_err();
        assert!(
            matches!(failed, LogoutError::Recoverable { cause: RecoverableError::NotDone(_), .. }),
            "{failed}"
        );
        goes_on(&setting, &running);
        let _ = running.log_out().unwrap();
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn a_token_that_was_forgotten_before_counts_as_logged_out() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        for token in setting.server.tokens() {
            setting.server.forget_token(&token);
        }
        let _ = running.log_out().unwrap();
        assert_eq!(running.managed.app().files().latest_user_id().unwrap(), None);
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn without_a_session_a_logout_changes_nothing() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        let failed = running.log_out().unwrap_err();
        assert!(failed.warnings().is_empty(), "{failed}");
        assert!(
            matches!(failed, LogoutError::Recoverable { cause: RecoverableError::NotReady(_), .. }),
            "{failed}"
        );
        setting.log_in(&running);
        let _ = running.log_out().unwrap();
        running.end();
    }
}

/// Drives a logout until it is in a state, and drops it there.
async fn dropped_in(running: &Running, state: State) {
    let run = pin!(running.driver.run());
    let mut progress = running.driver.progress();
    let there = pin!(async { progress.wait_for(|now| now.state == state).await.map(drop) });
    match select(run, there).await {
        Either::Left((ended, _)) => panic!("it ended before {state:?}: {ended:?}"),
        Either::Right((there, _run)) => there.unwrap(),
    }
}

#[test]
fn dropped_while_the_request_flies_the_sync_goes_on_and_the_next_run_finds_out() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        // It is done, and nobody hears of it.
        setting.server.fail_next(Endpoint::Logout, Fault::never().done_at_once());
        let flies = async {
            let run = pin!(running.driver.run());
            let seen = pin!(setting.server.until(|server| server.tokens().is_empty()));
            select(run, seen).await;
        };
        soon("the request", flies);
        assert!(!running.driver.is_running());
        assert_eq!(running.driver.cancel(), Cancellation::NotRunning);
        let _ = running.log_out().unwrap();
        assert_eq!(running.managed.app().files().latest_user_id().unwrap(), None);
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn dropped_after_the_point_of_no_return_nobody_logs_in_before_another_run_has_finished_it() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        running.open(ROOM);
        running.managed.app().ui().fail_next(Confirmed::CleanAppState, UiFault::Never);
        soon("the state", dropped_in(&running, State::CleaningAppState));
        assert!(running.driver.is_unfinished());
        let refused = soon("a login", running.managed.log_in("me", "secret")).unwrap_err();
        assert!(refused.to_string().contains("log"), "{refused}");

        let report = running.log_out().unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        setting.nothing_is_left();
        setting.log_in(&running);
        let _ = running.log_out().unwrap();
        running.end();
    }
}

#[test]
fn where_the_interface_does_not_let_go_the_warnings_say_who_holds_what() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start_with(|limits| {
            limits.tabs = SHORT;
            limits.app_state = SHORT;
            limits.session = Duration::from_secs(2);
        });
        setting.log_in(&running);
        running.open(ROOM);
        let ui = running.managed.app().ui();
        ui.fail_next(Confirmed::CloseAllTabs, UiFault::Never);
        for _ in 0..2 {
            ui.fail_next(Confirmed::CleanAppState, UiFault::Never);
        }
        let report = running.log_out().unwrap();
        let failed: Vec<_> = report.warnings.iter().map(|warning| warning.effect).collect();
        assert_eq!(failed, [Effect::CloseTabs, Effect::CleanAppState, Effect::CloseSession]);
        let session = report.warnings[2].to_string();
        assert!(session.contains("still handles") && session.contains(".rs:"), "{session}");
        assert_eq!(running.managed.app().files().latest_user_id().unwrap(), None);

        // What is left is dropped by the interface, and torn down by the session of before.
        setting.log_in(&running);
        let cleaned = ui.clean_app_state();
        soon("the confirmation", cleaned).unwrap();
        let _ = running.log_out().unwrap();
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn an_interface_that_gave_up_is_asked_again_when_the_worker_has_ended() {
    let setting = Setting::new(RuntimePolicy::Keep);
    let running = setting.start();
    setting.log_in(&running);
    running.open(ROOM);
    let ui = running.managed.app().ui();
    ui.fail_next(Confirmed::CloseAllTabs, UiFault::Late(SHORT));
    ui.fail_next(Confirmed::CleanAppState, UiFault::Abandoned);
    let report = running.log_out().unwrap();
    let failed: Vec<_> = report.warnings.iter().map(|warning| warning.effect).collect();
    assert_eq!(failed, [Effect::CleanAppState]);
    setting.nothing_is_left();
    running.end();
}

#[test]
fn the_next_start_settles_a_logout_whose_end_nobody_saw() {
    for (done, policy) in [(true, POLICIES[0]), (false, POLICIES[0]), (true, POLICIES[1])] {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        let lost = Fault::never();
        let lost = if done { lost.done_at_once() } else { lost };
        setting.server.fail_next(Endpoint::Logout, lost);
        let asked = async {
            let run = pin!(running.driver.run());
            let asked = pin!(setting.server.until(|s| s.count(Endpoint::Logout) > 0));
            select(run, asked).await;
        };
        soon("the request", asked);
        // As at the end of a process, which has nothing open and remembers nothing.
        running.forget_everything();
        let next = setting.start();
        let limits = next.managed.logout_config();
        let found = soon("the start", next.managed.log_in_latest(&limits)).unwrap();
        assert_eq!(setting.server.count(Endpoint::Whoami), 1);
        assert_eq!(found.is_none(), done, "{found:?}");
        if !done {
            let _ = next.log_out().unwrap();
        }
        let again = soon("another start", next.managed.log_in_latest(&limits)).unwrap();
        assert_eq!(again, None);
        assert_eq!(setting.server.count(Endpoint::Whoami), 1, "the intent is cleared");
        next.end();
    }
}

#[test]
fn two_at_once_are_one() {
    let setting = Setting::new(RuntimePolicy::Restart);
    let running = setting.start();
    setting.log_in(&running);
    let both = async {
        let (one, other) = (running.driver.run(), ManagedApp::log_out(&running.driver));
        futures::future::join(one, other).await
    };
    let (one, other): (_, Result<_, LogoutError>) = soon("both", both);
    let _ = one.unwrap();
    let refused = other.unwrap_err();
    assert!(
        matches!(refused, LogoutError::Recoverable { cause: RecoverableError::AlreadyRunning, .. }),
        "{refused}"
    );
    assert_eq!(setting.server.count(Endpoint::Logout), 1);
    running.end();
}

#[test]
fn during_the_logout_nobody_logs_in() {
    let setting = Setting::new(RuntimePolicy::Keep);
    let running = setting.start();
    setting.log_in(&running);
    let ui = running.managed.app().ui();
    ui.fail_next(Confirmed::CleanAppState, UiFault::Late(SHORT));
    let both = async {
        let mut progress = running.driver.progress();
        let login = async {
            progress.wait_for(|now| now.state == State::CleaningAppState).await.unwrap();
            running.managed.log_in("me", "secret").await
        };
        futures::future::join(running.driver.run(), login).await
    };
    let (logout, login): (_, Result<String, ManagedError>) = soon("both", both);
    let _ = logout.unwrap();
    assert!(login.is_err(), "{login:?}");
    assert!(setting.server.tokens().is_empty());
    running.end();
}

/// A compile-time promise: a logout can be awaited by an executor that moves it between threads.
#[test]
fn a_logout_may_move_between_threads() {
    fn moves<F: Future + Send>(_: F) {}
    let setting = Setting::new(RuntimePolicy::Keep);
    let running = setting.start();
    moves(ManagedApp::log_out(&running.driver));
    moves(running.managed.log_in("me", "secret"));
    running.end();
}
