//! Cancels between runs, and cancels of a step that panics. `faults.rs` has a cancel in every state, and
//! `tests/loom.rs` explores every interleaving of a cancel with the request.

use std::sync::Arc;

use futures::executor::block_on;
use state_machine::{
    cancel::Cancellation,
    error::{LogoutError, LogoutErrorKind},
    transition::Effect,
};

use crate::{
    faults::{must_be_defined, while_held},
    script::{Answer, App, Hold, driver},
};

#[test]
fn a_cancel_before_the_first_run_has_no_effect_on_it() {
    let driver = driver(&App::new());
    assert_eq!(driver.cancel(), Cancellation::NotRunning);
    let _ = block_on(driver.run()).unwrap();
    assert_eq!(driver.cancel(), Cancellation::TooLate);
}

#[test]
fn a_run_after_a_cancelled_one_is_not_cancelled() {
    let hold = Arc::new(Hold::default());
    let app = App::new().answering(Effect::StopSync, Answer::Held(Arc::clone(&hold)));
    let driver = driver(&app);
    let (answer, ended) = while_held(&driver, &hold, || (driver.cancel(), false));
    assert!(answer == Cancellation::Accepted && ended.is_err());
    app.heal();
    let _ = block_on(driver.run()).unwrap();
}

#[test]
fn a_step_that_panics_when_a_cancel_drops_it_does_not_keep_a_run_from_its_end() {
    let steps = [
        (Effect::StopSync, Cancellation::Accepted),
        (Effect::RequestLogout, Cancellation::UpToServer),
    ];
    for (effect, expected) in steps {
        let app = App::new().answering(effect, Answer::PanicsWhenDropped);
        let driver = driver(&app);
        let mut progress = driver.progress();
        let (ended, answer) = block_on(async {
            let cancelling = async {
                // Polled after the run, and so after the step began.
                progress.wait_for(|_| app.called(effect) > 0).await.unwrap();
                driver.cancel()
            };
            tokio::join!(driver.run(), cancelling)
        });
        assert_eq!(answer, expected);
        assert!(ended.is_err(), "{effect:?}: {ended:?}");
        must_be_defined(&app, &driver, &format!("{effect:?}"));
    }
}

#[test]
fn a_cancel_during_the_request_is_in_doubt_if_the_server_does_not_answer() {
    let hold = Arc::new(Hold::default());
    let app = App::new()
        .answering(Effect::RequestLogout, Answer::Held(Arc::clone(&hold)))
        .answering(Effect::AskServer, Answer::Fails);
    let driver = driver(&app);
    let (answer, ended) = while_held(&driver, &hold, || (driver.cancel(), false));
    assert_eq!(answer, Cancellation::UpToServer);
    let Err(LogoutError { kind: kind @ LogoutErrorKind::InDoubt { .. }, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert!(kind.to_string().contains("because a cancel was requested"), "{kind}");
    assert!(app.world().intent);
}
