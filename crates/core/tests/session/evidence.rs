//! Evidence: what is asked besides the handles, and what comes of its answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sundown::{
    evidence::Unconfirmed,
    latch::Latch,
    session::{CloseError, CloseErrorKind, Confirmation, Session},
};
use tokio::runtime::Builder;

use crate::{ENOUGH, PLENTY, SHORT};

#[test]
fn the_session_closes_when_the_evidence_confirms_it() {
    let (answers, asked) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let session = Session::builder("test").evidence({
        let asked = Arc::clone(&asked);
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            match answers.fetch_add(1, Ordering::SeqCst) {
                0..3 => Err(Unconfirmed::Against("one is open".to_owned())),
                _ => Ok(()),
            }
        }
    });
    let session = session.start().unwrap();
    let guard = session.guard(()).unwrap();
    session.close_blocking(SHORT).unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody asks before the handles are gone");
    drop(guard);
    let report = futures::executor::block_on(session.close(PLENTY)).unwrap();
    assert_eq!(report.confirmation, Confirmation::Evidence);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

/// What is in the way of a session with a check that does not confirm its end.
fn unconfirmed(
    limit: Duration,
    check: impl Fn() -> Result<(), Unconfirmed> + Send + Sync + 'static,
) -> Unconfirmed {
    let session = Session::builder("test").evidence(check).start().unwrap();
    let why = |result| match result {
        Err(CloseError { kind: CloseErrorKind::Unconfirmed(why), .. }) => *why,
        other => panic!("{other:?}"),
    };
    let blocking = why(session.close_blocking(limit));
    let runtime = Builder::new_current_thread().build().unwrap();
    assert_eq!(why(runtime.block_on(session.close(limit))), blocking);
    blocking
}

#[test]
fn evidence_against_it_is_an_error_at_the_limit() {
    let against = || Unconfirmed::Against("one is open".to_owned());
    assert_eq!(unconfirmed(ENOUGH, move || Err(against())), against());
}

#[test]
fn evidence_that_is_not_to_be_had_is_an_error_at_once() {
    let none = || Unconfirmed::Unavailable("there is no list".to_owned());
    assert_eq!(unconfirmed(Duration::MAX, move || Err(none())), none());
    let panicked = unconfirmed(Duration::MAX, || panic!("the list is torn"));
    assert!(panicked.to_string().contains("the list is torn"), "{panicked}");
}

#[test]
fn a_check_that_does_not_answer_keeps_nobody_beyond_the_limit() {
    let latch = Arc::new(Latch::new());
    let silent = unconfirmed(SHORT, {
        let latch = Arc::clone(&latch);
        move || {
            assert!(latch.wait_blocking(PLENTY));
            Ok(())
        }
    });
    assert!(silent.to_string().contains("has not answered"), "{silent}");
    latch.fire();
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn a_clone_that_was_taken_out_of_a_handle_is_found_by_evidence_and_not_without() {
    use std::fs::File;
    use sundown::evidence::no_open_files;
    for with_evidence in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(File::create(directory.path().join("store")).unwrap());
        let mut builder = Session::builder("test");
        if with_evidence {
            builder = builder.evidence(no_open_files(directory.path()));
        }
        let session = builder.start().unwrap();
        let guard = session.guard(store).unwrap();
        let escaped = Arc::clone(&guard);
        drop(guard);
        let result = session.close_blocking(ENOUGH);
        if with_evidence {
            let error = result.unwrap_err();
            let CloseErrorKind::Unconfirmed(why) = &error.kind else { panic!("{error}") };
            assert!(why.to_string().starts_with("1 open below"), "{why}");
            assert!(error.to_string().contains("store"), "{error}");
        } else {
            assert_eq!(result.unwrap().confirmation, Confirmation::HandlesOnly);
        }
        drop(escaped);
        let _ = session.close_blocking(PLENTY).unwrap();
    }
}
