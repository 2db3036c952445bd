//! A forked child has none of its parent's threads, and a lock that one of them held is held for ever.
//!
//! A program of its own: Linux promises little to a child that is forked while other threads start
//! threads, as other tests do all the time.
#![cfg(all(unix, not(loom)))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::incompatible_msrv, reason = "only the kit builds with the oldest Rust")]

use std::{
    future::{Future, pending},
    io::{self, Read as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use fork::{Fork, WIFSIGNALED, WTERMSIG, fork, waitpid};
use futures::executor::block_on;
use rustix::process::{Pid, Signal, getpid, kill_process};
use sundown::{
    gate::EntryGate,
    latch::Latch,
    limit::{PLENTY, within},
    runtime::{RuntimeBuilder, RuntimeCell, RuntimeError, RuntimeOwner, StartError},
    session::{CloseError, CloseErrorKind, Guarded, Session},
    teardown::teardown_blocking,
};

/// One test at a time: see above.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether this is true in a child, which must end. A child in which std itself starts no thread is
/// replaced by another: std and the C library have locks of their own that they take whenever a thread
/// starts or ends.
fn in_a_child(does: impl FnOnce() -> bool) -> bool {
    // Each child takes it from its own copy.
    let mut does = Some(does);
    let mut answers = (0..10).filter_map(|_| in_one_child(|| does.take().is_some_and(|it| it())));
    answers.next().expect("std starts no thread in any of ten children")
}

/// As [`in_a_child`]; `None` in a child in which std starts no thread. The child kills itself: it neither
/// returns into what the parent is doing, nor exits in an orderly way, because at that std takes locks
/// that a thread of the parent may have held. The signal is the answer.
fn in_one_child(does: impl FnOnce() -> bool) -> Option<bool> {
    let (mut is_able, mut able) = io::pipe().unwrap();
    match fork().unwrap() {
        Fork::Child => {
            let went_well = catch_unwind(AssertUnwindSafe(|| {
                // Here it stays if it cannot.
                thread::spawn(|| ()).join().unwrap();
                able.write_all(&[1]).unwrap();
                does()
            }));
            let signal = if went_well.unwrap_or(false) { Signal::KILL } else { Signal::ABORT };
            let _ = kill_process(getpid(), signal);
            process::abort();
        }
        Fork::Parent(child) => {
            drop(able);
            let (status, is_status) = mpsc::channel();
            let waiting = thread::spawn(move || status.send(waitpid(child).unwrap()));
            let (able, has_told) = mpsc::channel();
            let reading = thread::spawn(move || able.send(is_able.read_exact(&mut [0]).is_ok()));
            let is_able = has_told.recv_timeout(PLENTY / 12).unwrap_or(false);
            let limit = if is_able { PLENTY / 2 } else { Duration::ZERO };
            let ended = is_status.recv_timeout(limit);
            if ended.is_err() {
                let _ = kill_process(Pid::from_raw(child).unwrap(), Signal::ABORT);
            }
            let (_, _) = (waiting.join(), reading.join());
            let killed = |status| WIFSIGNALED(status) && WTERMSIG(status) == Signal::KILL.as_raw();
            is_able.then(|| ended.is_ok_and(killed))
        }
    }
}

/// Does `meanwhile` again and again on two threads while `test` runs, so that every lock is held at one
/// time or another.
fn with_busy_threads(meanwhile: impl Fn() + Sync, test: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    meanwhile();
                }
            });
        }
        let tested = catch_unwind(AssertUnwindSafe(test));
        enough.store(true, Ordering::Relaxed);
        tested.unwrap();
    });
}

fn a_limit_passes() -> bool {
    block_on(within(Duration::from_millis(5), pending::<()>())).is_none()
}

#[test]
fn a_forked_child_keeps_limits_whatever_its_parents_clock_was_doing() {
    // The parent's clock runs all the time, and its lock is held now and then.
    let busy = || {
        let far = within(PLENTY, pending::<()>());
        assert_eq!(block_on(within(Duration::from_micros(50), far)), None);
    };
    with_busy_threads(busy, || {
        assert!(a_limit_passes());
        assert!((0..50).all(|_| in_a_child(a_limit_passes)), "a child kept no limit");
        let nested = in_a_child(|| a_limit_passes() && in_a_child(a_limit_passes));
        assert!(nested, "a child of a child kept no limit");
    });
}

