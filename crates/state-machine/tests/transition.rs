//! The pure layer: every pair of a state and an event, and the properties of every sequence.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{cell::Cell, fmt::Write as _};

use proptest::{
    prelude::any,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use state_machine::transition::{
    Effect, Event, Plan,
    Severity::{Recoverable, Unrecoverable},
    State, Transition, next, progress,
};

const SEQUENCES: u32 = 30_000;

const PLANS: [Plan; 4] = [
    Plan { tabs: true, restart: true },
    Plan { tabs: false, restart: true },
    Plan { tabs: true, restart: false },
    Plan { tabs: false, restart: false },
];

/// The table has every pair for the first plan, and for the other plans the pairs that differ.
#[test]
fn every_pair_of_state_and_event_has_its_transition() {
    let mut table = String::new();
    let mut pairs = 0;
    for (at, plan) in PLANS.into_iter().enumerate() {
        match at {
            0 => writeln!(table, "With tabs, runtime restarted:").unwrap(),
            _ => {
                let Plan { tabs, restart } = plan;
                writeln!(table, "\nOtherwise, tabs {tabs}, restart {restart}:").unwrap();
            }
        }
        for state in State::ALL {
            let mut ignored = Vec::new();
            for event in Event::ALL {
                pairs += 1;
                let transition = next(plan, state, event);
                if at > 0 && transition == next(PLANS[0], state, event) {
                    continue;
                }
                let Transition { state: follows, effects } = transition;
                if follows == state {
                    assert!(effects.is_empty(), "{state:?} stays, but has effects");
                    ignored.push(format!("{event:?}"));
                } else {
                    writeln!(table, "{state:?} + {event:?} → {follows:?} {effects:?}").unwrap();
                }
            }
            if !ignored.is_empty() {
                writeln!(table, "{state:?} ignores {}", ignored.join(" ")).unwrap();
            }
        }
    }
    assert_eq!(pairs, 4 * 15 * 9);
    insta::assert_snapshot!(table);
}

/// The events that the driver can report for an effect.
fn answers(effect: Effect) -> &'static [Event] {
    match effect {
        Effect::RestartSync | Effect::ClearIntent => &[],
        Effect::CheckPrerequisites | Effect::StopSync | Effect::RecordIntent => {
            &[Event::Done, Event::Failed, Event::Cancelled]
        }
        Effect::RequestLogout => {
            &[Event::Done, Event::Failed, Event::Cancelled, Event::TokenUnknown, Event::InDoubt]
        }
        Effect::AskServer => &[Event::TokenUnknown, Event::TokenValid, Event::Failed],
        Effect::DeleteLatestUserId
        | Effect::CloseTabs
        | Effect::CleanAppState
        | Effect::CloseSession
        | Effect::ShutDownTasks
        | Effect::RestartRuntime => &[Event::Done, Event::Failed],
    }
}

#[test]
fn every_state_but_an_end_has_an_effect_and_is_left_by_each_of_its_events() {
    for plan in PLANS {
        for (state, event) in pairs() {
            let Transition { state: entered, effects } = next(plan, state, event);
            if entered == state {
                continue;
            }
            let Some((last, others)) = effects.split_last() else {
                assert!(entered.is_end(), "{entered:?} has nothing to do");
                continue;
            };
            assert!(others.iter().all(|effect| answers(*effect).is_empty()), "{effects:?}");
            assert_eq!(entered.is_end(), answers(*last).is_empty(), "{entered:?}: {effects:?}");
            if entered.is_end() {
                continue;
            }
            for event in answers(*last).iter().chain([&Event::Dropped]) {
                let left = next(plan, entered, *event);
                assert_ne!(left.state, entered, "{entered:?} does not leave by {event:?}");
            }
        }
    }
}

/// A dropped driver cannot wait, so nothing but the restart of the sync service may follow.
#[test]
fn a_drop_leads_to_an_end_without_waiting() {
    for plan in PLANS {
        for state in State::ALL.into_iter().filter(|state| *state != State::Idle) {
            let Transition { state, effects } = next(plan, state, Event::Dropped);
            assert!(state.is_end());
            assert!(effects.iter().all(|effect| *effect == Effect::RestartSync), "{effects:?}");
        }
    }
}

fn pairs() -> impl Iterator<Item = (State, Event)> {
    State::ALL.into_iter().flat_map(|state| Event::ALL.map(|event| (state, event)))
}

/// The function under test. A test also passes broken ones.
type Machine = fn(Plan, State, Event) -> Transition;

