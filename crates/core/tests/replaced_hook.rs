//! A panic hook of the application replaces the kit's. A program of its own, because a process has one hook.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic;

use sundown::{
    NotCovered,
    limit::PLENTY,
    runtime::{RuntimeOwner, State},
};

#[test]
fn a_report_does_not_claim_to_have_watched_when_the_hook_was_replaced() {
    let owner = RuntimeOwner::builder("watched").workers(1).watch_panics().start().unwrap();
    let is_covered = || {
        let report = owner.shutdown_blocking(PLENTY).unwrap();
        assert_eq!(owner.stats().state, State::Ended);
        owner.restart().unwrap();
        !report.not_covered.contains(&NotCovered::ForeignPanics)
    };
    assert!(is_covered(), "the control");

    // The application's own, which calls the kit's.
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| before(panic)));
    assert!(is_covered(), "chained");

    panic::set_hook(Box::new(|_| {}));
    assert!(!is_covered(), "replaced while it ran");
    assert!(is_covered(), "a restart has installed it again");
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}