#[test]
fn a_limit_that_was_awaited_in_the_parent_is_kept_in_a_forked_child() {
    struct Fires(Latch);
    impl Wake for Fires {
        fn wake(self: Arc<Self>) {
            self.0.fire();
        }
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fires = Arc::new(Fires(Latch::new()));
    let waker = Waker::from(Arc::clone(&fires));
    let mut context = Context::from_waker(&waker);
    let mut limited = Box::pin(within(Duration::from_millis(200), pending::<()>()));
    assert!(limited.as_mut().poll(&mut context).is_pending());
    // The child has a copy of the alarm, and nothing of the clock that would go off.
    let kept = in_a_child(|| {
        limited.as_mut().poll(&mut context).is_ready()
            || fires.0.wait_blocking(PLENTY) && limited.as_mut().poll(&mut context).is_ready()
    });
    assert!(kept);
}

/// Counts how often it is torn down, where its destructor finds a runtime.
struct Value(Arc<AtomicUsize>);

impl Drop for Value {
    fn drop(&mut self) {
        let closed = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || closed.fetch_add(1, Ordering::SeqCst));
    }
}

/// Everything that can be done with a session and a handle, with the answers that a child must get.
fn everything(session: Session, guard: Guarded<Value>) -> bool {
    fn forked<T>(result: Result<T, CloseError>) -> bool {
        matches!(result, Err(CloseError { kind: CloseErrorKind::Forked { .. }, .. }))
    }
    let (clone, derived, weak) = (guard.clone(), guard.map(|_| ()), guard.downgrade());
    let other = guard.try_map(|_| Ok::<_, ()>(7)).unwrap();
    let awaited = block_on(guard.map_async(async |_| ()));
    session.look();
    let answers = [
        weak.upgrade().is_some(),
        other.into_inner().is_ok_and(|seven| seven == 7),
        session.before_close(async || ()).is_err(),
        session.guard(()).is_err(),
        forked(session.close_blocking(PLENTY)),
        forked(block_on(session.close(PLENTY))),
        session.values() > 0,
        !session.held().is_empty(),
    ];
    drop((guard, clone, derived, weak, awaited, session));
    answers.into_iter().all(|as_it_should_be| as_it_should_be)
}

#[test]
fn a_forked_child_is_answered_at_once_and_tears_nothing_down() {
    let (session, closed) = (Session::new("forked").unwrap(), Arc::new(AtomicUsize::new(0)));
    let guard = session.guard(Value(Arc::clone(&closed))).unwrap();
    // The session's threads tear these down.
    let busy = || drop(session.guard(Value(Arc::default())).unwrap());
    with_busy_threads(busy, || {
        for _ in 0..50 {
            let (session, guard) = (session.clone(), guard.clone());
            assert!(in_a_child(|| everything(session, guard)));
        }
    });
    assert_eq!(closed.load(Ordering::SeqCst), 0, "no child has torn it down");
    drop(guard);
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), 1);
}

#[test]
fn a_child_that_is_forked_while_a_session_learns_a_call_site_can_clone_a_handle() {
    for _ in 0..50 {
        let session = Session::new("new").unwrap();
        let guard = session.guard(()).unwrap();
        // One place in the program, which is new to this session.
        let clone = || drop(guard.clone());
        let in_the_child = || {
            clone();
            true
        };
        with_busy_threads(clone, || assert!(in_a_child(in_the_child)));
        drop(guard);
        let _ = session.close_blocking(PLENTY).unwrap();
    }
}

#[test]
fn a_forked_child_tears_down_by_a_closing_service_of_its_own() {
    fn tears_down() -> bool {
        let closed = Arc::new(AtomicUsize::new(0));
        let session = Session::new("of the child").unwrap();
        drop(session.guard(Value(Arc::clone(&closed))).unwrap());
        let torn_down = teardown_blocking(Value(Arc::clone(&closed)), PLENTY).is_ok();
        torn_down && session.close_blocking(PLENTY).is_ok() && closed.load(Ordering::SeqCst) == 2
    }
    // The parent's service starts, serves and ends all the time.
    let busy = || drop(teardown_blocking(Value(Arc::default()), PLENTY).unwrap());
    with_busy_threads(busy, || {
        assert!((0..30).all(|_| in_a_child(tears_down)));
    });
}

