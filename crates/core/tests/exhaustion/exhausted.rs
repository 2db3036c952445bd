//! The tests, each in a process with limits of its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    cell::RefCell,
    env,
    fs::{self, File, Permissions},
    future::{Future as _, pending},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    panic,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use sundown::{
    evidence::{
        Evidence, Unconfirmed, no_child_processes, no_file_locks, no_open_files, no_sockets_on,
        no_threads,
    },
    gate::EntryGate,
    group::TaskGroup,
    latch::Latch,
    limit::{PLENTY, within},
    oneshot,
    runtime::RuntimeOwner,
    session::{CloseError, CloseErrorKind, Session, Unfinished},
    teardown::{TeardownError, teardown, teardown_blocking},
};
use tokio::task::spawn_blocking;

/// A user that is not root, because root has no limit.
const NOBODY: u32 = 65_534;

/// The environment variable that names the test a child runs.
const CHILD: &str = "EXHAUSTED";

const CHILDREN: [(&str, fn()); 6] = [
    ("threads_run_out_at_every_step_of_a_teardown", threads_run_out),
    ("descriptors_run_out_before_a_teardown", descriptors_run_out),
    ("threads_run_out_before_a_session_and_under_one", threads_run_out_under_a_session),
    ("threads_run_out_while_a_teardown_waits_for_one_to_end", a_wait_returns_from_each_poll),
    ("a_blocking_call_keeps_its_limit_without_another_thread", blocking_calls_need_no_thread),
    ("descriptors_run_out_before_a_look_and_before_a_check", descriptors_run_out_for_evidence),
];

pub fn main() {
    if let Ok(name) = env::var(CHILD) {
        let child = CHILDREN.iter().find(|(known, _)| *known == name);
        return child.expect("a test of this name").1();
    }
    let filters: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|word| name.contains(word));
    // Where another user can execute it, to whom the limit on threads applies.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("exhaustion");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    for (name, _) in CHILDREN.into_iter().filter(|(name, _)| wanted(name)) {
        let mut child = Command::new(&program);
        if getuid().is_root() {
            child.uid(NOBODY).gid(NOBODY);
        }
        let status = child.env(CHILD, name).current_dir(directory.path()).status().unwrap();
        assert!(status.success(), "{name}: {status}");
        println!("test {name} ... ok");
    }
}

/// Like a pool with three idle connections: two panics in its destructor are an abort.
struct Pool {
    closed: Arc<AtomicUsize>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in 0..3 {
            let closed = Arc::clone(&self.closed);
            spawn_blocking(move || closed.fetch_add(1, Ordering::SeqCst));
        }
    }
}

/// Tears a pool down: `true` if it was closed, `false` if it was handed back as it was.
fn closes() -> bool {
    let closed = Arc::new(AtomicUsize::new(0));
    let result = teardown_blocking(Pool { closed: Arc::clone(&closed) }, PLENTY);
    let count = closed.load(Ordering::SeqCst);
    match result {
        Ok(_) => {
            assert_eq!(count, 3);
            true
        }
        Err(TeardownError::CannotStart { value, .. }) => {
            assert_eq!(count, 0, "the destructor has begun");
            std::mem::forget(value);
            false
        }
        Err(other) => panic!("{other}"),
    }
}

fn limit(resource: Resource, current: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(current), maximum }).unwrap();
}

/// What Tokio panics with if the OS refuses a thread.
const REFUSED: &str = "OS can't spawn worker thread";

/// What it panics with if the OS refuses what the first runtime of a process needs for signals.
const NO_SIGNALS: &str = "failed to create UnixStream";

/// If Tokio can start no closing thread, it panics, and the kit catches that. This keeps the reports of
/// those panics out of the test's output. Returns how many there were.
fn silence_refused_threads() -> Arc<AtomicUsize> {
    let refused = Arc::new(AtomicUsize::new(0));
    let (count, report) = (Arc::clone(&refused), panic::take_hook());
    panic::set_hook(Box::new(move |panic| {
        let is_expected = [REFUSED, NO_SIGNALS].iter().any(|text| panic.to_string().contains(text));
        if is_expected && std::thread::current().name() != Some("main") {
            count.fetch_add(1, Ordering::SeqCst);
        } else {
            report(panic);
        }
    }));
    refused
}

