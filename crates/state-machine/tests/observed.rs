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

/// Runs a logout, and checks that it reports this end with the message that it shows, and nothing else.
#[track_caller]
fn must_report(driver: &Driver<ByEffect<App>>, level: &str, outcome: &str, logout: impl FnOnce()) {
    let observed = log::observed("sundown", logout);
    let message = driver.progress().borrow().message.clone();
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
fn each_end_of_a_logout_is_an_event_and_a_count() {
    let ends = [
        (None, "DEBUG", "graceful"),
        (Some(Effect::CloseTabs), "WARN", "partial"),
        (Some(Effect::StopSync), "WARN", "recoverable"),
        (Some(Effect::RestartRuntime), "WARN", "unrecoverable"),
    ];
    for (fails, level, outcome) in ends {
        let driver = driver(App { fails, hangs: None });
        must_report(&driver, level, outcome, || drop(block_on(driver.run())));
    }
}

#[test]
fn a_dropped_run_is_reported_and_a_refused_one_is_not() {
    let driver = driver(App { hangs: Some(Effect::CloseTabs), fails: None });
    must_report(&driver, "WARN", "dropped", || {
        let mut run = Box::pin(driver.run());
        assert!(run.as_mut().now_or_never().is_none());
        assert!(block_on(driver.run()).is_err());
    });
}
