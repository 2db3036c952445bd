//! The event and the count at the end of each logout, each behind its feature.
//!
//! A binary of its own, because tracing can miss the first event of a place in the code if another
//! thread reaches that place without a subscriber at the same moment.
#![cfg(all(not(loom), feature = "metrics", feature = "tracing"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod by_effect;
#[path = "../../core/tests/observed/log.rs"]
mod log;

use std::{future::pending, sync::Arc, time::Duration};

use by_effect::{ByEffect, Perform};
use futures::{FutureExt as _, executor::block_on};
use state_machine::{
    application::Failure, config::LogoutConfig, driver::Driver, transition::Effect,
};

/// An application in which an effect fails or hangs.
#[derive(Default)]
struct App {
    fails: Option<Effect>,
    hangs: Option<Effect>,
}

impl Perform for App {
    async fn perform(&self, effect: Effect, _: Option<Duration>) -> Result<(), Failure> {
        match Some(effect) {
            effect if effect == self.fails => Err("it is to fail".into()),
            effect if effect == self.hangs => pending().await,
            _ => Ok(()),
        }
    }
}

fn driver(app: App) -> Driver<ByEffect<App>> {
    Driver::new(Arc::new(ByEffect(app)), LogoutConfig::default())
}

/// Runs a logout that returns its message, and checks that it reports this and nothing else.
#[track_caller]
fn must_report(level: &str, outcome: &str, logout: impl FnOnce() -> String) {
    let mut message = String::new();
    let observed = log::observed("state_machine", || message = logout());
    assert_eq!(
        observed,
        [
            format!("{level} message={message} component=\"logout\" outcome=\"{outcome}\""),
            format!("sundown_shutdown_total{{component=logout,outcome={outcome}}} +1"),
            "sundown_shutdown_seconds{component=logout} recorded".to_owned(),
        ]
    );
}

#[test]
fn a_logout_that_completes_is_an_event_and_a_count() {
    let driver = driver(App::default());
    must_report("DEBUG", "graceful", || {
        assert!(block_on(driver.run()).unwrap().warnings.is_empty());
        "logged out".to_owned()
    });
}

#[test]
fn a_logout_with_a_warning_is_partial() {
    let driver = driver(App { fails: Some(Effect::CloseTabs), ..App::default() });
    must_report("WARN", "partial", || {
        assert_eq!(block_on(driver.run()).unwrap().warnings.len(), 1);
        driver.progress().borrow().message.clone()
    });
}

#[test]
fn a_logout_that_fails_reports_on_which_side_of_the_point_of_no_return() {
    for (effect, outcome) in
        [(Effect::StopSync, "recoverable"), (Effect::RestartRuntime, "unrecoverable")]
    {
        let driver = driver(App { fails: Some(effect), ..App::default() });
        must_report("WARN", outcome, || block_on(driver.run()).unwrap_err().to_string());
    }
}

#[test]
fn a_run_that_is_dropped_is_reported_and_one_that_is_refused_is_not() {
    let driver = driver(App { hangs: Some(Effect::CloseTabs), ..App::default() });
    must_report("WARN", "dropped", || {
        let mut run = Box::pin(driver.run());
        assert!(run.as_mut().now_or_never().is_none());
        assert!(block_on(driver.run()).is_err());
        drop(run);
        driver.progress().borrow().message.clone()
    });
}
