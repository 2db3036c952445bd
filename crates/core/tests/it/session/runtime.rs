//! A session with a runtime of its own: what runs there has ended when the session has closed.

use std::{
    fs::File,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, executor::block_on};
use sundown::{
    evidence::{Unconfirmed, no_open_files, open_files},
    latch::Latch,
    oneshot::WaitError,
    runtime::RuntimeOwner,
    session::{CloseErrorKind, Confirmation, Inside, Session},
    shutdown::ShutdownErrorKind,
};

use super::{from_inside, in_the_way};
use crate::fixtures::{PLENTY, SHORT, obeys, on_drop, pool, stuck, until};

/// Their foreign tasks never end by themselves, except in tests that are about that.
fn runtimes() -> [RuntimeOwner; 2] {
    let builder = || RuntimeOwner::builder("test").foreign_time(SHORT);
    [builder().current_thread().start().unwrap(), builder().workers(2).start().unwrap()]
}

fn session_on(owner: &RuntimeOwner) -> Session {
    Session::builder("test").runtime(owner.clone()).start().unwrap()
}

/// Like a client whose initialization task keeps its connections open.
#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn a_clone_in_a_task_of_the_resource_ends_with_the_runtime_and_not_without() {
    for owner in runtimes() {
        for (with_runtime, with_evidence) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let directory = tempfile::tempdir().unwrap();
            let client = Arc::new(File::create(directory.path().join("store")).unwrap());
            let in_task = Arc::clone(&client);
            let task = owner.handle().unwrap().spawn(async move {
                pending::<()>().await;
                drop(in_task);
            });
            let mut builder = Session::builder("test");
            if with_runtime {
                builder = builder.runtime(owner.clone());
            }
            if with_evidence {
                builder = builder.evidence(no_open_files(directory.path()));
            }
            let session = builder.start().unwrap();
            drop(session.guard(client).unwrap());
            if !with_runtime && with_evidence {
                in_the_way(&session, |kind| {
                    matches!(kind, CloseErrorKind::Unconfirmed(why)
                        if matches!(**why, Unconfirmed::Against(_)))
                });
            } else {
                let expected = match (with_runtime, with_evidence) {
                    (_, true) => Confirmation::Evidence,
                    (true, false) => Confirmation::OwnRuntime,
                    (false, false) => Confirmation::HandlesOnly,
                };
                let report = session.close_blocking(PLENTY).unwrap();
                assert_eq!(report.confirmation, expected);
            }
            let open = open_files(directory.path()).unwrap().len();
            assert_eq!(open, usize::from(!with_runtime), "without its runtime it stays open");
            task.abort();
            block_on(task).unwrap_err();
            if with_runtime {
                owner.restart().unwrap();
            }
        }
        let _ = owner.shutdown_blocking(PLENTY).unwrap();
    }
}

#[test]
fn handles_in_tasks_of_the_runtime_are_dropped_with_it() {
    for owner in runtimes() {
        let (session, (first, first_closed), (second, second_closed)) =
            (session_on(&owner), pool(), pool());
        // One task listens to its signal, the other does not.
        let (listens, deaf) = (session.guard(first).unwrap(), session.guard(second).unwrap());
        drop(owner.spawn("listens", |stop| async move {
            stop.await;
            drop(listens.clone());
        }));
        owner.handle().unwrap().spawn(async move {
            pending::<()>().await;
            drop(deaf);
        });
        let report = session.close_blocking(PLENTY).unwrap();
        assert_eq!((report.aborted, report.confirmation), (0, Confirmation::OwnRuntime));
        assert_eq!((first_closed(), second_closed()), (2, 2));
    }
}

#[test]
fn blocking_work_on_the_runtime_has_ended() {
    for owner in runtimes() {
        let (session, ended) = (session_on(&owner), Arc::new(AtomicBool::new(false)));
        let (begins, begun) = mpsc::channel();
        let goes_on = {
            let (ended, owner) = (Arc::clone(&ended), owner.clone());
            move || {
                begins.send(()).unwrap();
                // Until the runtime is told to stop, and then a while.
                while owner.handle().is_ok() {
                    thread::yield_now();
                }
                (0..1_000).for_each(|_| thread::yield_now());
                ended.store(true, Ordering::SeqCst);
            }
        };
        owner.handle().unwrap().spawn_blocking(goes_on);
        begun.recv().unwrap();
        let _ = block_on(session.close(PLENTY)).unwrap();
        assert!(ended.load(Ordering::SeqCst));
    }
}

#[test]
fn a_runtime_that_does_not_end_is_an_error_and_waited_for_again() {
    for owner in runtimes() {
        let (session, (stuck, blocks)) = (session_on(&owner), stuck());
        let guard = session.guard(()).unwrap();
        owner.handle().unwrap().spawn_blocking(move || {
            blocks();
            drop(guard);
        });
        stuck.has_begun.recv().unwrap();
        for limit in [SHORT, Duration::ZERO] {
            let error = session.close_blocking(limit).unwrap_err();
            let CloseErrorKind::Runtime(source) = &error.kind else { panic!("{error}") };
            assert!(matches!(source.kind, ShutdownErrorKind::TimedOut), "{source}");
            assert_eq!(error.held.len(), 1, "{error}");
            assert!(error.elapsed >= limit / 2 && error.to_string().contains(file!()), "{error}");
        }
        // The limit of the runtime passes 100 ms before that of the close, so that it can name its
        // threads. On a busy machine not every time.
        let names_threads = || match session.close_blocking(20 * SHORT).unwrap_err().kind {
            CloseErrorKind::Runtime(source) => !source.alive.threads.is_empty(),
            other => panic!("{other:?}"),
        };
        assert!((0..5).any(|_| names_threads()));
        drop(stuck.let_go);
        let _ = session.close_blocking(PLENTY).unwrap();
    }
}