/// Runs a sequence of events, and a drop at its end. Returns the last state, or the property that is
/// violated.
fn run(machine: Machine, plan: Plan, events: impl Iterator<Item = Event>) -> Result<State, String> {
    let (mut state, mut done, mut ends) = (State::Idle, Vec::new(), 0);
    let (mut forgotten, mut deleted) = (false, false);
    for event in events.chain([Event::Dropped]) {
        let Transition { state: follows, effects } = machine(plan, state, event);
        let moved = follows != state;
        if moved && state.is_end() {
            return Err(format!("{state:?} was an end, and {event:?} left it"));
        }
        if moved && !follows.is_end() && progress(follows) < progress(state) {
            return Err(format!("progress went back from {state:?} to {follows:?}"));
        }
        // In these pairs the server has forgotten the token, and the latest user id is deleted.
        forgotten |= matches!(
            (state, event),
            (State::LoggingOutFromServer, Event::Done | Event::TokenUnknown)
                | (State::AskingServer, Event::TokenUnknown)
                | (State::Idle, Event::Resumed)
        );
        deleted |= (state, event) == (State::PointOfNoReturn, Event::Done);
        ends += usize::from(moved && follows.is_end());
        done.extend_from_slice(effects);
        state = follows;
    }
    if done.is_empty() {
        // No run began.
        return Ok(state);
    }
    let count = |effect| done.iter().filter(|done| **done == effect).count();
    let requested = done.iter().position(|effect| *effect == Effect::RequestLogout);
    let unrecorded =
        requested.is_some_and(|requested| !done[..requested].contains(&Effect::RecordIntent));
    let broken = [
        (ends != 1 || !state.is_end(), "there is not exactly one end"),
        (forgotten != state.is_committed(), "it ended on the wrong side of the point of no return"),
        (
            count(Effect::RestartSync) != usize::from(!forgotten),
            "sync must be restarted if and only if it ended before the commit",
        ),
        (
            count(Effect::DeleteLatestUserId) != usize::from(forgotten),
            "deletion of the user id must be attempted if and only if committed",
        ),
        (
            count(Effect::ClearIntent) != usize::from(deleted),
            "the intent must be cleared if and only if the user id was deleted",
        ),
        (unrecorded, "a logout was requested without a recorded intent"),
    ];
    match broken.into_iter().find(|(broken, _)| *broken) {
        Some((_, what)) => Err(format!("{what}: {done:?}")),
        None => Ok(state),
    }
}

/// Thirty-one events of four bits each; the lowest bits are the plan's. Most events are `Done`, so
/// that the ends are reached.
fn events(bits: u128) -> impl Iterator<Item = Event> {
    (1..32).map(move |at| match bits >> (4 * at) & 15 {
        0..=6 => Event::Done,
        7..=8 => Event::Started,
        9 => Event::Failed,
        10 => Event::Resumed,
        11 => Event::InDoubt,
        12 => Event::TokenUnknown,
        13 => Event::TokenValid,
        14 => Event::Cancelled,
        _ => Event::Dropped,
    })
}

fn plan(bits: u128) -> Plan {
    Plan { tabs: bits & 1 == 0, restart: bits & 2 == 0 }
}

fn explore(machine: Machine, seen: impl Fn(State)) -> Result<(), TestError<u128>> {
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&any::<u128>(), |bits| {
        let end = run(machine, plan(bits), events(bits));
        seen(end.map_err(TestCaseError::fail)?);
        Ok(())
    })
}

#[test]
fn what_must_hold_for_every_logout_holds_for_thirty_thousand() {
    let ends = [State::Completed, State::Failed(Recoverable), State::Failed(Unrecoverable)];
    let counts = ends.map(|_| Cell::new(0_u32));
    explore(next, |end| {
        for (count, _) in counts.iter().zip(ends).filter(|(_, reached)| *reached == end) {
            count.set(count.get() + 1);
        }
    })
    .unwrap();
    // The control: each end was reached often.
    for (end, count) in ends.into_iter().zip(&counts) {
        assert!(count.get() > SEQUENCES / 100, "{end:?} was reached {} times only", count.get());
    }
}

#[test]
fn a_machine_with_a_mistake_is_caught() {
    fn without(dropped: Effect, transition: Transition) -> Transition {
        let kept = transition.effects.iter().filter(|effect| **effect != dropped).copied();
        // A small leak, in a test.
        Transition { effects: Vec::leak(kept.collect()), ..transition }
    }
    let machines: [(&str, Machine); 7] = [
        ("sync must be restarted", |plan, state, event| {
            without(Effect::RestartSync, next(plan, state, event))
        }),
        ("sync must be restarted", |plan, state, event| match (state, event) {
            // As in the first logout of Robrix, whose early returns leave sync stopped (experiment 23).
            (State::StoppingSyncService, Event::Failed) => {
                without(Effect::RestartSync, next(plan, state, event))
            }
            _ => next(plan, state, event),
        }),
        ("deletion of the user id", |plan, state, event| {
            without(Effect::DeleteLatestUserId, next(plan, state, event))
        }),
        ("intent must be cleared", |plan, state, event| match (state, event) {
            (State::PointOfNoReturn, Event::Failed) => next(plan, state, Event::Done),
            _ => next(plan, state, event),
        }),
        ("wrong side", |plan, state, event| match (state, event) {
            // Takes a lost answer for a failure.
            (State::AskingServer, Event::TokenUnknown) => {
                next(plan, State::AskingServer, Event::TokenValid)
            }
            _ => next(plan, state, event),
        }),
        ("without a recorded intent", |plan, state, event| {
            without(Effect::RecordIntent, next(plan, state, event))
        }),
        ("was an end", |plan, state, event| match (state, event) {
            (State::Failed(_), Event::Started) => next(plan, State::Idle, event),
            _ => next(plan, state, event),
        }),
    ];
    for (says, machine) in machines {
        match explore(machine, drop) {
            Err(TestError::Fail(reason, _)) => {
                assert!(reason.message().contains(says), "{says}: {}", reason.message());
            }
            other => assert!(other.is_err(), "nothing was found: {says}"),
        }
    }
}
