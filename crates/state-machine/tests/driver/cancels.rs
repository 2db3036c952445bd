//! Cancels, in every state and from another thread.

use std::{sync::Arc, thread};

use futures::executor::block_on;
use state_machine::{
    application::Token,
    driver::Driver,
    error::{LogoutError, RecoverableError},
    passage::Cancellation,
    transition::Effect,
};

use crate::{
    faults::{STEPS, must_be_defined, reaching},
    script::{Answer, App, Hold, PLENTY, driver, settings},
};

#[test]
fn what_a_cancel_is_told_in_each_state_is_the_truth() {
    for (state, effect) in STEPS {
        let hold = Arc::new(Hold::default());
        let app = reaching(effect).answering(effect, Answer::Held(Arc::clone(&hold)));
        let driver = Driver::new(Arc::clone(&app), settings());
        let (told, ended) = thread::scope(|scope| {
            let run = scope.spawn(|| block_on(driver.run()));
            assert!(hold.reached.wait_blocking(PLENTY));
            let told = scope.spawn(|| driver.cancel()).join().unwrap();
            // What a cancel interrupts comes to its end without being released; here it is held.
            if told == Cancellation::TooLate || effect == Effect::AskServer {
                assert_eq!(driver.cancel(), told, "{state:?}: asked again");
                hold.release.fire();
            }
            (told, run.join().unwrap())
        });
        let cancelled = matches!(
            ended,
            Err(LogoutError::Recoverable { cause: RecoverableError::Cancelled, .. })
        );
        must_be_defined(&app, &driver, &format!("{state:?}"));
        match effect {
            Effect::CheckPrerequisites | Effect::StopSync | Effect::RecordIntent => {
                assert_eq!(told, Cancellation::Accepted, "{state:?}");
                assert!(cancelled, "{state:?}");
                assert_eq!(app.called(Effect::RequestLogout), 0, "{state:?}: nothing has left");
                assert_eq!(driver.cancel(), Cancellation::AlreadyCancelled);
            }
            // Held before the server acts, and given up: the server knows the token.
            Effect::RequestLogout => {
                assert_eq!(told, Cancellation::UpToServer);
                assert!(cancelled && app.called(Effect::AskServer) == 1);
                assert_eq!(app.world().token, Token::Valid);
                assert_eq!(driver.cancel(), Cancellation::NotUnderWay);
            }
            // The server has acted, and says so.
            Effect::AskServer => {
                assert_eq!(told, Cancellation::UpToServer);
                assert!(ended.is_ok());
                assert_eq!(driver.cancel(), Cancellation::TooLate);
            }
            _ => {
                assert_eq!(told, Cancellation::TooLate, "{state:?}");
                assert!(ended.is_ok(), "{state:?}");
                assert_eq!(driver.cancel(), Cancellation::TooLate);
            }
        }
    }
}

#[test]
fn there_is_nothing_to_cancel_before_the_first_run_and_the_first_run_is_not_harmed() {
    let app = App::new();
    let driver = driver(&app);
    assert_eq!(driver.cancel(), Cancellation::NotUnderWay);
    block_on(driver.run()).unwrap();
    assert_eq!(driver.cancel(), Cancellation::TooLate);
}

#[test]
fn a_run_after_a_cancelled_one_is_not_cancelled() {
    let hold = Arc::new(Hold::default());
    let app = App::new().answering(Effect::StopSync, Answer::Held(Arc::clone(&hold)));
    let driver = driver(&app);
    thread::scope(|scope| {
        let run = scope.spawn(|| block_on(driver.run()));
        assert!(hold.reached.wait_blocking(PLENTY));
        assert_eq!(driver.cancel(), Cancellation::Accepted);
        run.join().unwrap().unwrap_err();
    });
    app.heal();
    block_on(driver.run()).unwrap();
}

/// A step that is given up for a cancel, and whose destructor panics: that is caught.
#[test]
fn a_step_that_panics_when_it_is_given_up_does_not_keep_a_run_from_its_end() {
    let steps = [
        (Effect::StopSync, Cancellation::Accepted),
        (Effect::RequestLogout, Cancellation::UpToServer),
    ];
    for (effect, expected) in steps {
        let app = App::new().answering(effect, Answer::PanicsWhenDropped);
        let driver = driver(&app);
        let mut progress = driver.progress();
        let (ended, told) = block_on(async {
            let cancelling = async {
                // Polled after the run, and so after the step was begun.
                progress.wait_for(|_| app.called(effect) > 0).await.unwrap();
                driver.cancel()
            };
            tokio::join!(driver.run(), cancelling)
        });
        assert_eq!(told, expected);
        assert!(ended.is_err(), "{effect:?}: {ended:?}");
        must_be_defined(&app, &driver, &format!("{effect:?}"));
    }
}

#[test]
fn a_cancel_while_the_request_flies_that_nobody_can_settle_is_left_in_doubt() {
    let hold = Arc::new(Hold::default());
    let app = App::new()
        .answering(Effect::RequestLogout, Answer::Held(Arc::clone(&hold)))
        .answering(Effect::AskServer, Answer::Fails);
    let driver = driver(&app);
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| block_on(driver.run()));
        assert!(hold.reached.wait_blocking(PLENTY));
        assert_eq!(driver.cancel(), Cancellation::UpToServer);
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(
        error,
        LogoutError::Recoverable { cause: RecoverableError::InDoubt { .. }, .. }
    ));
    assert!(error.to_string().contains("given up, because the logout was to be cancelled"));
    assert!(app.world().intent);
}

/// Threads that cancel whenever they get to it. Whatever each is told must be what happened.
#[test]
fn of_cancels_that_race_with_a_run_each_is_told_the_truth() {
    let (mut accepted, mut others) = (0, 0);
    for round in 0..2_000 {
        // Now here, now there.
        let app = App::new().usually(Answer::Turns(round % 40));
        let driver = driver(&app);
        let (told, ended) = thread::scope(|scope| {
            let cancels: Vec<_> = (0..2)
                .map(|_| {
                    let (driver, mut progress) = (&driver, driver.progress());
                    scope.spawn(move || {
                        block_on(progress.wait_for(|shown| shown.run == 1)).unwrap();
                        driver.cancel()
                    })
                })
                .collect();
            let ended = block_on(driver.run());
            let told: Vec<_> = cancels.into_iter().map(|cancel| cancel.join().unwrap()).collect();
            (told, ended)
        });
        must_be_defined(&app, &driver, &format!("{told:?}"));
        let requested = app.called(Effect::RequestLogout) > 0;
        for told in &told {
            match told {
                Cancellation::Accepted | Cancellation::AlreadyCancelled => {
                    accepted += 1;
                    assert!(!requested && ended.is_err(), "{told:?}, and a request has left");
                }
                Cancellation::UpToServer => {
                    others += 1;
                    assert!(requested, "{told:?}, and no request has left");
                }
                Cancellation::TooLate => {
                    others += 1;
                    assert!(requested && ended.is_ok(), "{told:?}, and it did not complete");
                }
                Cancellation::NotUnderWay => assert!(ended.is_err(), "it was under way"),
            }
        }
        let firsts = told.iter().filter(|told| **told == Cancellation::Accepted).count();
        assert!(firsts <= 1, "two were told that it was their doing");
    }
    assert!(
        accepted > 0 && others > 0,
        "accepted {accepted}, others {others}: no race to speak of"
    );
}
