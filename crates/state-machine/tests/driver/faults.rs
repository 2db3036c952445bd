//! Every fault in every state: each run has a defined end, and the next start resolves it.

use std::{
    fmt::Write as _,
    future::Future,
    sync::Arc,
    task::{Context, Waker},
    thread,
};

use futures::executor::block_on;
use state_machine::{
    application::AccessToken,
    cancel::Cancellation,
    driver::Driver,
    error::LogoutError,
    progress::LogoutReport,
    recovery::resolve_at_start,
    transition::{Effect, Severity, State},
};

use crate::script::{Answer, App, Hold, PLENTY, driver, settings, settings_with_short};

/// Each state that has an effect, with that effect.
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

/// An application whose logout reaches this step. It asks the server only if an answer was lost.
pub fn reaching(effect: Effect) -> Arc<App> {
    match effect {
        Effect::AskServer => App::new().answering(Effect::RequestLogout, Answer::ActsAndFails),
        _ => App::new(),
    }
}

/// The faults of a step itself.
const ANSWERS: [(&str, Answer); 7] = [
    ("Fails", Answer::Fails),
    ("ActsAndFails", Answer::ActsAndFails),
    ("Never", Answer::Never),
    ("ActsAndNever", Answer::ActsAndNever),
    ("Panics", Answer::Panics),
    ("PanicsWhenDropped", Answer::PanicsWhenDropped),
    ("Slow", Answer::Turns(3)),
];

/// Runs a logout, acts from outside while the step is held, and returns how the run ended.
type Outside = fn(&Driver<App>, &Hold, Effect) -> String;

/// The faults that come from outside.
const OUTSIDE: [(&str, Outside); 3] =
    [("Cancelled", cancelled), ("Dropped", dropped), ("SecondRun", second_run)];

fn cancelled(driver: &Driver<App>, hold: &Hold, effect: Effect) -> String {
    let (answer, end) = while_held(driver, hold, || {
        let answer = driver.cancel();
        // A cancel ends every other wait, and a release could be faster.
        let must_release = answer == Cancellation::TooLate || effect == Effect::AskServer;
        assert!(!must_release || driver.cancel() == answer, "{effect:?}: asked again");
        (answer, must_release)
    });
    let requests = driver.application().called(Effect::RequestLogout);
    assert!(answer != Cancellation::Accepted || requests == 0, "{effect:?}: a request has left");
    format!("{} (told {answer:?}, at the end {:?})", ended(&end), driver.cancel())
}

fn dropped(driver: &Driver<App>, hold: &Hold, _: Effect) -> String {
    let mut run = Box::pin(driver.run());
    let mut context = Context::from_waker(Waker::noop());
    while !hold.reached.has_fired() {
        assert!(run.as_mut().poll(&mut context).is_pending());
    }
    drop(run);
    let end = match driver.progress().borrow().state {
        State::Failed(Severity::Recoverable) => "recoverable",
        State::Failed(Severity::Unrecoverable) => "unrecoverable",
        state => panic!("dropped, and {state:?} is shown"),
    };
    format!("{end} (dropped)")
}

fn second_run(driver: &Driver<App>, hold: &Hold, _: Effect) -> String {
    let (second, first) = while_held(driver, hold, || {
        let second = block_on(driver.run());
        assert!(driver.is_running(), "the mark belongs to the first run");
        (second, true)
    });
    assert_eq!(ended(&second), "recoverable: AlreadyRunning");
    ended(&first)
}

/// Runs a logout on another thread, and acts while its step is held. The action returns whether to
/// release the step.
pub fn while_held<T>(
    driver: &Driver<App>,
    hold: &Hold,
    act: impl FnOnce() -> (T, bool),
) -> (T, Result<LogoutReport, LogoutError>) {
    thread::scope(|scope| {
        let run = scope.spawn(|| block_on(driver.run()));
        assert!(hold.reached.wait_blocking(PLENTY));
        let (acted, must_release) = act();
        if must_release {
            hold.release.fire();
        }
        (acted, run.join().unwrap())
    })
}

fn ended(result: &Result<LogoutReport, LogoutError>) -> String {
    match result {
        Ok(report) => match report.warnings.len() {
            0 => "completed".to_owned(),
            1 => format!("completed, but {}", report.warnings[0].effect),
            warnings => format!("completed, with {warnings} warnings"),
        },
        Err(error) if error.kind.severity() == Severity::Unrecoverable => {
            "unrecoverable".to_owned()
        }
        Err(error) => {
            let kind = format!("{:?}", error.kind);
            format!("recoverable: {}", kind.split([' ', '(']).next().unwrap_or_default())
        }
    }
}

