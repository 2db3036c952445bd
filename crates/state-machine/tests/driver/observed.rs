//! What a logout tells the outside: an event and a count, each behind its feature.
#![cfg(all(feature = "metrics", feature = "tracing"))]

#[path = "../../../core/tests/observed/log.rs"]
mod log;

use futures::{FutureExt as _, executor::block_on};
use state_machine::transition::Effect;

use crate::script::{Answer, App, driver};

/// What some code lets the outside know of the logouts in it.
fn observed(code: impl FnOnce()) -> Vec<String> {
    log::observed("state_machine", code)
}

/// The lines of one run.
fn lines(level: &str, outcome: &str, message: &str) -> Vec<String> {
    vec![
        format!("{level} message={message} component=\"logout\" outcome=\"{outcome}\""),
        format!("sundown_shutdown_total{{component=logout,outcome={outcome}}} +1"),
        "sundown_shutdown_seconds{component=logout} recorded".to_owned(),
    ]
}

#[test]
fn a_logout_that_completes_is_an_event_and_a_count() {
    let told = observed(|| {
        block_on(driver(&App::new()).run()).unwrap();
    });
    assert_eq!(told, lines("DEBUG", "graceful", "logged out"));
}

#[test]
fn what_a_logout_leaves_undone_is_told_in_its_outcome() {
    let app = App::new().answering(Effect::CloseTabs, Answer::Fails);
    let mut message = String::new();
    let told = observed(|| {
        let driver = driver(&app);
        assert_eq!(block_on(driver.run()).unwrap().warnings.len(), 1);
        message = driver.progress().borrow().message.clone();
    });
    assert_eq!(told, lines("WARN", "partial", &message));
}

#[test]
fn a_logout_that_fails_tells_on_which_side_of_the_point_of_no_return() {
    for (effect, outcome) in
        [(Effect::StopSync, "recoverable"), (Effect::RestartRuntime, "unrecoverable")]
    {
        let app = App::new().answering(effect, Answer::Fails);
        let mut message = String::new();
        let told = observed(|| message = block_on(driver(&app).run()).unwrap_err().to_string());
        assert_eq!(told, lines("WARN", outcome, &message), "{effect:?}");
    }
}

#[test]
fn a_run_that_is_dropped_is_told_of_and_one_that_is_refused_is_not() {
    let app = App::new().answering(Effect::CloseTabs, Answer::Never);
    let mut message = String::new();
    let told = observed(|| {
        let driver = driver(&app);
        let mut run = Box::pin(driver.run());
        assert!(run.as_mut().now_or_never().is_none());
        assert!(block_on(driver.run()).is_err());
        drop(run);
        message = driver.progress().borrow().message.clone();
    });
    assert_eq!(told, lines("WARN", "given_up", &message));
}
