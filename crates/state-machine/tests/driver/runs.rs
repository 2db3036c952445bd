//! Runs in which everything goes well, or nearly.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use futures::executor::block_on;
use state_machine::{
    application::Token,
    config::{LogoutConfig, RuntimePolicy, Screen},
    driver::Driver,
    error::{LogoutError, RecoverableError, UnrecoverableError},
    passage::Cancellation,
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
    assert!(world.runtime && world.token == Token::Unknown);
    assert!(!(world.syncing || world.intent || world.user_id || world.tabs || world.session));
}

#[test]
fn what_is_shown_tells_every_state_with_the_time_spent_in_it() {
    let app = App::new();
    let driver = driver(&app);
    let report = block_on(driver.run()).unwrap();
    let shown = driver.progress().borrow().clone();
    assert_eq!((shown.run, shown.state, shown.percent), (1, State::Completed, 100));
    assert_eq!(shown.message, "logged out");
    assert_eq!((&report.passed, report.elapsed), (&shown.passed, shown.elapsed));
    let states: Vec<_> = report.passed.iter().map(|passed| passed.state).collect();
    assert_eq!(
        states,
        [
            State::PreChecking,
            State::StoppingSyncService,
            State::RecordingIntent,
            State::LoggingOutFromServer,
            State::PointOfNoReturn,
            State::ClosingTabs,
            State::CleaningAppState,
            State::ClosingSession,
            State::ShuttingDownTasks,
            State::RestartingRuntime,
        ]
    );
    let spent: Duration = report.passed.iter().map(|passed| passed.spent).sum();
    assert!(spent <= report.elapsed);
}

/// Every change is there to be seen by whoever looks at each turn.
#[test]
fn progress_is_watched_while_the_logout_goes_on() {
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
        ended.unwrap();
    });
    assert_eq!(seen, [10, 20, 25, 30, 50, 60, 70, 75, 80, 90, 100]);
}

#[test]
fn tabs_are_closed_on_a_desktop_only_and_a_runtime_is_restarted_only_where_it_is_not_kept() {
    for (screen, tabs) in [(Screen::Desktop, 1), (Screen::Mobile, 0)] {
        for (runtime, restarts) in [(RuntimePolicy::Restart, 1), (RuntimePolicy::Keep, 0)] {
            let app = App::new();
            let settings = LogoutConfig { screen, runtime, ..settings() };
            block_on(Driver::new(app.clone(), settings).run()).unwrap();
            assert_eq!(app.called(Effect::CloseTabs), tabs);
            assert_eq!(app.called(Effect::RestartRuntime), restarts);
            assert_eq!(app.called(Effect::ShutDownTasks), 1);
        }
    }
}

#[test]
fn a_token_that_was_invalidated_before_counts_as_logged_out() {
    let app = App::new();
    app.world().token = Token::Unknown;
    block_on(driver(&app).run()).unwrap();
    assert_eq!(app.called(Effect::AskServer), 0, "the server has said it");
    assert!(!app.world().user_id);
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
    assert!(app.world().user_id && !app.world().syncing && !driver.is_under_way());
}

#[test]
fn a_second_run_is_refused_while_one_is_under_way_and_has_no_part_in_it() {
    let hold = Arc::default();
    let app = App::new().answering(Effect::RequestLogout, Answer::Held(Arc::clone(&hold)));
    let driver = driver(&app);
    block_on(async {
        let second = async {
            hold.reached.wait().await;
            let refused = driver.run().await.unwrap_err();
            assert!(matches!(
                refused,
                LogoutError::Recoverable { cause: RecoverableError::UnderWay, .. }
            ));
            assert!(driver.is_under_way(), "the mark belongs to the first");
            assert!(!app.world().syncing, "nothing was restarted");
            hold.release.fire();
        };
        let (first, ()) = tokio::join!(driver.run(), second);
        first.unwrap();
    });
    assert_eq!(app.called(Effect::RequestLogout), 1);
    assert!(!driver.is_under_way());
}

