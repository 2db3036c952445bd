//! What the errors and reports say: the same by `{:?}` as by `{}`, and of one thing in the singular.

use std::{error::Error, io, panic::Location, path::PathBuf, sync::Arc, time::Duration};

use sundown::{
    NotCovered, RuntimeError, ShutdownError, ShutdownErrorKind, ShutdownReport, SpawnError,
    evidence::{EvidenceError, Unconfirmed},
    gate::{Cancelled, Closed, StillInside},
    oneshot::{Abandoned, WaitError},
    runtime::StartError,
    session::{Held, NotStarted, Refused, Session},
    shutdown::{Alive, SignalLoss, StillRunning},
    teardown::{TeardownError, Unfinished},
};

use crate::fixtures::SHORT;

const LIMIT: Duration = Duration::from_millis(20);

/// `fn main() -> Result<(), Box<dyn Error>>` prints an error by `{:?}`.
#[track_caller]
fn reads_well(error: &(dyn Error + 'static)) {
    let text = error.to_string();
    assert!(!text.contains(['{', '}']) && text.len() > 20, "{text}");
    assert_eq!(format!("{error:?}"), text, "no source says more than the error itself");
}

#[test]
fn the_debug_of_each_error_is_its_text() {
    let (component, source) = ("sync".to_owned(), || io::Error::other("no thread is left"));
    let generation = 1;
    let shut_down = RuntimeError::ShutDown { component: component.clone(), generation };
    reads_well(&shut_down);
    reads_well(&RuntimeError::OwnThread { component: component.clone() });
    reads_well(&StartError::NoThread { component: component.clone(), source: source() });
    reads_well(&StartError::Runtime(shut_down.clone()));
    reads_well(&NotStarted::NoRuntime { session: component.clone(), source: shut_down });
    reads_well(&NotStarted::NoThread { session: component.clone(), source: source() });
    reads_well(&Refused { value: (), session: component.clone(), forked_from: None });
    reads_well(&Closed);
    reads_well(&StillInside { inside: 1, limit: LIMIT });
    reads_well(&Cancelled);
    reads_well(&Abandoned);
    reads_well(&WaitError::TimedOut { limit: LIMIT });
    reads_well(&WaitError::Abandoned(Abandoned));
    reads_well(&SpawnError::NoRuntime);
    reads_well(&SignalLoss::ThreadEnded);
    reads_well(&EvidenceError::Unresolved { path: PathBuf::from("store"), source: source() });
    reads_well(&EvidenceError::Unsupported);
    reads_well(&Unconfirmed::Unavailable("nothing was open".to_owned()));
    let unfinished = Unfinished::default();
    reads_well(&TeardownError::<()>::TimedOut { elapsed: LIMIT, unfinished });
    reads_well(&TeardownError::CannotStart { value: (), source: source() });
    reads_well(&ShutdownError::new(&*component, LIMIT, ShutdownErrorKind::TimedOut));
    let session = Session::new("store").unwrap();
    let handle = session.guard(()).unwrap();
    let error = session.close_blocking(SHORT).unwrap_err();
    reads_well(&error);
    let failed = ShutdownErrorKind::Failed(Arc::new(error));
    reads_well(&ShutdownError::new(component, LIMIT, failed));
    drop(handle);
}

#[test]
fn the_fields_of_an_error_are_written_if_they_are_asked_for() {
    let error = ShutdownError::new("sync", LIMIT, ShutdownErrorKind::TimedOut);
    let fields = format!("{error:#?}");
    assert!(fields.contains("elapsed: 20ms") && fields.contains("kind: TimedOut"), "{fields}");
}

#[test]
fn one_of_a_kind_is_said_in_the_singular() {
    let made_at = Location::caller();
    let held = |handles| Held { made_at, handles };
    assert_eq!(held(1).to_string(), format!("1 handle made at {made_at}"));
    assert_eq!(held(2).to_string(), format!("2 handles made at {made_at}"));

    let alive = |tasks, threads: &[&str]| {
        let threads = threads.iter().map(ToString::to_string).collect();
        Alive { tasks, threads, ..Alive::default() }.to_string()
    };
    assert_eq!(alive(0, &[]), "0 tasks");
    assert_eq!(alive(1, &[]), "1 task");
    assert_eq!(alive(0, &["a"]), "thread `a`");
    assert_eq!(alive(2, &["a", "b"]), "2 tasks, threads `a`, `b`");

    let waiting = |waiting| Unfinished { waiting, ..Unfinished::default() }.to_string();
    assert_eq!(waiting(0), "nothing visible is left; retry with a longer limit");
    assert_eq!(waiting(1), "1 value waiting to be dropped");
    assert_eq!(waiting(2), "2 values waiting to be dropped");

    let inside = |inside| StillInside { inside, limit: LIMIT }.to_string();
    assert!(inside(1).starts_with("1 call still inside the gate"), "{}", inside(1));
    assert!(inside(2).starts_with("2 calls still inside the gate"), "{}", inside(2));

    for (one, two) in [
        (NotCovered::Escaped { values: 1 }, NotCovered::Escaped { values: 2 }),
        (NotCovered::ForeignTasks { alive: 1 }, NotCovered::ForeignTasks { alive: 2 }),
        (NotCovered::OutlivedRuntime { values: 1 }, NotCovered::OutlivedRuntime { values: 2 }),
        (NotCovered::SharedRuntime { sessions: 1 }, NotCovered::SharedRuntime { sessions: 2 }),
    ] {
        let plural = one.to_string().replace('1', "2");
        let words: Vec<_> = plural.split(' ').collect();
        assert!(two.to_string().split(' ').zip(words).all(|(two, one)| {
            two == one || two == format!("{one}s") || two == format!("{one}s,")
        }));
        assert_ne!(two.to_string(), plural, "{one}: the number shows in the word");
    }
}

#[test]
fn what_was_aborted_is_named() {
    let spawned_at = Location::caller();
    let mut report = ShutdownReport::new("sync", LIMIT, 3);
    report.aborted_tasks = vec![StillRunning { name: "poll".to_owned(), spawned_at, awaits: None }];
    report.not_covered = vec![NotCovered::ForeignTasks { alive: 1 }, NotCovered::Success];
    assert_eq!(
        report.to_string(),
        format!(
            "`sync` has ended after 20.0ms: 3 tasks aborted: `poll` (spawned at {spawned_at}) and 2 \
             more; not covered: 1 other task of the runtime; not visible to the kit: whether the work succeeded"
        )
    );
}
