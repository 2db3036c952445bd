//! Every fault in every state: where it ends, and that nothing is left in between.

use std::{
    fmt::Write as _,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    thread,
};

use futures::executor::block_on;
use state_machine::{
    application::Token,
    driver::Driver,
    error::{LogoutError, RecoverableError},
    passage::Cancellation,
    progress::LogoutReport,
    start::{Resolution, resolve_at_start},
    transition::{Effect, Severity, State},
};

use crate::script::{Answer, App, Hold, PLENTY, settings, settings_with_short};

/// The states that have something to do, each with what that is.
pub const STEPS: [(State, Effect); 11] = [
    (State::PreChecking, Effect::CheckPrerequisites),
    (State::StoppingSyncService, Effect::StopSync),
    (State::RecordingIntent, Effect::RecordIntent),
    (State::LoggingOutFromServer, Effect::RequestLogout),
    (State::AskingServer, Effect::AskServer),
    (State::PointOfNoReturn, Effect::DeleteLatestUserId),
    (State::ClosingTabs, Effect::CloseTabs),
    (State::CleaningAppState, Effect::CleanAppState),
    (State::ClosingSession, Effect::CloseSession),
    (State::ShuttingDownTasks, Effect::ShutDownTasks),
    (State::RestartingRuntime, Effect::RestartRuntime),
];

