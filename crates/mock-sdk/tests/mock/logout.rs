//! Logging in and out with the state machine, where experiments 21 and 24 do not look: futures that
//! are dropped, interfaces that do not let go, and logins that fail, with both runtime policies.

use std::{future::Future, pin::pin, thread, time::Duration};

use futures::{
    executor::block_on,
    future::{Either, join, select},
};
use mock_sdk::{
    app::{
        action::Confirmed,
        managed::{ManagedApp, ManagedError},
        ui::UiFault,
    },
    homeserver::{Endpoint, Fault},
};
use state_machine::{
    cancel::Cancellation,
    config::RuntimePolicy,
    transition::{Effect, State},
};

use crate::setting::{Managed, ROOM, SHORT, Setting, open, soon};

const POLICIES: [RuntimePolicy; 2] = [RuntimePolicy::Restart, RuntimePolicy::Keep];

/// Side by side: what they do is to wait for limits.
fn with_each(test: impl Fn(RuntimePolicy) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for policy in POLICIES {
            scope.spawn(move || test(policy));
        }
    });
}

fn logged_in(policy: RuntimePolicy) -> (Setting, Managed) {
    let setting = Setting::new();
    let managed = setting.managed(policy, |_| {});
    managed.log_in(&setting);
    (setting, managed)
}

#[test]
fn a_logout_dropped_while_its_request_is_in_flight_is_settled_by_the_next_run() {
    for policy in POLICIES {
        let (setting, managed) = logged_in(policy);
        // The server does it, and nobody hears of it.
        setting.server.fail_next(Endpoint::Logout, Fault::never().done_at_once());
        block_on(soon("the request", async {
            let run = pin!(managed.driver.run());
            let done = pin!(setting.server.until(|server| server.logins() == 0));
            select(run, done).await;
        }));
        assert_eq!(managed.driver.cancel(), Cancellation::NotRunning);
        let _ = managed.log_out().unwrap();
        assert_eq!(managed.app.app().files().latest_user_id().unwrap(), None);
        setting.nothing_is_left();
        managed.end();
    }
}

#[test]
fn after_the_point_of_no_return_nobody_logs_in_before_another_run_has_finished_the_logout() {
    with_each(|policy| {
        let (setting, managed) = logged_in(policy);
        open(managed.app.app(), ROOM);
        managed.app.app().ui().fail_next(Confirmed::CleanAppState, UiFault::Never);
        block_on(soon("the state", async {
            let run = pin!(managed.driver.run());
            let mut progress = managed.driver.progress();
            let there = pin!(progress.wait_for(|now| now.state == State::CleaningAppState));
            match select(run, there).await {
                Either::Left((ended, _)) => panic!("it ended before that: {ended:?}"),
                Either::Right((there, _run)) => drop(there.unwrap()),
            }
        }));
        assert!(managed.driver.is_unfinished());
        let refused = block_on(soon("a login", managed.app.log_in("me", "secret")));
        assert!(refused.is_err());
        let report = managed.log_out().unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        setting.nothing_is_left();
        managed.log_in(&setting);
        let _ = managed.log_out().unwrap();
        managed.end();
    });
}

#[test]
fn if_the_interface_does_not_let_go_the_warnings_say_where_the_handles_were_made() {
    with_each(|policy| {
        let setting = Setting::new();
        let managed = setting.managed(policy, |limits| {
            limits.tabs = SHORT;
            limits.app_state = SHORT;
            limits.session = Duration::from_secs(2);
        });
        managed.log_in(&setting);
        open(managed.app.app(), ROOM);
        let ui = managed.app.app().ui();
        ui.fail_next(Confirmed::CloseAllTabs, UiFault::Never);
        for _ in 0..2 {
            ui.fail_next(Confirmed::CleanAppState, UiFault::Never);
        }
        let report = managed.log_out().unwrap();
        let failed: Vec<_> = report.warnings.iter().map(|warning| warning.effect).collect();
        assert_eq!(failed, [Effect::CloseTabs, Effect::CleanAppState, Effect::CloseSession]);
        let session = report.warnings[2].to_string();
        assert!(session.contains(".rs:"), "{session}");

        // The interface drops the rest later, and the earlier session tears it down.
        managed.log_in(&setting);
        block_on(soon("the confirmation", ui.clean_app_state())).unwrap();
        let _ = managed.log_out().unwrap();
        setting.nothing_is_left();
        managed.end();
    });
}