static BUILT: AtomicUsize = AtomicUsize::new(0);

/// A builder of an application, which may take any lock.
fn builder() -> RuntimeBuilder {
    BUILT.fetch_add(1, Ordering::SeqCst);
    RuntimeOwner::builder("cell")
}

#[test]
fn a_cell_answers_a_forked_child_without_calling_its_builder() {
    static STARTED: RuntimeCell = RuntimeCell::new(builder);
    static NOT_STARTED: RuntimeCell = RuntimeCell::new(builder);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    STARTED.get().unwrap();
    // This claims it for this process, and starts nothing.
    let _ = NOT_STARTED.stats();
    let answered = |cell: &RuntimeCell| {
        let error = cell.get().unwrap_err();
        assert!(matches!(error, StartError::Runtime(RuntimeError::Forked { .. })));
        let shutdown = cell.shutdown_blocking(PLENTY);
        (error.to_string(), shutdown.unwrap_err().component)
    };
    assert!(in_a_child(|| {
        let before = BUILT.load(Ordering::SeqCst);
        let (error, component) = answered(&STARTED);
        assert!(error.starts_with("`cell` ") && component == "cell");
        answered(&NOT_STARTED);
        BUILT.load(Ordering::SeqCst) == before
    }));
    let _ = STARTED.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn nobody_is_inside_a_gate_in_a_forked_child() {
    static GATE: EntryGate = EntryGate::new();
    let at_once = Duration::ZERO;
    // Threads enter and wait all the time, so that locks are held now and then.
    let busy = || {
        let entry = GATE.enter();
        assert!(GATE.wait_empty_blocking(Duration::from_micros(50)).is_err());
        drop(entry);
    };
    with_busy_threads(busy, || {
        let ours = GATE.enter().unwrap();
        assert!(GATE.inside() > 0);
        for _ in 0..50 {
            assert!(in_a_child(|| {
                let as_new = GATE.inside() == 0 && !GATE.is_closed();
                let entered = GATE.enter().unwrap();
                let counted = GATE.close() == 1 && GATE.wait_empty_blocking(at_once).is_err();
                drop(entered);
                as_new && counted && GATE.wait_empty_blocking(at_once).is_ok()
            }));
        }
        // The control: it still counts here.
        assert!(GATE.inside() > 0);
        drop(ours);
    });
}

#[test]
fn an_entry_from_before_a_fork_does_not_count_in_the_child_whenever_it_is_dropped() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let at_once = Duration::ZERO;
    for asks_first in [true, false] {
        let gate = EntryGate::new();
        let mut entries = [gate.enter().ok(), gate.enter().ok()];
        assert!(in_a_child(|| {
            if asks_first {
                assert_eq!(gate.inside(), 0);
            }
            drop(entries[0].take());
            let entered =
                thread::scope(|scope| scope.spawn(|| gate.enter().unwrap()).join().unwrap());
            assert_eq!(gate.inside(), 1);
            drop(entries[1].take());
            assert_eq!((gate.close(), gate.wait_empty_blocking(at_once).is_ok()), (1, false));
            drop(entered);
            gate.wait_empty_blocking(at_once).is_ok()
        }));
        assert_eq!(gate.inside(), 2, "the parent counts as before");
    }
}

#[test]
fn a_gate_that_was_closed_before_a_fork_is_closed_and_empty_in_the_child() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let gate = EntryGate::new();
    let _inside = gate.enter().unwrap();
    gate.close();
    let mut wait = Box::pin(gate.wait_empty());
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(in_a_child(|| {
        let refused = gate.is_closed() && gate.enter().is_err();
        // Also a wait that began in the parent.
        block_on(within(PLENTY, wait.as_mut())).is_some()
            && refused
            && gate.wait_empty_blocking(Duration::ZERO).is_ok()
            && in_a_child(|| gate.close() == 0 && gate.wait_empty_blocking(Duration::ZERO).is_ok())
    }));
    assert_eq!(gate.wait_empty_blocking(Duration::ZERO).unwrap_err().inside, 1);
}