/// The closing service starts three threads, so a teardown can run out of them in three places. The limit is on all
/// threads of a user, and counts those that exist already: so it goes up from one until three more fit.
fn threads_run_out() {
    silence_refused_threads();
    let maximum = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
    let closed_at = (1..maximum).find(|threads| {
        limit(Resource::Nproc, *threads);
        closes()
    });
    // None of one attempt is left when the next begins.
    assert!(
        closed_at.is_some_and(|threads| (4..1000).contains(&threads)),
        "it needs three threads besides this one, and had them at a limit of {closed_at:?}"
    );
}

/// Once the closing service runs, a session needs no more threads to start, to take values, to hand them
/// over and to keep limits. It closes the first value. Others wait until there is a thread to close on.
fn threads_run_out_under_a_session() {
    let refused = silence_refused_threads();
    // The thread on which the first value closes waits a millisecond for it. If the machine is too busy for that, its end
    // needs another thread, and says so.
    let is_met = (0..20).any(|_| threads_run_out_after_the_first_value(&refused));
    assert!(is_met, "the first value never closed in time");

    let session = Session::builder("test").evidence(|| Ok(())).start().unwrap();
    limit(Resource::Nproc, 1);
    let error = session.close_blocking(PLENTY).unwrap_err();
    assert!(matches!(error, CloseError { kind: CloseErrorKind::Unconfirmed(_), .. }), "{error}");
    assert!(error.to_string().contains("cannot start a thread to run the check"), "{error}");
}

/// Returns whether the first value closed without another thread.
fn threads_run_out_after_the_first_value(refused: &AtomicUsize) -> bool {
    let maximum = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
    limit(Resource::Nproc, 1);
    let error = Session::new("test").unwrap_err();
    assert!(error.to_string().starts_with("cannot start the session `test`"), "{error}");
    limit(Resource::Nproc, maximum);
    let session = Session::builder("test").evidence(|| Ok(())).start().unwrap();
    limit(Resource::Nproc, 1);
    let refused_before = refused.load(Ordering::SeqCst);
    let _ = Session::new("another").unwrap().close_blocking(PLENTY).unwrap();

    let closed = Arc::new(AtomicUsize::new(0));
    let [first, second] =
        [(); 2].map(|()| session.guard(Pool { closed: Arc::clone(&closed) }).unwrap());
    drop(first);
    loop {
        match session.close_blocking(Duration::from_millis(1)) {
            Err(CloseError { kind: CloseErrorKind::StillHeld, unfinished, .. })
                if unfinished == Unfinished::default() =>
            {
                break;
            }
            Err(CloseError { unfinished, .. }) if unfinished.thread_refused => {
                limit(Resource::Nproc, maximum);
                drop(second);
                let _ = session.close_blocking(PLENTY);
                return false;
            }
            other => assert!(
                matches!(other, Err(CloseError { kind: CloseErrorKind::StillHeld, .. })),
                "{other:?}"
            ),
        }
    }
    assert_eq!(closed.load(Ordering::SeqCst), 3);

    drop(second);
    let awaited = || futures::executor::block_on(session.close(PLENTY));
    for result in [session.close_blocking(Duration::from_secs(1)), awaited()] {
        let error = result.unwrap_err();
        assert!(matches!(error.kind, CloseErrorKind::StillRunning), "{error}");
        assert!(error.unfinished.thread_refused, "{error}");
        assert_eq!(closed.load(Ordering::SeqCst), 3, "the destructor has begun");
    }
    // Each is a message for the user. It was when the first value had been dropped, or for the second.
    assert_eq!(refused.load(Ordering::SeqCst) - refused_before, 1, "Tokio was asked once");
    limit(Resource::Nproc, maximum);
    let ended = session.close_blocking(PLENTY);
    if ended.as_ref().is_err_and(|error| error.to_string().contains(REFUSED)) {
        // The destructor of the first value had not asked for its thread in that moment, and the answer says so.
        return false;
    }
    let _ = ended.unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), 6);
    true
}