/// An application in which this step is reached: the question only where the answer was lost.
pub fn reaching(effect: Effect) -> Arc<App> {
    match effect {
        Effect::AskServer => App::new().answering(Effect::RequestLogout, Answer::ActsAndFails),
        _ => App::new(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Fails,
    ActsAndFails,
    Never,
    ActsAndNever,
    Panics,
    PanicsWhenDropped,
    Slow,
    Cancelled,
    Dropped,
    SecondRun,
}

const FAULTS: [Fault; 10] = [
    Fault::Fails,
    Fault::ActsAndFails,
    Fault::Never,
    Fault::ActsAndNever,
    Fault::Panics,
    Fault::PanicsWhenDropped,
    Fault::Slow,
    Fault::Cancelled,
    Fault::Dropped,
    Fault::SecondRun,
];

/// Lets a fault strike the step of a state, and says how the run ended.
fn strike(app: &Arc<App>, effect: Effect, fault: Fault) -> (Driver<App>, String) {
    let answer = match fault {
        Fault::Fails => Answer::Fails,
        Fault::ActsAndFails => Answer::ActsAndFails,
        Fault::Never => Answer::Never,
        Fault::ActsAndNever => Answer::ActsAndNever,
        Fault::Panics => Answer::Panics,
        Fault::PanicsWhenDropped => Answer::PanicsWhenDropped,
        Fault::Slow => Answer::Turns(3),
        Fault::Cancelled | Fault::Dropped | Fault::SecondRun => {
            return strike_while_held(app, effect, fault);
        }
    };
    let app = app.clone().answering(effect, answer);
    let settings = match fault {
        Fault::Never | Fault::ActsAndNever | Fault::PanicsWhenDropped => {
            settings_with_short(effect)
        }
        _ => settings(),
    };
    let driver = Driver::new(app, settings);
    let ended = ended(&block_on(driver.run()));
    (driver, ended)
}

/// From another thread, while the step is held.
fn strike_while_held(app: &Arc<App>, effect: Effect, fault: Fault) -> (Driver<App>, String) {
    let hold = Arc::new(Hold::default());
    let app = app.clone().answering(effect, Answer::Held(Arc::clone(&hold)));
    let driver = Driver::new(app, settings());
    let ended = thread::scope(|scope| {
        if matches!(fault, Fault::Dropped) {
            let mut run = Box::pin(driver.run());
            let mut context = Context::from_waker(Waker::noop());
            while !hold.reached.has_fired() {
                assert!(run.as_mut().poll(&mut context).is_pending());
            }
            drop(run);
            return format!("{} (dropped)", end_of(&driver));
        }
        let run = scope.spawn(|| block_on(driver.run()));
        assert!(hold.reached.wait_blocking(PLENTY));
        let mut release = true;
        let said = match fault {
            Fault::SecondRun => {
                assert!(matches!(
                    block_on(driver.run()),
                    Err(LogoutError::Recoverable { cause: RecoverableError::UnderWay, .. })
                ));
                String::new()
            }
            _ => {
                let told = driver.cancel();
                // What is given up comes to its end without a release, which might come first.
                release = told == Cancellation::TooLate || effect == Effect::AskServer;
                format!(" (told {told:?})")
            }
        };
        if release {
            hold.release.fire();
        }
        ended(&run.join().unwrap()) + &said
    });
    (driver, ended)
}

fn end_of(driver: &Driver<App>) -> &'static str {
    match driver.progress().borrow().state {
        State::Completed => "completed",
        State::Failed(Severity::Recoverable) => "recoverable",
        State::Failed(Severity::Unrecoverable) => "unrecoverable",
        _ => "UNDEFINED",
    }
}

fn ended(result: &Result<LogoutReport, LogoutError>) -> String {
    match result {
        Ok(report) => match report.warnings.len() {
            0 => "completed".to_owned(),
            1 => format!("completed, but {}", report.warnings[0].effect),
            warnings => format!("completed, with {warnings} warnings"),
        },
        Err(LogoutError::Recoverable { cause, .. }) => {
            let cause = format!("{cause:?}");
            let name = cause.split([' ', '(']).next().unwrap_or_default();
            format!("recoverable: {name}")
        }
        Err(LogoutError::Unrecoverable { .. }) => "unrecoverable".to_owned(),
        Err(_) => "UNDEFINED".to_owned(),
    }
}

/// What must hold where a run has ended, however it did.
pub fn must_be_defined(app: &App, driver: &Driver<App>, what: &str) {
    let world = app.world().clone();
    let state = driver.progress().borrow().state;
    assert!(!driver.is_under_way(), "{what}: the in-progress mark is left");
    assert!(state.is_end(), "{what}: {state:?} is shown");
    let count = |effect| world.calls.iter().filter(|called| **called == effect).count();
    if state.is_committed() {
        assert_eq!(
            world.token,
            Token::Unknown,
            "{what}: committed, and the server knows the token"
        );
        assert_eq!(count(Effect::RestartSync), 0, "{what}: sync is restarted after the commit");
        assert!(count(Effect::DeleteLatestUserId) > 0, "{what}: the user id was not to be deleted");
        assert!(world.intent || !world.user_id, "{what}: the next start logs in, and does not ask");
    } else {
        assert!(world.syncing, "{what}: sync is left stopped");
        assert_eq!(count(Effect::RestartSync), 1, "{what}: restarts of sync");
        assert_eq!(count(Effect::DeleteLatestUserId), 0, "{what}: the user id was to be deleted");
        assert!(world.session && world.tabs && world.tasks, "{what}: something is lost");
        assert!(
            world.intent || world.token == Token::Valid,
            "{what}: logged out in doubt, and the next start does not ask"
        );
    }
    assert_eq!(driver.is_unfinished(), state == State::Failed(Severity::Unrecoverable), "{what}");
}

/// What must hold in the end: after another run where one is needed, and after the next start.
pub fn must_be_settled(app: &Arc<App>, driver: &Driver<App>, what: &str) -> &'static str {
    app.heal();
    if driver.is_unfinished() {
        block_on(driver.run()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let world = app.world().clone();
        assert!(!(world.tabs || world.app_state || world.session || world.tasks), "{what}");
        assert!(world.runtime && !world.intent, "{what}");
    }
    let settled = block_on(resolve_at_start(&**app, &settings())).unwrap();
    let world = app.world().clone();
    assert!(!world.intent, "{what}: still in doubt");
    match world.token {
        Token::Valid => {
            assert!(world.user_id, "{what}: a valid token, and nobody to log in");
            "logged in"
        }
        Token::Unknown => {
            assert!(!world.user_id, "{what}: {settled:?}, and the next start logs in");
            "logged out"
        }
    }
}

#[test]
fn every_fault_in_every_state_has_a_defined_end() {
    let mut table = String::new();
    let mut cells = 0;
    for (state, effect) in STEPS {
        writeln!(table, "{state:?}").unwrap();
        // What comes to the same end stands on one line.
        let mut ends: Vec<(String, Vec<String>)> = Vec::new();
        for fault in FAULTS {
            let app = reaching(effect);
            let what = format!("{state:?}, {fault:?}");
            let (driver, ended) = strike(&app, effect, fault);
            assert!(!ended.contains("UNDEFINED"), "{what}");
            assert!(app.called(effect) > 0, "{what}: not reached");
            must_be_defined(&app, &driver, &what);
            let settled = must_be_settled(&app, &driver, &what);
            let end = format!("{ended}; then {settled}");
            match ends.iter_mut().find(|(known, _)| *known == end) {
                Some((_, faults)) => faults.push(format!("{fault:?}")),
                None => ends.push((end, vec![format!("{fault:?}")])),
            }
            cells += 1;
        }
        for (end, faults) in ends {
            writeln!(table, "  {}: {end}", faults.join(", ")).unwrap();
        }
    }
    assert_eq!(cells, STEPS.len() * FAULTS.len());
    insta::assert_snapshot!(table);
}

/// The faults that only one of the parties can have.
#[test]
fn the_faults_of_their_own_have_a_defined_end() {
    type Scripted = fn(Arc<App>) -> Arc<App>;
    let faults: [(&str, Scripted); 9] = [
        ("the server is not reached", |app| app.answering(Effect::RequestLogout, Answer::NotSent)),
        ("the token is unknown", |app| {
            app.world().token = Token::Unknown;
            app
        }),
        ("the request is lost", |app| app.answering(Effect::RequestLogout, Answer::Fails)),
        ("the answer is lost", |app| app.answering(Effect::RequestLogout, Answer::ActsAndFails)),
        ("the request is lost, and the server goes down", |app| {
            app.answering(Effect::RequestLogout, Answer::Fails)
                .answering(Effect::AskServer, Answer::Fails)
        }),
        ("the answer is lost, and the server goes down", |app| {
            app.answering(Effect::RequestLogout, Answer::ActsAndFails)
                .answering(Effect::AskServer, Answer::Fails)
        }),
        ("the request arrives after the server was asked", |app| {
            app.answering(Effect::RequestLogout, Answer::ArrivesLate)
        }),
        ("the intent cannot be cleared", |app| app.answering(Effect::ClearIntent, Answer::Fails)),
        ("clearing the intent panics", |app| app.answering(Effect::ClearIntent, Answer::Panics)),
    ];
    let mut table = String::new();
    for (what, fault) in faults {
        let app = fault(App::new());
        let driver = Driver::new(Arc::clone(&app), settings());
        let ended = ended(&block_on(driver.run()));
        must_be_defined(&app, &driver, what);
        let intent = if app.world().intent { "intent kept" } else { "no intent" };
        let settled = must_be_settled(&app, &driver, what);
        writeln!(table, "{what}: {ended}, {intent}; then {settled}").unwrap();
    }
    insta::assert_snapshot!(table);
}

/// What the checks above are worth: they do not hold of an application that is left in between.
#[test]
fn what_is_left_in_between_is_seen() {
    type Harm = fn(&mut crate::script::World);
    let harms: [(&str, Harm); 4] = [
        ("sync is left stopped", |world| world.syncing = false),
        ("the next start does not ask", |world| {
            (world.token, world.intent) = (Token::Unknown, false);
        }),
        ("the user id was to be deleted", |world| world.calls.push(Effect::DeleteLatestUserId)),
        ("something is lost", |world| world.tasks = false),
    ];
    for (says, harm) in harms {
        let app = App::new().answering(Effect::StopSync, Answer::Fails);
        let driver = Driver::new(Arc::clone(&app), settings());
        let _ = block_on(driver.run());
        must_be_defined(&app, &driver, "as it is");
        harm(&mut app.world());
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            must_be_defined(&app, &driver, "harmed");
        }));
        let payload = seen.expect_err(says);
        let said = payload.downcast_ref::<String>().unwrap();
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_late_confirmation_confirms_nothing_any_more() {
    let hold = Arc::new(Hold::default());
    let app = App::new().answering(Effect::CloseTabs, Answer::Held(Arc::clone(&hold)));
    let driver = Driver::new(Arc::clone(&app), settings_with_short(Effect::CloseTabs));
    let mut run = pin!(driver.run());
    let report = block_on(run.as_mut()).unwrap();
    assert_eq!(report.warnings.len(), 1);
    // The user interface confirms when nobody waits any more.
    hold.release.fire();
    assert_eq!(driver.progress().borrow().state, State::Completed);
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::NothingRecorded));
}
