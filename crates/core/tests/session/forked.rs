//! A session in a forked child, where there are none of its threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use fork::{Fork, WIFSIGNALED, WTERMSIG, fork, waitpid};
use rustix::process::{Signal, getpid, kill_process};
use sundown::session::{CloseError, CloseErrorKind, Guarded, Session};

use crate::{PLENTY, Pool, pool, session};

/// Everything that can be done with a session and a handle, with the answers that a child must get.
fn everything(session: Session, guard: Guarded<Pool>) -> bool {
    fn forked<T>(result: Result<T, CloseError>) -> bool {
        matches!(result, Err(CloseError { kind: CloseErrorKind::Forked { .. }, .. }))
    }
    let clone = guard.clone();
    let derived = guard.map(|_| ());
    let answers = [
        session.guard(()).is_err(),
        forked(session.close_blocking(PLENTY)),
        forked(futures::executor::block_on(session.close(PLENTY))),
        session.values() > 0,
        !session.held().is_empty(),
    ];
    drop((guard, clone, derived, session));
    answers.into_iter().all(|as_it_should_be| as_it_should_be)
}

/// What a child does must be true. It neither returns nor unwinds into what the parent is doing, and
/// it does not exit in an orderly way: at that, std takes locks that a thread of the parent may have
/// held. How it is killed tells how it went.
fn in_a_child(does: impl FnOnce() -> bool) -> bool {
    match fork().unwrap() {
        Fork::Child => {
            let went_well = catch_unwind(AssertUnwindSafe(does)).unwrap_or(false);
            let signal = if went_well { Signal::KILL } else { Signal::ABORT };
            let _ = kill_process(getpid(), signal);
            process::abort();
        }
        Fork::Parent(child) => {
            let status = waitpid(child).unwrap();
            WIFSIGNALED(status) && WTERMSIG(status) == Signal::KILL.as_raw()
        }
    }
}

#[test]
fn a_forked_child_is_answered_at_once_whatever_its_parent_was_doing() {
    let (session, (value, closed), enough) = (session(), pool(), AtomicBool::new(false));
    let guard = session.guard(value).unwrap();
    thread::scope(|scope| {
        // They and the session's threads hold the locks that there are, at one time or another.
        for _ in 0..2 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let (value, closed) = pool();
                    drop(session.guard(value).unwrap());
                    while closed() < 2 {
                        thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..50 {
            let (session, guard) = (session.clone(), guard.clone());
            assert!(in_a_child(|| everything(session, guard)));
        }
        enough.store(true, Ordering::Relaxed);
    });
    assert_eq!(closed(), 0, "no child has torn it down");
    drop(guard);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed(), 2);
}
