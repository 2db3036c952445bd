//! The closing service: which threads there are, and who waits for whom.
//!
//! A program of its own, with one test at a time: the tests count the threads of the process.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    cell::RefCell,
    env, fs,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    latch::Latch,
    limit::PLENTY,
    session::{CloseError, CloseErrorKind, Session},
    shutdown::NotCovered,
    teardown::{TeardownError, teardown, teardown_blocking},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{spawn, spawn_blocking, yield_now},
};

static ALONE: Mutex<()> = Mutex::new(());

/// One test at a time, and no thread of an earlier one.
fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    until("the threads of an earlier test have ended", || threads().is_empty());
    alone
}

/// The threads of the kit, by name. A thread that has been joined may be listed for a moment: it is
/// exiting, and runs no code of the process any more.
fn threads() -> Vec<String> {
    const EXITING: u64 = 4;
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let running = stats.filter_map(|stat| {
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let flags: u64 = rest.split_whitespace().nth(6)?.parse().ok()?;
        (name.starts_with("sundown") && flags & EXITING == 0).then(|| name.to_owned())
    });
    running.collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PLENTY;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        // Until the next look, others have the processor.
        thread::sleep(Duration::from_micros(100));
    }
}

/// Runs this when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

fn on_drop<F: FnOnce() + Send + 'static>(run: F) -> OnDrop<F> {
    OnDrop(Some(run))
}

/// Starts closures and tasks that start others.
fn busy() -> OnDrop<impl FnOnce() + Send> {
    on_drop(|| {
        drop(spawn_blocking(|| drop(spawn(async { drop(spawn_blocking(|| ())) }))));
        drop(spawn(async {
            yield_now().await;
            drop(spawn_blocking(|| ()));
        }));
    })
}

#[test]
fn no_thread_is_alive_after_a_teardown_or_a_close() {
    let _alone = alone();
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for round in 0..300 {
        let _ = teardown_blocking(busy(), PLENTY).unwrap();
        assert_eq!(threads(), [""; 0], "blocking, round {round}");
        let _ = runtime.block_on(teardown(busy(), PLENTY)).unwrap();
        assert_eq!(threads(), [""; 0], "in async code, round {round}");
        let _ = runtime.block_on(runtime.spawn(teardown((), PLENTY))).unwrap().unwrap();
        assert_eq!(threads(), [""; 0], "in a task, round {round}");
        let session = Session::new("closed").unwrap();
        drop(session.guard(busy()).unwrap());
        let _ = match round % 2 {
            0 => session.close_blocking(PLENTY),
            _ => runtime.block_on(session.close(PLENTY)),
        };
        assert_eq!(threads(), [""; 0], "a session, round {round}");
    }
    // The control: while somebody holds a lease, there are threads.
    let session = Session::new("open").unwrap();
    assert!(threads().len() >= 2, "{:?}", threads());
    drop(session);
}

#[test]
fn no_thread_is_alive_after_the_last_of_many_teardowns_at_the_same_time() {
    let _alone = alone();
    for round in 0..100 {
        thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| teardown_blocking(busy(), PLENTY).unwrap())));
        });
        assert_eq!(threads(), [""; 0], "round {round}");
    }
}

#[test]
fn a_thousand_open_sessions_share_a_few_threads() {
    let _alone = alone();
    let sessions: Vec<_> = (0..1_000).map(|_| Session::new("one of many").unwrap()).collect();
    assert!((1..=10).contains(&threads().len()), "{:?}", threads());
    let guards: Vec<_> = sessions.iter().map(|session| session.guard(busy()).unwrap()).collect();
    drop(guards);
    for session in &sessions {
        let _ = session.close_blocking(PLENTY).unwrap();
    }
    assert_eq!(threads(), [""; 0]);
}