/// Starts the cell in a child, uses it and shuts it down, and does something in between.
fn a_child_of_its_own(cell: &RuntimeCell, meanwhile: impl FnOnce() -> bool) -> bool {
    let before = cell.get();
    cell.restart().unwrap();
    let handle = cell.get().unwrap();
    drop(handle.handle().unwrap().spawn(pending::<()>()));
    let listens = handle.spawn("listens", |stop| async {
        stop.await;
        7
    });
    let is_used = handle.block_on(async { tokio::task::spawn_blocking(|| 6).await.unwrap() });
    let went_well = meanwhile();
    let report = cell.shutdown_blocking(PLENTY).unwrap();
    let ended = block_on(listens.unwrap());
    before.is_err()
        && is_used == Ok(6)
        && went_well
        && (report.aborted, report.foreign, ended) == (0, 1, Ok(7))
        && matches!(cell.get(), Err(StartError::Runtime(RuntimeError::ShutDown { .. })))
}

#[test]
fn a_forked_child_that_asks_for_it_has_a_runtime_of_its_own_and_so_have_its_children() {
    static CELL: RuntimeCell =
        // At rest, so that no task which is just ending is counted.
        RuntimeCell::new(|| {
            RuntimeOwner::builder("own").current_thread().foreign_time(Duration::ZERO)
        });
    let parents = CELL.get().unwrap();
    // The lock of the parent's generations is held now and then.
    let busy = || drop((CELL.get(), CELL.stats()));
    with_busy_threads(busy, || {
        for _ in 0..20 {
            assert!(in_a_child(|| {
                let inherited = parents.block_on(async {});
                let nested = || {
                    in_a_child(|| {
                        a_child_of_its_own(&CELL, || {
                            in_a_child(|| a_child_of_its_own(&CELL, || true))
                        })
                    })
                };
                matches!(inherited, Err(RuntimeError::Forked { .. }))
                    && a_child_of_its_own(&CELL, nested)
                    && matches!(parents.handle(), Err(RuntimeError::Forked { .. }))
            }));
        }
    });
    assert_eq!(parents.block_on(async { 1 }), Ok(1), "the parent's is not touched");
    assert_eq!(CELL.stats().generation, 1);
    let _ = CELL.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn a_cell_that_keeps_its_builder_has_a_runtime_of_its_own_in_a_forked_child() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let builder = RuntimeOwner::builder("kept").current_thread().foreign_time(Duration::ZERO);
    let cell = RuntimeCell::with_builder(builder);
    let parents = cell.get().unwrap();
    assert!(in_a_child(|| a_child_of_its_own(&cell, || true)));
    assert_eq!(parents.block_on(async { 1 }), Ok(1), "the parent's is not touched");
    let _ = cell.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn an_owner_in_a_forked_child_stays_the_parents() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = RuntimeOwner::builder("parents").workers(1).start().unwrap();
    let in_child = owner.clone();
    assert!(in_a_child(|| {
        let restart = in_child.restart();
        drop(in_child);
        matches!(restart, Err(StartError::Runtime(RuntimeError::Forked { .. })))
    }));
    assert_eq!(owner.block_on(async { 1 }), Ok(1));
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}

#[test]
fn a_child_with_its_parents_process_id_is_told_apart_by_its_own_word() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // No namespace is needed: this child's own runtime and entry are then those of an ancestor with its id.
    assert!(in_a_child(|| {
        let owner = RuntimeOwner::builder("ancestors").workers(1).start().unwrap();
        let gate = EntryGate::new();
        let before = gate.enter().unwrap();
        sundown::forked_child();
        let is_forked = matches!(
            owner.handle(),
            Err(RuntimeError::Forked { owner, .. }) if owner == process::id()
        );
        let after = gate.enter().unwrap();
        let inside = gate.inside();
        drop((after, before));
        is_forked && inside == 1 && gate.close() == 0
    }));
}
