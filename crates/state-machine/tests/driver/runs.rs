//! Runs that succeed, runs with warnings, and what they report.

use std::{thread, time::Duration};

use futures::executor::block_on;
use state_machine::{
    application::AccessToken,
    cancel::Cancellation,
    config::{LogoutConfig, RuntimePolicy, Screen},
    driver::Driver,
    error::LogoutErrorKind,
    transition::{Effect, Severity, State},
};

use crate::script::{Answer, App, driver, settings};

#[test]
fn a_logout_does_everything_once_and_in_order() {
    let app = App::new();
    let driver = driver(&app);
    assert_eq!(driver.progress().borrow().state, State::Idle);
    let report = block_on(driver.run()).unwrap();
    assert!(report.warnings.is_empty());
    let world = app.world().clone();
    assert_eq!(
        world.calls,
        [
            Effect::CheckPrerequisites,
            Effect::StopSync,
            Effect::RecordIntent,
            Effect::RequestLogout,
            Effect::DeleteLatestUserId,
            Effect::ClearIntent,
            Effect::CloseTabs,
            Effect::CleanAppState,
            Effect::CloseSession,
            Effect::ShutDownTasks,
            Effect::RestartRuntime,
        ]
    );
    assert!(world.runtime && world.token == AccessToken::Unknown);
    assert!(!(world.syncing || world.intent || world.user_id || world.tabs || world.session));
}

#[test]
fn the_report_and_the_progress_list_every_state_with_the_time_in_it() {
    let driver = driver(&App::new());
    let report = block_on(driver.run()).unwrap();
    let shown = driver.progress().borrow().clone();
    assert_eq!((shown.run, shown.state, shown.percent), (1, State::Completed, 100));
    assert_eq!(shown.message, "logged out");
    assert_eq!((&report.steps, report.elapsed), (&shown.steps, shown.elapsed));
    // Every state in between but the one in which the server is asked.
    let states = State::ALL[1..12].iter().filter(|state| **state != State::AskingServer);
    assert!(report.steps.iter().map(|step| &step.state).eq(states), "{:?}", report.steps);
    let spent: Duration = report.steps.iter().map(|step| step.spent).sum();
    assert!(spent <= report.elapsed);
}

#[test]
fn a_watcher_that_looks_at_each_turn_sees_every_state() {
    let app = App::new().usually(Answer::Turns(1));
    let driver = driver(&app);
    let mut progress = driver.progress();
    let mut seen = Vec::new();
    block_on(async {
        let watching = async {
            loop {
                progress.changed().await.unwrap();
                let shown = progress.borrow_and_update().clone();
                seen.push(shown.percent);
                if shown.state.is_end() {
                    break;
                }
            }
        };
        let (ended, ()) = tokio::join!(driver.run(), watching);
        let _ = ended.unwrap();
    });
    assert_eq!(seen, [10, 20, 25, 30, 50, 60, 70, 75, 80, 90, 100]);
}

#[test]
fn tabs_are_closed_on_a_desktop_only_and_a_runtime_is_restarted_unless_it_is_kept() {
    for (screen, tabs) in [(Screen::Desktop, 1), (Screen::Mobile, 0)] {
        for (runtime, restarts) in [(RuntimePolicy::Restart, 1), (RuntimePolicy::Keep, 0)] {
            let app = App::new();
            let settings = LogoutConfig { screen, runtime, ..settings() };
            let _ = block_on(Driver::new(app.clone(), settings).run()).unwrap();
            assert_eq!(app.called(Effect::CloseTabs), tabs);
            assert_eq!(app.called(Effect::RestartRuntime), restarts);
            assert_eq!(app.called(Effect::ShutDownTasks), 1);
        }
    }
}

#[test]
fn a_logout_without_a_session_is_refused_and_changes_nothing() {
    let app = App::new();
    (app.world().session, app.world().syncing) = (false, false);
    let driver = driver(&app);
    let error = block_on(driver.run()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not logged out: there is no session to log out: nobody is logged in"
    );
    assert_eq!(app.called(Effect::StopSync), 0);
    assert!(app.world().user_id && !app.world().syncing && !driver.is_running());
}

/// If `running` were not reset under the lock of the progress, the second run would be refused at times.
#[test]
fn a_run_can_begin_as_soon_as_the_end_of_another_is_seen() {
    for _ in 0..500 {
        let app = App::new().answering(Effect::CheckPrerequisites, Answer::Fails);
        let driver = driver(&app);
        thread::scope(|scope| {
            scope.spawn(|| block_on(driver.run()));
            let mut progress = driver.progress();
            block_on(progress.wait_for(|shown| shown.state.is_end())).unwrap();
            app.heal();
            let _ = block_on(driver.run()).unwrap();
        });
    }
}

#[test]
fn a_failure_after_the_point_of_no_return_is_a_warning_and_the_rest_is_done() {
    let effects = [
        Effect::DeleteLatestUserId,
        Effect::CloseTabs,
        Effect::CleanAppState,
        Effect::CloseSession,
        Effect::ShutDownTasks,
    ];
    let app = effects.iter().fold(App::new(), |app, effect| app.answering(*effect, Answer::Fails));
    let driver = driver(&app);
    let report = block_on(driver.run()).unwrap();
    let warnings: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
    let expected = effects.map(|effect| format!("{effect} failed: it is scripted to fail"));
    assert_eq!(warnings, expected);
    assert!(app.world().intent, "the next start deletes the user id");
    let shown = driver.progress().borrow().clone();
    assert_eq!(shown.state, State::Completed);
    assert_eq!(shown.message, format!("logged out; warning: {}", expected.join("; warning: ")));
}

#[test]
fn if_no_runtime_can_be_started_the_error_says_so_and_another_run_finishes_the_logout() {
    let app = App::new().answering(Effect::RestartRuntime, Answer::Fails);
    let driver = driver(&app);
    let error = block_on(driver.run()).unwrap_err();
    assert!(matches!(error.kind, LogoutErrorKind::RuntimeNotRestarted(_)));
    assert_eq!(driver.progress().borrow().state, State::Failed(Severity::Unrecoverable));
    assert!(driver.is_unfinished());
    assert_eq!(driver.cancel(), Cancellation::TooLate);

    app.heal();
    let _ = block_on(driver.run()).unwrap();
    assert!(!driver.is_unfinished() && app.world().runtime);
    assert_eq!(app.called(Effect::RequestLogout), 1, "one request is enough");
    assert_eq!(driver.progress().borrow().run, 2);
}

#[test]
fn an_error_lists_everything_that_went_wrong() {
    let app = App::new()
        .answering(Effect::StopSync, Answer::Panics)
        .answering(Effect::RestartSync, Answer::Fails);
    let driver = driver(&app);
    let error = block_on(driver.run()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not logged out: the sync service could not be stopped: it panicked: it is scripted to \
         panic; try again; warning: restarting the sync service failed: it is scripted to fail"
    );
    assert_eq!(error.warnings.len(), 1);
    assert_eq!(driver.progress().borrow().message, error.to_string());
}

#[test]
fn the_future_of_a_run_may_be_spawned() {
    fn is_send(_: impl Send) {}
    let app = App::new();
    let driver = driver(&app);
    is_send(driver.run());
    assert!(app.world().calls.is_empty(), "and does nothing before it is polled");
}