/// Checks what must hold after every run.
pub fn must_be_defined(app: &App, driver: &Driver<App>, what: &str) {
    let world = app.world().clone();
    let state = driver.progress().borrow().state;
    assert!(!driver.is_running(), "{what}: the mark is left");
    assert!(state.is_end(), "{what}: {state:?} is shown");
    let count = |effect| world.calls.iter().filter(|called| **called == effect).count();
    if state.is_committed() {
        assert_eq!(
            world.token,
            AccessToken::Unknown,
            "{what}: committed, and the server knows the token"
        );
        assert_eq!(count(Effect::RestartSync), 0, "{what}: sync was restarted after the commit");
        assert!(count(Effect::DeleteLatestUserId) > 0, "{what}: no attempt to delete the user id");
        assert!(world.intent || !world.user_id, "{what}: the next start logs in and does not ask");
    } else {
        assert!(world.syncing, "{what}: sync is left stopped");
        assert_eq!(count(Effect::RestartSync), 1, "{what}: restarts of sync");
        assert_eq!(
            count(Effect::DeleteLatestUserId),
            0,
            "{what}: an attempt to delete the user id"
        );
        assert!(world.session && world.tabs && world.tasks, "{what}: something is lost");
        assert!(
            world.intent || world.token == AccessToken::Valid,
            "{what}: in doubt, and the next start does not ask"
        );
    }
    assert_eq!(driver.is_unfinished(), state == State::Failed(Severity::Unrecoverable), "{what}");
}

/// Checks that another run, if one is needed, and the next start resolve the logout. Returns whether the
/// user is logged in.
pub fn must_be_resolved(app: &App, driver: &Driver<App>, what: &str) -> &'static str {
    app.heal();
    if driver.is_unfinished() {
        let _ = block_on(driver.run()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let world = app.world().clone();
        assert!(!(world.tabs || world.app_state || world.session || world.tasks), "{what}");
        assert!(world.runtime && !world.intent, "{what}");
    }
    let resolved = block_on(resolve_at_start(app, &settings())).unwrap();
    let world = app.world().clone();
    assert!(!world.intent, "{what}: still in doubt");
    match world.token {
        AccessToken::Valid => {
            assert!(world.user_id, "{what}: a valid token, and no user id to log in with");
            "logged in"
        }
        AccessToken::Unknown => {
            assert!(!world.user_id, "{what}: {resolved:?}, and the next start logs in");
            "logged out"
        }
    }
}

#[test]
fn every_fault_in_every_state_has_a_defined_end() {
    let mut table = String::new();
    for (state, effect) in STEPS {
        writeln!(table, "{state:?}").unwrap();
        // Faults with the same end are on one line.
        let mut ends: Vec<(String, Vec<&str>)> = Vec::new();
        let mut note = |fault, driver: &Driver<App>, ended: String| {
            let (app, what) = (driver.application(), format!("{state:?}, {fault}"));
            assert!(app.called(effect) > 0, "{what}: not reached");
            must_be_defined(app, driver, &what);
            let end = format!("{ended}; then {}", must_be_resolved(app, driver, &what));
            match ends.iter_mut().find(|(known, _)| *known == end) {
                Some((_, faults)) => faults.push(fault),
                None => ends.push((end, vec![fault])),
            }
        };
        for (fault, answer) in ANSWERS {
            let settings = match answer {
                Answer::Never | Answer::ActsAndNever | Answer::PanicsWhenDropped => {
                    settings_with_short(effect)
                }
                _ => settings(),
            };
            let driver = Driver::new(reaching(effect).answering(effect, answer), settings);
            let end = ended(&block_on(driver.run()));
            note(fault, &driver, end);
        }
        for (fault, strike) in OUTSIDE {
            let hold = Arc::new(Hold::default());
            let app = reaching(effect).answering(effect, Answer::Held(Arc::clone(&hold)));
            let driver = driver(&app);
            let end = strike(&driver, &hold, effect);
            note(fault, &driver, end);
        }
        for (end, faults) in ends {
            writeln!(table, "  {}: {end}", faults.join(", ")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// Faults of the server and of the recorded intent.
#[test]
fn every_fault_of_one_party_has_a_defined_end() {
    type Scripted = fn(Arc<App>) -> Arc<App>;
    let faults: [(&str, Scripted); 9] = [
        ("the server is not reached", |app| app.answering(Effect::RequestLogout, Answer::NotSent)),
        ("the token is unknown", |app| {
            app.world().token = AccessToken::Unknown;
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
        let driver = driver(&app);
        let ended = ended(&block_on(driver.run()));
        must_be_defined(&app, &driver, what);
        let intent = if app.world().intent { "intent kept" } else { "no intent" };
        let resolved = must_be_resolved(&app, &driver, what);
        writeln!(table, "{what}: {ended}, {intent}; then {resolved}").unwrap();
    }
    insta::assert_snapshot!(table);
}

/// The control for the checks above.
#[test]
fn a_state_that_is_not_defined_is_noticed() {
    type Harm = fn(&mut crate::script::World);
    let harms: [(&str, Harm); 4] = [
        ("sync is left stopped", |world| world.syncing = false),
        ("the next start does not ask", |world| {
            (world.token, world.intent) = (AccessToken::Unknown, false);
        }),
        ("an attempt to delete the user id", |world| world.calls.push(Effect::DeleteLatestUserId)),
        ("something is lost", |world| world.tasks = false),
    ];
    for (says, harm) in harms {
        let app = App::new().answering(Effect::StopSync, Answer::Fails);
        let driver = driver(&app);
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
