//! What the next start finds, and that it can be interrupted and called again.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::executor::block_on;
use state_machine::{
    application::{Failure, Server, Storage, Token},
    intent::IntentFile,
    start::{Resolution, StartError, resolve_at_start},
    transition::Effect,
};

use crate::script::{Answer, App, settings, settings_with_short};

/// An application that starts, with an intent recorded before.
fn starting(token: Token) -> Arc<App> {
    let app = App::new();
    (app.world().intent, app.world().token) = (true, token);
    app
}

#[test]
fn without_an_intent_nobody_is_asked() {
    let app = App::new().usually(Answer::Fails);
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::NothingRecorded));
    assert!(app.world().calls.is_empty());
}

#[test]
fn the_server_settles_it() {
    let app = starting(Token::Valid);
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::StillLoggedIn));
    assert!(app.world().user_id && !app.world().intent);

    let app = starting(Token::Unknown);
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::LoggedOut));
    assert!(!app.world().user_id && !app.world().intent);
}

#[test]
fn where_the_server_does_not_say_it_stays_in_doubt_and_is_asked_again() {
    for (answer, says) in [
        (Answer::Fails, "it is scripted to fail"),
        (Answer::Never, "no answer within 5ms"),
        (Answer::Panics, "it panicked: it is scripted to panic"),
    ] {
        let app = starting(Token::Unknown).answering(Effect::AskServer, answer);
        let settings = settings_with_short(Effect::AskServer);
        match block_on(resolve_at_start(&*app, &settings)).unwrap() {
            Resolution::InDoubt(trouble) => assert_eq!(trouble.to_string(), says),
            other => panic!("{other:?}"),
        }
        assert!(app.world().user_id && app.world().intent);
        app.heal();
        let resolved = block_on(resolve_at_start(&*app, &settings)).unwrap();
        assert!(matches!(resolved, Resolution::LoggedOut));
    }
}

#[test]
fn what_the_storage_does_not_do_is_an_error_and_can_be_tried_again() {
    let app = starting(Token::Unknown).answering(Effect::DeleteLatestUserId, Answer::Fails);
    let error = block_on(resolve_at_start(&*app, &settings())).unwrap_err();
    assert!(matches!(error, StartError::UserIdNotDeleted(_)));
    assert!(app.world().intent, "the next start tries again");

    let app = app.answering(Effect::DeleteLatestUserId, Answer::AtOnce);
    let app = app.answering(Effect::ClearIntent, Answer::Fails);
    let error = block_on(resolve_at_start(&*app, &settings())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "logged out, but the intent to log out could not be cleared: it is scripted to fail"
    );
    app.heal();
    let resolved = block_on(resolve_at_start(&*app, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::LoggedOut));
}

#[test]
fn it_may_be_dropped_at_every_await_and_called_again() {
    for token in [Token::Valid, Token::Unknown] {
        for polls in 0.. {
            let app = starting(token).usually(Answer::Turns(2));
            let settings = settings();
            let mut resolving = Box::pin(resolve_at_start(&*app, &settings));
            let mut context = Context::from_waker(Waker::noop());
            let ended =
                (0..polls).any(|_| matches!(resolving.as_mut().poll(&mut context), Poll::Ready(_)));
            drop(resolving);
            app.heal();
            let _ = block_on(resolve_at_start(&*app, &settings)).unwrap();
            assert!(!app.world().intent);
            assert_eq!(app.world().user_id, token == Token::Valid, "dropped after {polls} polls");
            if ended {
                assert!(polls > 8, "it has awaits");
                break;
            }
        }
    }
}

/// The record on a real disk, as an application would use it.
struct OnDisk {
    intent: IntentFile,
    app: Arc<App>,
}

impl Server for OnDisk {
    async fn log_out(&self) -> Result<(), state_machine::application::RequestError> {
        self.app.log_out().await
    }

    async fn who_am_i(&self) -> Result<Token, Failure> {
        self.app.who_am_i().await
    }
}

impl Storage for OnDisk {
    async fn record_intent(&self) -> Result<(), Failure> {
        Ok(self.intent.record()?)
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(self.intent.is_recorded()?)
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        Ok(self.intent.clear()?)
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        self.app.delete_latest_user_id().await
    }
}

#[test]
fn an_intent_file_is_found_by_whoever_comes_next_and_is_gone_when_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logout-intent");
    IntentFile::new(&path).record().unwrap();
    IntentFile::new(&path).record().unwrap();
    let next = OnDisk { intent: IntentFile::new(&path), app: starting(Token::Unknown) };
    let resolved = block_on(resolve_at_start(&next, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::LoggedOut));
    assert!(!path.exists());
    next.intent.clear().unwrap();
    let resolved = block_on(resolve_at_start(&next, &settings())).unwrap();
    assert!(matches!(resolved, Resolution::NothingRecorded));
}

#[test]
fn an_intent_that_cannot_be_recorded_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("logout-intent");
    let intent = IntentFile::new(&path);
    let error = intent.record().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(!intent.is_recorded().unwrap());
    intent.clear().unwrap();

    // A folder in its place is recorded by somebody else, and cannot be cleared.
    let intent = IntentFile::new(folder.path());
    assert!(intent.record().is_err() && intent.clear().is_err());
}