/// Two threads at once: one of them logs out, the other is refused, or comes when nobody is left.
#[test]
fn of_two_runs_at_once_one_logs_out() {
    for _ in 0..500 {
        let app = App::new().usually(Answer::Turns(3));
        let (driver, start) = (driver(&app), Barrier::new(2));
        let ended = thread::scope(|scope| {
            let runs = [(); 2].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    block_on(driver.run())
                })
            });
            runs.map(|run| run.join().unwrap())
        });
        let completed = ended.iter().filter(|ended| ended.is_ok()).count();
        let others = ended.iter().filter(|ended| match ended {
            Err(LogoutError::Recoverable { cause, .. }) => {
                matches!(cause, RecoverableError::UnderWay | RecoverableError::NotReady(_))
            }
            _ => false,
        });
        assert_eq!((completed, others.count()), (1, 1), "{ended:?}");
        assert_eq!(app.called(Effect::RequestLogout), 1);
        assert!(!driver.is_under_way());
    }
}

#[test]
fn whoever_sees_the_end_of_a_run_can_begin_another() {
    for _ in 0..500 {
        let app = App::new().answering(Effect::CheckPrerequisites, Answer::Fails);
        let driver = driver(&app);
        thread::scope(|scope| {
            scope.spawn(|| block_on(driver.run()));
            let mut progress = driver.progress();
            block_on(progress.wait_for(|shown| shown.state.is_end())).unwrap();
            app.heal();
            block_on(driver.run()).unwrap();
        });
    }
}

#[test]
fn what_fails_after_the_point_of_no_return_is_a_warning_and_the_rest_is_done() {
    let app = App::new();
    for effect in [
        Effect::DeleteLatestUserId,
        Effect::CloseTabs,
        Effect::CleanAppState,
        Effect::CloseSession,
        Effect::ShutDownTasks,
    ] {
        app.clone().answering(effect, Answer::Fails);
    }
    let driver = driver(&app);
    let report = block_on(driver.run()).unwrap();
    let warnings: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "deleting the latest user id failed: it is scripted to fail",
            "closing the tabs failed: it is scripted to fail",
            "cleaning up the application's state failed: it is scripted to fail",
            "closing the session failed: it is scripted to fail",
            "shutting down the tasks failed: it is scripted to fail",
        ]
    );
    assert!(app.world().intent, "the next start deletes the user id");
    let shown = driver.progress().borrow().clone();
    assert_eq!(shown.state, State::Completed);
    assert!(shown.message.starts_with("logged out; but deleting the latest user id failed"));
}

#[test]
fn where_no_runtime_can_be_restarted_the_error_says_so_and_another_run_finishes_it() {
    let app = App::new().answering(Effect::RestartRuntime, Answer::Fails);
    let driver = driver(&app);
    let error = block_on(driver.run()).unwrap_err();
    assert!(matches!(
        error,
        LogoutError::Unrecoverable { cause: UnrecoverableError::RuntimeNotRestarted(_), .. }
    ));
    assert_eq!(driver.progress().borrow().state, State::Failed(Severity::Unrecoverable));
    assert!(driver.is_unfinished());
    assert_eq!(driver.cancel(), Cancellation::TooLate);

    app.heal();
    block_on(driver.run()).unwrap();
    assert!(!driver.is_unfinished() && app.world().runtime);
    assert_eq!(app.called(Effect::RequestLogout), 1, "the server is not asked twice");
    assert_eq!(driver.progress().borrow().run, 2);
}

#[test]
fn an_error_says_everything_that_went_wrong() {
    let app = App::new()
        .answering(Effect::StopSync, Answer::Panics)
        .answering(Effect::RestartSync, Answer::Fails);
    let driver = driver(&app);
    let error = block_on(driver.run()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not logged out: the sync service could not be stopped: it panicked: it is scripted to \
         panic; try again; besides, restarting the sync service failed: it is scripted to fail"
    );
    assert_eq!(error.warnings().len(), 1);
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