#[test]
fn a_handle_elsewhere_outlasts_the_runtime_and_is_reported() {
    for owner in runtimes() {
        let (session, (pool, closed)) = (session_on(&owner), pool());
        let guard = session.guard(pool).unwrap();
        in_the_way(&session, |kind| matches!(kind, CloseErrorKind::StillHeld));
        assert!(owner.handle().is_err(), "one of its tasks could have held it");
        drop(guard);
        let _ = session.close_blocking(PLENTY).unwrap();
        assert_eq!(closed(), 2);
    }
}

#[test]
fn a_panic_of_a_task_of_the_runtime_is_reported_when_everything_has_ended() {
    for owner in runtimes() {
        let (session, (pool, closed)) = (session_on(&owner), pool());
        let guard = session.guard(pool).unwrap();
        let unlucky = owner.spawn("unlucky", |_| async move {
            let _guard = guard;
            panic!("out of luck")
        });
        owner.block_on(unlucky.unwrap()).unwrap().unwrap_err();
        let held = session.guard(()).unwrap();
        in_the_way(&session, |kind| matches!(kind, CloseErrorKind::StillHeld));
        drop(held);
        let error = session.close_blocking(PLENTY).unwrap_err();
        let CloseErrorKind::Runtime(source) = &error.kind else { panic!("{error}") };
        assert!(matches!(source.kind, ShutdownErrorKind::Panicked(_)), "{source}");
        assert!(error.held.is_empty() && error.to_string().contains("out of luck"), "{error}");
        assert_eq!(closed(), 2);
    }
}

#[test]
fn a_close_on_its_own_runtime_is_an_error_and_not_a_deadlock() {
    for owner in runtimes() {
        let session = session_on(&owner);
        let guard = session.guard(()).unwrap();
        // Polled here first, and then moved into the runtime.
        let mut moved = Box::pin(session.close(Duration::MAX));
        assert!((&mut moved).now_or_never().is_none());
        let in_task = owner.spawn("closes", {
            let session = session.clone();
            |_| async move {
                let result = session.close(Duration::MAX).await;
                drop(guard);
                result
            }
        });
        let in_task = block_on(in_task.unwrap()).unwrap();
        let in_block_on = owner.block_on(session.close(Duration::MAX)).unwrap();
        let handle = owner.handle().unwrap();
        let moved = owner.block_on(moved).unwrap();
        for answer in [in_task, in_block_on, moved] {
            from_inside(Inside::OwnRuntime, answer);
        }
        // A thread that has only entered the context is not inside.
        let _context = handle.enter();
        let _ = session.close_blocking(PLENTY).unwrap();
    }
}

#[test]
fn the_next_generation_of_the_runtime_belongs_to_the_next_session() {
    for owner in runtimes() {
        let first = session_on(&owner);
        let _ = first.close_blocking(PLENTY).unwrap();
        owner.restart().unwrap();
        let second = session_on(&owner);
        let _ = first.close_blocking(PLENTY).unwrap();
        assert!(owner.handle().is_ok(), "the first session has closed its own");
        let _ = second.close_blocking(PLENTY).unwrap();
        assert!(owner.handle().is_err());
    }
}

#[test]
fn a_destructor_may_wait_for_a_task_of_the_runtime() {
    for owner in runtimes() {
        let (session, latch) = (session_on(&owner), Arc::new(Latch::new()));
        let writes = owner.spawn("writes", {
            let latch = Arc::clone(&latch);
            move |_| async move { latch.wait().await }
        });
        let mut written = writes.unwrap();
        let value = on_drop(move || {
            latch.fire();
            written.wait_blocking(PLENTY).unwrap();
        });
        drop(session.guard(value).unwrap());
        assert_eq!(session.close_blocking(PLENTY).unwrap().aborted, 0);
    }
}

#[test]
fn a_destructor_may_wait_for_a_task_that_only_the_end_of_the_runtime_ends() {
    for owner in runtimes() {
        let session = session_on(&owner);
        let mut listens = owner.spawn("listens", obeys).unwrap();
        // On a busy machine it may be dropped before it has seen its signal, which also ends it.
        let value = on_drop(move || {
            let ended = listens.wait_blocking(PLENTY);
            assert!(!matches!(ended, Err(WaitError::TimedOut { .. })), "{ended:?}");
        });
        drop(session.guard(value).unwrap());
        let began = Instant::now();
        // The close waits half of its limit for the destructor. On a busy machine the other half may be
        // too short for the rest.
        while let Err(error) = session.close_blocking(10 * SHORT) {
            assert!(began.elapsed() < PLENTY, "{error}");
        }
    }
}

#[test]
fn a_session_that_is_dropped_unclosed_takes_its_runtime_down() {
    for owner in runtimes() {
        let (session, (pool, closed)) = (session_on(&owner), pool());
        let guard = session.guard(pool).unwrap();
        drop(owner.handle().unwrap().spawn(async move {
            pending::<()>().await;
            drop(guard);
        }));
        drop((session, owner));
        until("the closers", || closed() == 2);
    }
}
