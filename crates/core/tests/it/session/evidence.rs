//! Evidence: when it is asked for, and what follows from its answers.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::executor::block_on;
use sundown::{
    evidence::{Evidence, Unconfirmed},
    session::{CloseError, CloseErrorKind, Confirmation, Session},
};

use super::{in_the_way, still_held};
use crate::fixtures::{PLENTY, SHORT, current_thread, stuck};

#[test]
fn the_session_closes_when_the_evidence_confirms_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let session = Session::builder("test").evidence({
        let asked = Arc::clone(&asked);
        move || match asked.fetch_add(1, Ordering::SeqCst) {
            0..3 => Err(Unconfirmed::Against("one is open".to_owned())),
            _ => Ok(()),
        }
    });
    let session = session.start().unwrap();
    let guard = session.guard(()).unwrap();
    still_held(session.close_blocking(SHORT));
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody asks before the handles are gone");
    drop(guard);
    let report = block_on(session.close(PLENTY)).unwrap();
    assert_eq!(report.confirmation, Confirmation::Evidence);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

fn with_evidence(check: impl Evidence + 'static) -> Session {
    Session::builder("test").evidence(check).start().unwrap()
}

fn why(error: CloseError) -> Unconfirmed {
    let CloseErrorKind::Unconfirmed(why) = error.kind else { panic!("{error}") };
    *why
}

fn is_against(kind: &CloseErrorKind) -> bool {
    matches!(kind, CloseErrorKind::Unconfirmed(why) if matches!(**why, Unconfirmed::Against(_)))
}

#[test]
fn evidence_against_it_is_an_error_at_the_limit() {
    let against = Unconfirmed::Against("one is open".to_owned());
    let session = with_evidence({
        let against = against.clone();
        move || Err(against.clone())
    });
    let error = in_the_way(&session, is_against);
    assert!(error.elapsed >= SHORT, "{error}");
    assert_eq!(why(error), against);
}

/// The pauses are 1, 2, 4, 8, 16 and from then on 20 ms.
#[test]
fn evidence_is_asked_for_again_after_longer_and_longer_pauses() {
    let asked = Arc::new(AtomicUsize::new(0));
    let session = with_evidence({
        let asked = Arc::clone(&asked);
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            Err(Unconfirmed::Against("one is open".to_owned()))
        }
    });
    let error = session.close_blocking(5 * SHORT).unwrap_err();
    let most = 6 + error.elapsed.as_millis() / 20;
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked > 0 && asked as u128 <= most, "{asked} times in {:?}", error.elapsed);
}

#[test]
fn evidence_that_is_not_available_is_an_error_at_once() {
    let unavailable = Unconfirmed::Unavailable("there is no list".to_owned());
    let check = {
        let unavailable = unavailable.clone();
        move || Err(unavailable.clone())
    };
    let session = with_evidence(check);
    assert_eq!(why(session.close_blocking(Duration::MAX).unwrap_err()), unavailable);
    let awaited = current_thread().block_on(session.close(Duration::MAX));
    assert_eq!(why(awaited.unwrap_err()), unavailable);
    let session = with_evidence(|| panic!("the list is torn"));
    let panicked = session.close_blocking(Duration::MAX).unwrap_err();
    assert!(panicked.to_string().contains("the list is torn"), "{panicked}");
}

#[test]
fn a_check_that_does_not_answer_keeps_nobody_beyond_the_limit() {
    let (stuck, blocks) = stuck();
    let blocks = std::sync::Mutex::new(Some(blocks));
    let session = with_evidence(move || {
        let blocks = blocks.lock().unwrap().take();
        blocks.into_iter().for_each(|blocks| blocks());
        Ok(())
    });
    let began = Instant::now();
    let silent = why(session.close_blocking(SHORT).unwrap_err());
    assert!(began.elapsed() < PLENTY);
    assert!(silent.to_string().contains("has not returned"), "{silent}");
    drop(stuck.let_go);
    let _ = session.close_blocking(PLENTY).unwrap();
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn a_clone_that_was_taken_out_of_a_handle_is_found_by_evidence_only() {
    use std::fs::File;
    use sundown::evidence::no_open_files;
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(File::create(directory.path().join("store")).unwrap());
    let session = Session::new("test").unwrap();
    drop(session.guard(Arc::clone(&store)).unwrap());
    let report = session.close_blocking(PLENTY).unwrap();
    assert_eq!(report.confirmation, Confirmation::HandlesOnly);

    let session = with_evidence(no_open_files(directory.path()));
    drop(session.guard(Arc::clone(&store)).unwrap());
    let error = in_the_way(&session, is_against);
    assert!(error.to_string().contains("1 open below"), "{error}");
    assert!(error.to_string().contains("store") && error.source().is_some(), "{error}");
    drop(store);
    let _ = session.close_blocking(PLENTY).unwrap();
}
