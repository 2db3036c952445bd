//! The next start resolves a logout, and can be interrupted and repeated.

use std::{
    future::Future,
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::executor::block_on;
use state_machine::{
    application::AccessToken,
    intent::IntentFile,
    recovery::{RecoveryError, Resolution, resolve_at_start},
    transition::Effect,
};

use crate::script::{Answer, App, settings, settings_with_short};

/// An application that starts with a recorded intent.
fn starting(token: AccessToken) -> Arc<App> {
    let app = App::new();
    (app.world().intent, app.world().token) = (true, token);
    app
}

fn resolve(app: &App) -> Result<Resolution, RecoveryError> {
    block_on(resolve_at_start(app, &settings()))
}

#[test]
fn without_an_intent_nobody_is_asked() {
    let app = App::new().usually(Answer::Fails);
    assert!(matches!(resolve(&app), Ok(Resolution::NothingRecorded)));
    assert!(app.world().calls.is_empty());
}

#[test]
fn the_server_decides() {
    let app = starting(AccessToken::Valid);
    assert!(matches!(resolve(&app), Ok(Resolution::StillLoggedIn)));
    assert!(app.world().user_id && !app.world().intent);

    let app = starting(AccessToken::Unknown);
    assert!(matches!(resolve(&app), Ok(Resolution::LoggedOut)));
    assert!(!app.world().user_id && !app.world().intent);
}

#[test]
fn without_an_answer_it_stays_in_doubt_and_the_next_start_asks_again() {
    for (answer, message) in [
        (Answer::Fails, "it is scripted to fail"),
        (Answer::Never, "no answer within 5ms"),
        (Answer::Panics, "it panicked: it is scripted to panic"),
    ] {
        let app = starting(AccessToken::Unknown).answering(Effect::AskServer, answer);
        match block_on(resolve_at_start(&*app, &settings_with_short(Effect::AskServer))).unwrap() {
            Resolution::InDoubt(error) => assert_eq!(error.to_string(), message),
            other => panic!("{other:?}"),
        }
        assert!(app.world().user_id && app.world().intent);
        app.heal();
        assert!(matches!(resolve(&app), Ok(Resolution::LoggedOut)));
    }
}

#[test]
fn if_the_storage_fails_that_is_an_error_and_the_next_start_tries_again() {
    let app = starting(AccessToken::Unknown).answering(Effect::DeleteLatestUserId, Answer::Fails);
    assert!(matches!(resolve(&app), Err(RecoveryError::UserIdNotDeleted(_))));
    assert!(app.world().intent);

    app.heal();
    let app = app.answering(Effect::ClearIntent, Answer::Fails);
    assert_eq!(
        resolve(&app).unwrap_err().to_string(),
        "logged out, but the intent to log out could not be cleared: it is scripted to fail"
    );
    app.heal();
    assert!(matches!(resolve(&app), Ok(Resolution::LoggedOut)));
}

#[test]
fn it_may_be_dropped_at_every_await_and_repeated() {
    for token in [AccessToken::Valid, AccessToken::Unknown] {
        for polls in 0.. {
            let app = starting(token).usually(Answer::Turns(2));
            let settings = settings();
            let mut resolving = Box::pin(resolve_at_start(&*app, &settings));
            let mut context = Context::from_waker(Waker::noop());
            let ended =
                (0..polls).any(|_| matches!(resolving.as_mut().poll(&mut context), Poll::Ready(_)));
            drop(resolving);
            app.heal();
            let _ = resolve(&app).unwrap();
            assert!(!app.world().intent);
            assert_eq!(
                app.world().user_id,
                token == AccessToken::Valid,
                "dropped after {polls} polls"
            );
            if ended {
                assert!(polls > 8, "it has awaits");
                break;
            }
        }
    }
}

#[test]
fn an_intent_that_cannot_be_recorded_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("logout-intent");
    let intent = IntentFile::new(&path);
    let error = intent.record().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(!intent.is_recorded().unwrap());
    intent.clear().unwrap();

    // A folder is in the way.
    let intent = IntentFile::new(folder.path());
    assert!(intent.record().is_err() && intent.clear().is_err());
}