#[test]
fn values_of_others_do_not_wait_for_stuck_destructors() {
    let _alone = alone();
    let (latch, stuck) = (Arc::new(Latch::new()), Arc::new(AtomicUsize::new(0)));
    let sticks = || {
        let (latch, stuck) = (Arc::clone(&latch), Arc::clone(&stuck));
        on_drop(move || {
            stuck.fetch_add(1, Ordering::SeqCst);
            assert!(latch.wait_blocking(PLENTY));
        })
    };
    let sessions: Vec<_> = (0..20).map(|_| Session::new("stuck").unwrap()).collect();
    for session in &sessions {
        drop(session.guard(sticks()).unwrap());
    }
    for _ in 0..20 {
        let timed_out = teardown_blocking(sticks(), Duration::ZERO);
        assert!(matches!(timed_out, Err(TeardownError::TimedOut { .. })), "{timed_out:?}");
    }
    let _ = teardown_blocking(busy(), PLENTY).unwrap();
    let healthy = Session::new("healthy").unwrap();
    drop(healthy.guard(busy()).unwrap());
    let _ = healthy.close_blocking(PLENTY).unwrap();
    // Each of them got a lane of its own.
    until("all forty are stuck", || stuck.load(Ordering::SeqCst) == 40);
    latch.fire();
    for session in sessions {
        let _ = session.close_blocking(PLENTY).unwrap();
    }
}

/// Tears down another one, so many times.
struct Nested(usize, Arc<AtomicUsize>);

impl Drop for Nested {
    fn drop(&mut self) {
        let Self(depth, ended) = self;
        if *depth > 0 {
            let _ = teardown_blocking(Nested(*depth - 1, Arc::clone(ended)), PLENTY).unwrap();
        }
        let ended = Arc::clone(ended);
        drop(spawn_blocking(move || ended.fetch_add(1, Ordering::SeqCst)));
    }
}

#[test]
fn a_destructor_may_tear_down_others_and_so_may_its_closures_and_tasks() {
    let _alone = alone();
    let ended = Arc::new(AtomicUsize::new(0));
    let _ = teardown_blocking(Nested(20, Arc::clone(&ended)), PLENTY).unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 21);
    let (in_closure, in_task) = (Arc::clone(&ended), Arc::clone(&ended));
    let value = on_drop(move || {
        drop(spawn_blocking(|| teardown_blocking(Nested(1, in_closure), PLENTY).unwrap()));
        drop(spawn(async { teardown(Nested(1, in_task), PLENTY).await.unwrap() }));
    });
    let _ = teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 25);
    assert_eq!(threads(), [""; 0]);
}

#[test]
fn a_runtime_is_torn_down_with_everything_that_blocks_on_it() {
    let _alone = alone();
    let runtime = Runtime::new().unwrap();
    let (ended, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(Latch::new()));
    let (ends, begins) = (Arc::clone(&ended), Arc::clone(&begun));
    drop(runtime.spawn_blocking(move || {
        begins.fire();
        thread::sleep(Duration::from_millis(20));
        ends.store(true, Ordering::SeqCst);
    }));
    assert!(begun.wait_blocking(PLENTY));
    let _ = teardown_blocking(runtime, PLENTY).unwrap();
    assert!(ended.load(Ordering::SeqCst));
}

/// Closes the session from a value of that session, and says what it was told.
fn closed_from_inside(
    close: impl FnOnce(Session, mpsc::Sender<bool>) + Send + 'static,
) -> Option<bool> {
    let session = Session::new("inside").unwrap();
    let (tell, told) = mpsc::channel();
    let inside = session.clone();
    drop(session.guard(on_drop(move || close(inside, tell))).unwrap());
    told.recv_timeout(PLENTY / 2).ok()
}