#[test]
fn an_interface_that_gave_up_is_asked_again_when_the_worker_has_ended() {
    let (setting, managed) = logged_in(RuntimePolicy::Keep);
    open(managed.app.app(), ROOM);
    let ui = managed.app.app().ui();
    ui.fail_next(Confirmed::CloseAllTabs, UiFault::Late(SHORT));
    ui.fail_next(Confirmed::CleanAppState, UiFault::Abandoned);
    let report = managed.log_out().unwrap();
    let failed: Vec<_> = report.warnings.iter().map(|warning| warning.effect).collect();
    assert_eq!(failed, [Effect::CleanAppState]);
    setting.nothing_is_left();
    managed.end();
}

#[test]
fn a_login_that_fails_or_is_dropped_leaves_nothing_in_the_way_of_the_next() {
    for policy in POLICIES {
        let setting = Setting::new();
        let managed = setting.managed(policy, |_| {});
        let log_in = |password: &'static str| managed.app.log_in("me", password);
        let refused = block_on(soon("a login", log_in("wrong"))).unwrap_err();
        assert!(matches!(refused, ManagedError::App(_)), "{refused}");
        setting.nothing_is_left();

        let sessions = setting.directory().join("sessions");
        std::fs::write(&sessions, "in the way").unwrap();
        let failed = block_on(soon("a login", log_in("secret"))).unwrap_err();
        assert!(failed.to_string().contains("sessions"), "{failed}");
        assert_eq!(setting.server.logins(), 0, "a login that cannot be remembered is undone");
        setting.nothing_is_left();
        std::fs::remove_file(sessions).unwrap();

        let before = setting.server.count(Endpoint::Login);
        setting.server.fail_next(Endpoint::Login, Fault::never());
        block_on(soon("the request", async {
            let login = pin!(log_in("secret"));
            let asked = setting.server.until(|server| server.count(Endpoint::Login) > before);
            select(login, pin!(asked)).await;
        }));
        managed.log_in(&setting);
        let again = block_on(soon("a login", log_in("secret"))).unwrap_err();
        assert!(again.to_string().contains("logged in already"), "{again}");
        assert!(managed.log_out().unwrap().warnings.is_empty());
        setting.nothing_is_left();
        managed.end();
    }
}

#[test]
fn during_the_logout_nobody_logs_in() {
    let (setting, managed) = logged_in(RuntimePolicy::Keep);
    let ui = managed.app.app().ui();
    ui.fail_next(Confirmed::CleanAppState, UiFault::Late(SHORT));
    let mut progress = managed.driver.progress();
    let login = async {
        progress.wait_for(|now| now.state == State::CleaningAppState).await.unwrap();
        managed.app.log_in("me", "secret").await
    };
    let (logout, login) = block_on(soon("both", join(managed.driver.run(), login)));
    let _ = logout.unwrap();
    assert!(login.is_err(), "{login:?}");
    assert_eq!(setting.server.logins(), 0);
    managed.end();
}

/// A compile-time promise: an executor may move a login and a logout between threads.
#[test]
fn a_login_and_a_logout_may_move_between_threads() {
    fn moves<F: Future + Send>(_: F) {}
    let managed = Setting::new().managed(RuntimePolicy::Keep, |_| {});
    moves(ManagedApp::log_out(&managed.driver));
    moves(managed.app.log_in("me", "secret"));
    managed.end();
}
