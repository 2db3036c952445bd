//! SIGINT and SIGTERM.

use std::io::{self, Write as _};

use leak_strategy::{
    ledger::{Outcome, Reason},
    plan::ExitPlan,
    signals::{SignalError, SignalGuard},
};
use rustix::process::Signal;

use crate::{PLAN, Plan, SHORT, SLACK, TEAR_DOWN, add, add_noisy, departure, hang, park_forever};

/// A plan whose process is told to end.
const TERM: Plan = Plan { signals: &[("ready", Signal::TERM)], ..PLAN };

fn wait_for_a_signal() {
    println!("ready");
    io::stdout().flush().unwrap();
    park_forever()
}

fn wait_with_a_guard(plan: &ExitPlan) {
    add_noisy(plan, "client", TEAR_DOWN, &[]);
    let _guard = SignalGuard::install(plan).unwrap();
    let second = SignalGuard::install(plan);
    assert!(matches!(second, Err(SignalError::AlreadyGuarded)));
    wait_for_a_signal();
}

#[test]
fn a_signal_carries_the_plan_out() {
    let interrupted =
        departure(Plan { signals: &[("ready", Signal::INT)], ..PLAN }, wait_with_a_guard);
    let terminated = departure(TERM, wait_with_a_guard);
    for (left, code) in [(interrupted, 130), (terminated, 143)] {
        assert_eq!(left.code, Some(code), "{}", left.stderr);
        assert_eq!(left.became("client"), (Outcome::TornDown, None));
        assert_eq!(left.stdout, "ready\ndropped client\n");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let signals = &[("ready", Signal::TERM), ("hanging", Signal::INT)];
    let left = departure(Plan { signals, ..PLAN }, |plan| {
        add(plan, "hanging", TEAR_DOWN, hang);
        wait_with_a_guard(plan);
    });
    assert_eq!(left.code, Some(130));
    assert_eq!(left.became("hanging"), (Outcome::Failed, Some(&Reason::Unfinished)));
    assert!(left.took < SHORT + SLACK, "it took {:?}", left.took);
}

#[test]
fn a_dropped_guard_gives_the_signals_back_and_another_can_follow() {
    let dropped = departure(TERM, |plan| {
        drop(SignalGuard::install(plan).unwrap());
        wait_for_a_signal();
    });
    let another = departure(TERM, |plan| {
        drop(SignalGuard::install(plan).unwrap());
        wait_with_a_guard(plan);
    });
    assert_eq!(dropped.signal, Some(Signal::TERM.as_raw()));
    assert!(dropped.ledger.is_none());
    assert_eq!(another.code, Some(143));
}