#[test]
fn a_close_from_inside_is_refused_through_a_runtime_of_its_own_too() {
    fn close(session: &Session) -> bool {
        let own = Builder::new_current_thread().enable_all().build().unwrap();
        let result = own.block_on(session.close(Duration::MAX));
        matches!(result, Err(CloseError { kind: CloseErrorKind::FromInside, .. }))
    }
    let _alone = alone();
    let in_destructor = closed_from_inside(|session, tell| tell.send(close(&session)).unwrap());
    assert_eq!(in_destructor, Some(true), "in the destructor");
    let in_closure = closed_from_inside(|session, tell| {
        drop(spawn_blocking(move || tell.send(close(&session)).unwrap()));
    });
    assert_eq!(in_closure, Some(true), "in a closure");
    // On the second thread of the lane, because the first waits for the task.
    let in_task = closed_from_inside(|session, tell| {
        let task = spawn(async move { session.close(Duration::MAX).await });
        let result = Handle::current().block_on(task).unwrap();
        let kind = result.map_err(|error| error.kind);
        tell.send(matches!(kind, Err(CloseErrorKind::FromInside))).unwrap();
    });
    assert_eq!(in_task, Some(true), "in a task");
    // The control: from another thread, by the same function, it is not refused.
    let session = Session::new("outside").unwrap();
    assert!(!close(&session));
}

#[test]
fn a_destructor_of_one_session_may_close_another() {
    let _alone = alone();
    let [outer, inner] = ["outer", "inner"].map(|name| Session::new(name).unwrap());
    drop(inner.guard(busy()).unwrap());
    let closes = on_drop(move || drop(inner.close_blocking(PLENTY).unwrap()));
    drop(outer.guard(closes).unwrap());
    let _ = outer.close_blocking(PLENTY).unwrap();
}

#[test]
fn a_value_is_dropped_while_a_task_of_its_session_blocks_the_lane() {
    let _alone = alone();
    let session = Session::new("blocked").unwrap();
    let latch = Arc::new(Latch::new());
    let (waits, fires) = (Arc::clone(&latch), Arc::clone(&latch));
    let begun = Arc::new(Latch::new());
    let begins = Arc::clone(&begun);
    let blocks = on_drop(move || {
        drop(spawn(async move {
            begins.fire();
            assert!(waits.wait_blocking(PLENTY));
        }));
    });
    drop(session.guard(blocks).unwrap());
    assert!(begun.wait_blocking(PLENTY));
    drop(session.guard(on_drop(move || assert!(fires.fire()))).unwrap());
    let _ = session.close_blocking(PLENTY).unwrap();
    assert!(latch.has_fired());
}

/// A destructor may give the handle of its context away. What comes through it when the teardown is over
/// must not delay the values of others.
#[test]
fn a_task_that_is_spawned_too_late_delays_nobody_else() {
    let _alone = alone();
    let _open = Session::new("keeps the service").unwrap();
    for round in 0..50 {
        let (give, given) = mpsc::channel();
        let gives = on_drop(move || give.send(Handle::current()).unwrap());
        let _ = teardown_blocking(gives, PLENTY).unwrap();
        // Sometimes the thread that dropped the value is ready for the next one by now.
        (0..round * 20).for_each(|_| thread::yield_now());
        drop(given.recv().unwrap().spawn(std::future::pending::<()>()));
        let _ = teardown_blocking(busy(), PLENTY).unwrap();
        let _ = teardown_blocking((), PLENTY).unwrap();
    }
}

/// The same for a closure, which Tokio does not count among the tasks.
#[test]
fn a_closure_that_is_queued_too_late_delays_nobody_else() {
    let _alone = alone();
    let _open = Session::new("keeps the service").unwrap();
    let late = Arc::new(Latch::new());
    for round in 0..20 {
        let (give, given) = mpsc::channel();
        let gives = on_drop(move || give.send(Handle::current()).unwrap());
        let _ = teardown_blocking(gives, PLENTY).unwrap();
        // Sometimes the thread that dropped the value is ready for the next one by now.
        (0..round * 20).for_each(|_| thread::yield_now());
        let waits = Arc::clone(&late);
        let closure = move || assert!(waits.wait_blocking(PLENTY));
        drop(given.recv().unwrap().spawn_blocking(closure));
        let _ = teardown_blocking(busy(), PLENTY / 2).unwrap();
        let _ = teardown_blocking((), PLENTY / 2).unwrap();
    }
    late.fire();
}

