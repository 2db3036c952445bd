//! Logouts that come to their end.

use mock_sdk::app::{
    action::{Action, Mode},
    managed::{ManagedApp, ManagedError},
    requests::WorkerState,
    ui::Shown,
};
use state_machine::{config::RuntimePolicy, transition::State};
use sundown::oneshot::Receiver;

use crate::setting::{OTHER_ROOM, PLENTY, POLICIES, ROOM, Running, Setting, soon};

#[test]
fn a_logout_leaves_nothing_and_one_can_log_in_again() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        let files = running.managed.app().files();
        for login in 1..=3 {
            setting.log_in(&running);
            running.open(ROOM);
            running.open(OTHER_ROOM);
            assert_eq!(setting.server.tokens().len(), 1);
            assert!(running.managed.guarded_values() >= 6, "client, sync, two rooms and timelines");

            let report = running.log_out().unwrap();
            assert!(report.warnings.is_empty(), "{policy:?} {login}: {:?}", report.warnings);
            assert!(setting.server.tokens().is_empty());
            assert_eq!(files.latest_user_id().unwrap(), None);
            assert!(files.session("@me:example.org").unwrap().is_some(), "the session stays");
            setting.nothing_is_left();
            let screen = running.screen(|screen| screen.shown == Shown::Login);
            assert_eq!((screen.tabs.len(), screen.room, screen.cached_rooms), (0, None, 0));
            assert_eq!(*running.managed.app().worker().borrow(), WorkerState::EndedAsExpected);
        }
        running.end();
    }
}

#[test]
fn what_a_desktop_left_behind_is_let_go_of_by_a_logout_on_a_phone() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        running.open(ROOM);
        running.managed.app().ui().post(Action::SetMode(Mode::Mobile)).unwrap();
        let screen = running.screen(|screen| screen.mode == Mode::Mobile);
        assert_eq!(screen.tabs, [ROOM], "unseen, and there");

        let limits = running.managed.logout_config();
        let driver = state_machine::driver::Driver::new(running.managed.clone(), limits);
        let report = soon("the logout", ManagedApp::log_out(&driver)).unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert!(report.steps.iter().all(|step| step.state != State::ClosingTabs));
        setting.nothing_is_left();
        running.end();
    }
}

/// A task of the application that has nothing to do with a session.
fn bystander(running: &Running) -> Receiver<&'static str> {
    running
        .managed
        .runtime()
        .spawn("bystander", |stop| async move {
            stop.await;
            "told to stop"
        })
        .unwrap()
}

#[test]
fn a_kept_runtime_keeps_what_is_not_the_sessions_and_a_restarted_one_does_not() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting.log_in(&running);
        let mut bystander = bystander(&running);
        let _ = running.log_out().unwrap();

        let generation = running.managed.runtime().stats().generation;
        match policy {
            RuntimePolicy::Restart => {
                assert_eq!(generation, 2);
                assert_eq!(bystander.wait_blocking(PLENTY).unwrap(), "told to stop");
            }
            RuntimePolicy::Keep => {
                assert_eq!(generation, 1);
                assert_eq!(running.managed.runtime().stats().named, 1, "it runs");
            }
        }
        running.end();
    }
}

#[test]
fn nobody_logs_in_twice_and_a_login_that_is_refused_leaves_nothing() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        let refused = soon("a login", running.managed.log_in("me", "wrong")).unwrap_err();
        assert!(matches!(refused, ManagedError::App(_)), "{refused}");
        setting.nothing_is_left();
        assert_eq!(running.managed.guarded_values(), 0);

        setting.log_in(&running);
        let refused = soon("a login", running.managed.log_in("me", "secret")).unwrap_err();
        assert!(refused.to_string().contains("logged in already"), "{refused}");
        let _ = running.log_out().unwrap();
        setting.nothing_is_left();
        running.end();
    }
}

#[test]
fn a_login_that_is_given_up_half_way_does_not_keep_the_next_one_from_it() {
    for policy in POLICIES {
        let setting = Setting::new(policy);
        let running = setting.start();
        setting
            .server
            .fail_next(mock_sdk::homeserver::Endpoint::Login, mock_sdk::homeserver::Fault::never());
        let given_up = async {
            let login = running.managed.log_in("me", "secret");
            let asked = setting
                .server
                .until(|server| server.count(mock_sdk::homeserver::Endpoint::Login) > 0);
            futures::future::select(Box::pin(login), Box::pin(asked)).await;
        };
        soon("the request", given_up);
        setting.log_in(&running);
        assert!(running.log_out().unwrap().warnings.is_empty());
        setting.nothing_is_left();
        running.end();
    }
}