/// The thread that waits keeps the limits of what it waits for.
fn blocking_calls_need_no_thread() {
    let owner = RuntimeOwner::builder("stuck").workers(1).start().unwrap();
    let (enough, is_enough) = mpsc::channel::<()>();
    let (begins, has_begun) = mpsc::channel();
    let stuck = move || {
        begins.send(()).unwrap();
        let _ = is_enough.recv();
    };
    drop(owner.handle().unwrap().spawn_blocking(stuck));
    has_begun.recv().unwrap();
    // Nobody drives this runtime.
    let idle = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let group = TaskGroup::new("group");
    group.spawn_on(idle.handle(), "never polled", |_| pending()).unwrap();
    let (_sender, mut receiver) = oneshot::channel::<()>();

    limit(Resource::Nproc, 1);
    // The control: a limit that is awaited by another executor needs a thread, and counts as passed.
    assert_eq!(futures::executor::block_on(within(100 * PLENTY, pending::<()>())), None);
    let short = Duration::from_millis(50);
    let keeps_its_limit = |name: &str, call: &mut dyn FnMut() -> bool| {
        let began = Instant::now();
        assert!(call(), "{name} has another result");
        assert!(began.elapsed() >= short, "{name} returns before its limit");
    };
    keeps_its_limit("a latch", &mut || !Latch::new().wait_blocking(short));
    keeps_its_limit("a receiver", &mut || receiver.wait_blocking(short).is_err());
    keeps_its_limit("a gate", &mut || EntryGate::new().wait_empty_blocking(short).is_err());
    keeps_its_limit("a group", &mut || group.drain_blocking(short).still_running.len() == 1);
    keeps_its_limit("a block_on", &mut || {
        let limited = async { within(short, pending::<()>()).await.is_none() };
        owner.block_on(limited).unwrap()
    });
    keeps_its_limit("a runtime", &mut || owner.shutdown_blocking(short).is_err());
    drop(enough);
    let _ = owner.shutdown_blocking(PLENTY).unwrap();
}

/// With sockets among its features, a runtime needs descriptors. With signals, the first of a process needs two more, and
/// Tokio panics without them.
fn descriptors_run_out() {
    let panicked = silence_refused_threads();
    let closed_at = (3..64).find(|descriptors| {
        limit(Resource::Nofile, *descriptors);
        closes()
    });
    assert!(closed_at.is_some_and(|descriptors| descriptors > 6), "{closed_at:?}");
    assert_eq!(panicked.load(Ordering::SeqCst), 2, "with none of the two, and with one");
}

/// Blocks the end of its thread.
struct BlocksTheEnd(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Drop for BlocksTheEnd {
    fn drop(&mut self) {
        let Self(begins, let_go) = self;
        begins.send(()).unwrap();
        let _ = let_go.recv();
    }
}

thread_local!(static BLOCKS: RefCell<Option<BlocksTheEnd>> = const { RefCell::new(None) });

/// Leaves that in a thread-local.
struct Leaves(Option<BlocksTheEnd>);

impl Drop for Leaves {
    fn drop(&mut self) {
        BLOCKS.set(self.0.take());
    }
}

/// No event says that a thread is gone. If no thread can be had to keep the time until the next look, the wait gives way to
/// other tasks all the same.
fn a_wait_returns_from_each_poll() {
    let (begins, has_begun) = mpsc::channel();
    let (let_go, is_let_go) = mpsc::channel();
    let mut teardown =
        Box::pin(teardown(Leaves(Some(BlocksTheEnd(begins, is_let_go))), Duration::MAX));
    has_begun.recv().unwrap();
    let maximum = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
    limit(Resource::Nproc, 1);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..50 {
        assert!(teardown.as_mut().poll(&mut context).is_pending());
        // Nothing to wait for: each poll has to return while nothing changes.
        std::thread::sleep(Duration::from_millis(2));
    }
    limit(Resource::Nproc, maximum);
    drop(let_go);
    let _ = futures::executor::block_on(teardown).unwrap();
}

/// The system's lists cannot be read without a descriptor. Then nothing is confirmed, and the text says why.
fn descriptors_run_out_for_evidence() {
    let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(1024).min(1024);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let evidence: [Box<dyn Evidence>; 5] = [
        Box::new(no_open_files(path)),
        Box::new(no_file_locks(path)),
        Box::new(no_threads("exhaust")),
        Box::new(no_child_processes("")),
        Box::new(no_sockets_on(1)),
    ];
    let unavailable = |evidence: &dyn Evidence| match evidence.check() {
        Err(Unconfirmed::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let file = File::create(path.join("store")).unwrap();
    for evidence in &evidence {
        limit(Resource::Nofile, 3);
        evidence.look();
        let why = unavailable(&**evidence);
        assert!(why.contains("is a descriptor left to read it with?"), "{why}");
        limit(Resource::Nofile, maximum);
    }
    let closed = &evidence[0];
    limit(Resource::Nofile, 3);
    closed.look();
    limit(Resource::Nofile, maximum);
    drop(file);
    let why = unavailable(&**closed);
    assert!(why.contains("the last look failed"), "{why}");

    let file = File::create(path.join("store")).unwrap();
    closed.look();
    drop(file);
    limit(Resource::Nofile, 3);
    unavailable(&**closed);
    limit(Resource::Nofile, maximum);
    assert_eq!(closed.check(), Ok(()));
}
