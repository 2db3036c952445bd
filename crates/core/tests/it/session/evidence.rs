//! Evidence: when it is asked for, and what follows from its answers.

use std::{
    fs::File,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    evidence::{Evidence, Unconfirmed, no_open_files, open_files},
    runtime::RuntimeOwner,
    session::{Builder, CloseError, CloseErrorKind, Confirmation, Inside, Session, SessionRuntime},
};

use super::{from_inside, in_the_way, still_held};
use crate::fixtures::{PLENTY, SHORT, current_thread, multi_thread, owned, stuck, until};

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
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

/// A connection that is just being made is open a moment later.
#[test]
fn checks_must_hold_twice_unless_the_runtime_of_the_session_has_ended() {
    const AGAINST: bool = false;
    const HOLDS: bool = true;
    let elsewhere = multi_thread();
    let owner = || RuntimeOwner::builder("test").workers(2).start().unwrap();
    let (shared, twice) = (owner(), [HOLDS, AGAINST, HOLDS, HOLDS]);
    let other = Session::builder("other").runtime(shared.clone()).start().unwrap();
    for (runtime, answers) in [
        (None::<SessionRuntime>, &twice[..]),
        (Some(elsewhere.handle().clone().into()), &twice[..]),
        (Some(shared.into()), &twice[..]),
        (Some(owner().into()), &[AGAINST, HOLDS][..]),
    ] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let builder = runtime.into_iter().fold(Session::builder("test"), Builder::runtime);
        let builder = builder.evidence({
            let (asked, answers) = (Arc::clone(&asked), answers.to_vec());
            move || {
                let mut asked = asked.lock().unwrap();
                asked.push(Instant::now());
                match answers[asked.len() - 1] {
                    HOLDS => Ok(()),
                    AGAINST => Err(Unconfirmed::Against("one is open".to_owned())),
                }
            }
        });
        let report = builder.start().unwrap().close_blocking(PLENTY).unwrap();
        assert_eq!(report.confirmation, Confirmation::Evidence);
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), answers.len());
        if let [.., first, second] = asked[..]
            && answers == twice
        {
            assert!(second - first >= Duration::from_millis(10), "{:?}", second - first);
        }
    }
    let _ = other.close_blocking(PLENTY).unwrap();
}

/// Nothing is open when the value is guarded, and its last handle is gone before the close begins.
#[test]
#[cfg(target_os = "linux")]
fn the_evidence_looks_before_a_value_is_torn_down() {
    let folder = tempfile::tempdir().unwrap();
    let session = with_evidence(no_open_files(folder.path()));
    let pool = session.guard(Mutex::new(None)).unwrap();
    *pool.lock().unwrap() = Some(File::create(folder.path().join("store.sqlite3")).unwrap());
    drop(pool);
    until("the teardown", || open_files(folder.path()).unwrap().is_empty());
    let report = session.close_blocking(PLENTY).unwrap();
    assert_eq!(report.confirmation, Confirmation::Evidence);
}

/// The control: what was closed before that is seen by no look, unless the application asks for one.
#[test]
#[cfg(target_os = "linux")]
fn what_was_open_between_the_looks_is_seen_only_if_the_session_is_told_to_look() {
    for looks in [false, true] {
        // A file system in memory gives no file the number of one that was deleted a moment ago, as others do. By such a
        // number, what another test has open would be taken for what is looked for.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let session = with_evidence(no_open_files(folder.path()));
        let pool = session.guard(()).unwrap();
        let file = File::create(folder.path().join("store.sqlite3")).unwrap();
        if looks {
            session.look();
        }
        drop(file);
        drop(pool);
        let closed = session.close_blocking(PLENTY);
        if looks {
            assert_eq!(closed.unwrap().confirmation, Confirmation::Evidence);
        } else {
            let error = closed.unwrap_err().to_string();
            assert!(error.contains("Session::look"), "it says what to do: {error}");
        }
    }
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
    // On a busy machine a close may not get so far as to ask.
    until("a check", || {
        let before = asked.load(Ordering::SeqCst);
        let error = session.close_blocking(5 * SHORT).unwrap_err();
        let (most, asked) =
            (6 + error.elapsed.as_millis() / 20, asked.load(Ordering::SeqCst) - before);
        assert!(asked as u128 <= most, "{asked} times in {:?}", error.elapsed);
        asked > 0
    });
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
    let blocks = Mutex::new(Some(blocks));
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

/// Looks and checks as often as it is asked.
#[derive(Clone, Default)]
struct Counts {
    looks: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
    against: Arc<AtomicUsize>,
}

impl Evidence for Counts {
    fn look(&self) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        panic!("a look that fails");
    }

    fn check(&self) -> Result<(), Unconfirmed> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        match self.against.load(Ordering::SeqCst) {
            0 => Ok(()),
            against => Err(Unconfirmed::Against(format!("{against} open"))),
        }
    }
}