#[test]
fn closes_that_were_given_up_leave_nothing_behind() {
    let _alone = alone();
    let latch = Arc::new(Latch::new());
    let waits = Arc::clone(&latch);
    let session = Session::new("stuck").unwrap();
    drop(session.guard(on_drop(move || assert!(waits.wait_blocking(PLENTY)))).unwrap());
    let give_up = |count: usize| {
        for _ in 0..count {
            assert!(session.close_blocking(Duration::ZERO).is_err());
        }
    };
    give_up(1_000);
    let before = resident();
    give_up(50_000);
    let grown = resident().saturating_sub(before);
    // 164 bytes for each, which is what a waiter that stays behind took, are 8 MB.
    assert!(grown < 1 << 20, "{grown} bytes");
    latch.fire();
    let _ = session.close_blocking(PLENTY).unwrap();
}

/// How many bytes of this process are in memory.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Not before: another teardown or an open session may need the thread.
#[test]
fn what_a_destructor_leaves_in_a_thread_local_is_gone_when_nobody_needs_the_service() {
    thread_local!(static LEFT: RefCell<Vec<Arc<()>>> = const { RefCell::new(Vec::new()) });
    let _alone = alone();
    let session = Session::new("in use").unwrap();
    let (left, in_a_closure) = (Arc::new(()), Arc::new(()));
    let (mine, closures) = (Arc::clone(&left), Arc::clone(&in_a_closure));
    let value = on_drop(move || {
        LEFT.with_borrow_mut(|all| all.push(mine));
        drop(spawn_blocking(move || LEFT.with_borrow_mut(|all| all.push(closures))));
    });
    let _ = teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(Arc::strong_count(&left), 2, "the thread goes on, because the session needs it");
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!((Arc::strong_count(&left), Arc::strong_count(&in_a_closure)), (1, 1));
}

#[test]
fn a_report_says_what_it_saw_and_what_it_does_not_cover() {
    let _alone = alone();
    let value = on_drop(|| (0..3).for_each(|_| drop(spawn(yield_now()))));
    let report = teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(report.tasks, 3);
    assert!(report.not_covered.contains(&NotCovered::Success));
    let text = report.to_string();
    assert!(
        text.contains("3 tasks ended; not visible to the kit: whether the work succeeded"),
        "{text}"
    );
}

/// The environment variable that makes this program tear a value down and exit.
const CHILD: &str = "CLOSING_SERVICE_CHILD";

type Late = OnDrop<Box<dyn FnOnce()>>;

thread_local! {
    static LOCAL: RefCell<Option<Late>> = const { RefCell::new(None) };
}

/// Tears values down while the locals of a thread are being destroyed: by a teardown, and by a session.
fn tear_down_late() {
    let session = Session::new("late").unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let value = || {
        let ended = Arc::clone(&ended);
        on_drop(move || drop(spawn_blocking(move || ended.fetch_add(1, Ordering::SeqCst))))
    };
    let (torn_down, guard) = (value(), session.guard(value()).unwrap());
    let late = thread::spawn(move || {
        LOCAL.set(Some(OnDrop(Some(Box::new(move || {
            drop(guard);
            let _ = teardown_blocking(torn_down, PLENTY).unwrap();
        })))));
        // After ours, so that it is destroyed before.
        let _ = Handle::try_current();
    });
    late.join().unwrap();
    let _ = session.close_blocking(PLENTY).unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 2);
}

#[test]
fn a_late_teardown_works_whatever_queue_tokio_uses() {
    let _alone = alone();
    if env::var_os(CHILD).is_some() {
        return tear_down_late();
    }
    for sharded in ["0", "1"] {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "a_late_teardown_works_whatever_queue_tokio_uses", "--nocapture"]);
        child.env("TOKIO_UNSTABLE_SHARDED_BLOCKING_QUEUE", sharded).env(CHILD, "");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