#[test]
fn all_checks_must_confirm_whichever_was_added_last() {
    for speaks_against in [0, 1, 2] {
        let checks = [(); 3].map(|()| Counts::default());
        checks[speaks_against].against.store(7, Ordering::SeqCst);
        let builder = Session::builder("test");
        let builder = checks.iter().fold(builder, |builder, it| builder.evidence(it.clone()));
        let session = builder.start().unwrap();
        let error = in_the_way(&session, is_against);
        assert!(error.to_string().contains("7 open"), "{error}");
        checks[speaks_against].against.store(0, Ordering::SeqCst);
        let _ = session.close_blocking(PLENTY).unwrap();
        let asked = || checks.each_ref().map(|it| it.checks.load(Ordering::SeqCst));
        let before = asked();
        assert!(before.iter().all(|asked| *asked >= 2), "{before:?}");
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!(asked(), before, "what is confirmed is not asked again");
    }
}

#[test]
fn evidence_looks_when_a_value_comes_and_goes_once_when_closing_begins_and_when_it_is_told_to() {
    let check = Counts::default();
    let looks = || check.looks.load(Ordering::SeqCst);
    let session = with_evidence(check.clone());
    assert_eq!(looks(), 0);
    let guard = session.guard(()).unwrap();
    assert_eq!(looks(), 1);
    session.look();
    assert_eq!(looks(), 2);
    // On a busy machine a close may be over before the thread of the checks has begun.
    until("the look of the close", || {
        still_held(session.close_blocking(5 * SHORT));
        looks() >= 3
    });
    still_held(session.close_blocking(5 * SHORT));
    drop(guard.map(|()| ()));
    assert_eq!(looks(), 3, "not for a derived value");
    drop(guard);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(looks(), 4);
    session.look();
    assert_eq!(looks(), 4, "nothing is left to look at");
}

#[test]
fn a_check_that_hangs_is_one_check_whoever_asks_and_the_next_close_gets_its_answer() {
    let (stuck, blocks) = stuck();
    let (blocks, asked) = (Mutex::new(Some(blocks)), Arc::new(AtomicUsize::new(0)));
    let session = with_evidence({
        let asked = Arc::clone(&asked);
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            let blocks = blocks.lock().unwrap().take();
            blocks.into_iter().for_each(|blocks| blocks());
            Ok(())
        }
    });
    let has_not_returned = |kind: &CloseErrorKind| match kind {
        CloseErrorKind::Unconfirmed(why) => why.to_string().contains("check has not returned"),
        _ => false,
    };
    in_the_way(&session, has_not_returned);
    for _ in 0..100 {
        session.close_blocking(Duration::from_millis(1)).unwrap_err();
        assert!(session.close(Duration::ZERO).now_or_never().unwrap().is_err());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "201 closes");
    drop(stuck.let_go);
    let _ = session.close_blocking(PLENTY).unwrap();
    // Its answer counts. It is asked once more after 15 ms, and in between, if it answers before this close
    // waits for it.
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..=3).contains(&asked), "{asked} times");
}

#[test]
fn a_check_that_closes_its_own_session_is_answered_from_inside_on_the_same_thread() {
    let (slot, threads) = (Arc::new(Mutex::new(None::<Session>)), Arc::new(Mutex::new(Vec::new())));
    let session = with_evidence({
        let (slot, threads) = (Arc::clone(&slot), Arc::clone(&threads));
        move || {
            threads.lock().unwrap().push(thread::current().id());
            let session = slot.lock().unwrap().clone().unwrap();
            from_inside(Inside::Evidence, session.close_blocking(Duration::MAX));
            from_inside(Inside::Evidence, current_thread().block_on(session.close(Duration::MAX)));
            Err(Unconfirmed::Against("it asks itself".to_owned()))
        }
    });
    *slot.lock().unwrap() = Some(session.clone());
    for _ in 0..3 {
        in_the_way(&session, is_against);
    }
    let mut threads = threads.lock().unwrap();
    assert!(threads.len() >= 3);
    threads.dedup();
    assert_eq!(threads.len(), 1);
    slot.lock().unwrap().take();
}

/// The session would otherwise keep what a check holds for as long as somebody has the session, and both
/// for ever if that is the check.
#[test]
fn a_closed_session_keeps_none_of_its_checks_and_hooks() {
    let ((in_check, check_dropped), (in_hook, hook_dropped)) = (owned(), owned());
    let slot = Arc::new(Mutex::new(None::<Session>));
    let holds_the_session = Arc::clone(&slot);
    let session = Session::builder("test").evidence(move || {
        let _held = (&in_check, &holds_the_session);
        Ok(())
    });
    let session = session.before_close(async move || drop(in_hook)).start().unwrap();
    *slot.lock().unwrap() = Some(session.clone());
    let in_slot = Arc::downgrade(&slot);
    drop(slot);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert!(check_dropped() && hook_dropped() && in_slot.strong_count() == 0);
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
    assert!(error.to_string().contains("store"), "{error}");
    drop(store);
    let _ = session.close_blocking(PLENTY).unwrap();
}
