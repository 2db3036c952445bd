//! Foreign code may leave thread-locals on the kit's threads, and their destructors may block. Nobody is
//! late for that, and no answer says that such a thread has ended.

use std::{
    cell::RefCell,
    future::{Future, pending},
    pin::{Pin, pin},
    sync::{Arc, Barrier, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use sundown::{
    CloseErrorKind, RuntimeOwner, Session, TaskGroup, TeardownError,
    evidence::Unconfirmed,
    limit::within,
    teardown::{KitThread, Unfinished, teardown_blocking},
};

use crate::fixtures::{PLENTY, SHORT, on_drop};

/// Something that blocks when it is dropped, until it is let go. Left in a thread-local, it blocks the end
/// of its thread.
struct Blocks {
    begins: mpsc::Sender<()>,
    is_let_go: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let _ = self.begins.send(());
        let _ = self.is_let_go.lock().unwrap().recv_timeout(PLENTY);
    }
}

thread_local!(static LOCAL: RefCell<Vec<Blocks>> = const { RefCell::new(Vec::new()) });

/// Blocks the end of threads, until this is dropped.
struct Blockade {
    begins: mpsc::Sender<()>,
    has_begun: mpsc::Receiver<()>,
    let_go: mpsc::Sender<()>,
    is_let_go: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Blockade {
    fn new() -> Self {
        let (begins, has_begun) = mpsc::channel();
        let (let_go, is_let_go) = mpsc::channel();
        Self { begins, has_begun, let_go, is_let_go: Arc::new(Mutex::new(is_let_go)) }
    }

    /// What blocks the end of the thread that it is called on, if it is one of this name.
    fn of(&self, name: &'static str) -> impl Fn() + Send + Sync + 'static {
        let (begins, is_let_go) = (self.begins.clone(), Arc::clone(&self.is_let_go));
        move || {
            if thread::current().name() == Some(name) {
                let blocks = Blocks { begins: begins.clone(), is_let_go: Arc::clone(&is_let_go) };
                LOCAL.with_borrow_mut(|local| local.push(blocks));
            }
        }
    }

    /// Waits until a thread is blocked. So the blockade is real.
    fn has_begun(&self) {
        self.has_begun.recv_timeout(PLENTY).unwrap();
    }

    fn let_go(self) {
        drop(self.let_go);
    }
}

struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn on_wake(what: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(OnWake(what)))
}

/// Polls until it is ready, on this thread, with a waker that also does this.
fn block_on<F: Future>(future: F, does: impl Fn() + Send + Sync + 'static) -> F::Output {
    let this = thread::current();
    let waker = on_wake(move || {
        does();
        this.unpark();
    });
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// The control: what the tests below rely on.
#[test]
fn the_blockade_blocks_a_join_of_a_thread_that_is_said_to_be_finished() {
    let blockade = Blockade::new();
    let blocks = blockade.of("blocked");
    let blocked = thread::Builder::new().name("blocked".to_owned()).spawn(blocks).unwrap();
    blockade.has_begun();
    assert!(blocked.is_finished());
    let (joins, has_joined) = mpsc::channel();
    let joining = thread::spawn(move || {
        blocked.join().unwrap();
        joins.send(()).unwrap();
    });
    assert_eq!(has_joined.recv_timeout(SHORT), Err(mpsc::RecvTimeoutError::Timeout));
    blockade.let_go();
    has_joined.recv_timeout(PLENTY).unwrap();
    joining.join().unwrap();
}

#[test]
fn a_close_is_not_late_for_what_a_check_has_left_and_names_the_thread() {
    let blockade = Blockade::new();
    let leaves = blockade.of("sundown-evidence");
    let check = move || {
        leaves();
        Ok::<(), Unconfirmed>(())
    };
    let session = Session::builder("session").evidence(check).start().unwrap();
    for _ in 0..2 {
        let began = Instant::now();
        let error = session.close_blocking(Duration::from_secs(1)).unwrap_err();
        assert!(began.elapsed() < PLENTY / 2, "{error}");
        assert!(matches!(error.kind, CloseErrorKind::StillRunning), "{error}");
        assert_eq!(error.unfinished.thread, Some(KitThread::Evidence));
        assert!(error.to_string().contains("`sundown-evidence`"), "{error}");
    }
    blockade.has_begun();
    blockade.let_go();
    assert!(session.close_blocking(PLENTY).is_ok());
}

#[test]
fn a_drain_is_not_late_for_what_a_waker_has_left_and_names_the_thread() {
    let group = TaskGroup::new("group");
    let blockade = Blockade::new();
    let mut signal = group.stop_signal();
    let waker = on_wake(blockade.of("sundown-wakers"));
    assert!(Pin::new(&mut signal).poll(&mut Context::from_waker(&waker)).is_pending());
    let began = Instant::now();
    let report = futures::executor::block_on(group.drain(Duration::from_secs(1)));
    assert!(began.elapsed() < PLENTY / 2, "{report}");
    blockade.has_begun();
    assert_eq!(report.threads, ["sundown-wakers"], "{report}");
    blockade.let_go();
    let report = futures::executor::block_on(group.drain(PLENTY));
    assert!(report.into_result().is_ok());
}

#[test]
fn a_limit_is_not_late_for_what_a_waker_has_left_on_the_clocks_thread() {
    let blockade = Blockade::new();
    let began = Instant::now();
    // Other tests may keep the clock's thread. So this is tried until it was the last limit.
    let mut is_blocked = false;
    while !is_blocked && began.elapsed() < PLENTY / 2 {
        let asked = Instant::now();
        let leaves = blockade.of("sundown-clock");
        assert_eq!(block_on(within(SHORT, pending::<()>()), leaves), None);
        assert!(asked.elapsed() < PLENTY / 4, "{:?}", asked.elapsed());
        is_blocked = blockade.has_begun.try_recv().is_ok();
    }
    assert!(is_blocked, "no thread of the clock's has ended");
    // The next limit has another thread.
    assert_eq!(futures::executor::block_on(within(SHORT, pending::<()>())), None);
    blockade.let_go();
}

/// Lanes that are idle end after a while. The thread that joins them also starts new ones.
#[test]
fn a_teardown_is_not_late_for_what_the_destructor_of_another_has_left() {
    let keeps = Session::new("keeps the closing service").unwrap();
    let blockade = Blockade::new();
    // Three at the same time, each on a lane of its own.
    let together = Arc::new(Barrier::new(3));
    let leaving: Vec<_> = (0..3)
        .map(|_| {
            let (leaves, together) = (blockade.of("sundown-drop"), Arc::clone(&together));
            let value = on_drop(move || {
                together.wait();
                leaves();
            });
            thread::spawn(move || assert!(teardown_blocking(value, PLENTY).is_ok()))
        })
        .collect();
    leaving.into_iter().for_each(|it| it.join().unwrap());
    blockade.has_begun();
    // More than there are lanes, so that a new one has to be started.
    let together = Arc::new(Barrier::new(6));
    let others: Vec<_> = (0..6)
        .map(|_| {
            let together = Arc::clone(&together);
            let value = on_drop(move || _ = together.wait());
            thread::spawn(move || teardown_blocking(value, PLENTY).is_ok())
        })
        .collect();
    assert!(others.into_iter().all(|it| it.join().unwrap()), "nobody starts another lane");
    blockade.let_go();
    assert!(keeps.close_blocking(PLENTY).is_ok());
}

/// A destructor that waits for a task needs a second thread, which polls it.
#[test]
fn a_lane_gets_a_new_second_thread_whatever_is_left_on_the_one_before() {
    let keeps = Session::new("keeps the closing service").unwrap();
    let blockade = Blockade::new();
    for _ in 0..4 {
        let leaves = blockade.of("sundown-drive");
        let waits_for_a_task = on_drop(move || {
            let (ends, has_ended) = mpsc::channel();
            drop(tokio::spawn(async move {
                leaves();
                ends.send(()).unwrap();
            }));
            has_ended.recv_timeout(PLENTY).unwrap();
        });
        assert!(teardown_blocking(waits_for_a_task, PLENTY).is_ok());
    }
    blockade.has_begun();
    blockade.let_go();
    assert!(keeps.close_blocking(PLENTY).is_ok());
}

/// In a process of its own, because other tests keep the closing service.
#[test]
fn a_teardown_whose_own_thread_is_blocked_says_so() {
    let is_child = std::env::var_os("A_TEARDOWN_ALONE").is_some();
    if !is_child {
        let test = std::env::current_exe().unwrap();
        let name = "thread_locals::a_teardown_whose_own_thread_is_blocked_says_so";
        let mut child = std::process::Command::new(test);
        let child = child.args([name, "--exact", "--nocapture"]).env("A_TEARDOWN_ALONE", "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let blockade = Blockade::new();
    let value = on_drop(blockade.of("sundown-drop"));
    let began = Instant::now();
    let error = teardown_blocking(value, Duration::from_secs(1)).unwrap_err();
    assert!(began.elapsed() < PLENTY / 2, "{error}");
    blockade.has_begun();
    let TeardownError::TimedOut { unfinished, .. } = error else { panic!("{error}") };
    let expected = Unfinished { thread: Some(KitThread::Dropping), ..Unfinished::default() };
    assert_eq!(unfinished, expected);
    // Another one has a closing service of its own.
    assert!(teardown_blocking((), PLENTY).is_ok());
    blockade.let_go();
}

/// Its thread runs the tasks.
#[test]
fn a_shutdown_is_not_late_for_what_a_task_has_left_on_the_owner_thread() {
    let owner = RuntimeOwner::builder("owned").current_thread().start().unwrap();
    let blockade = Blockade::new();
    let leaves = blockade.of("owned");
    let task = owner.spawn("leaves", |_stop| async move { leaves() });
    drop(task.unwrap());
    names_a_thread_until_it_is_let_go(&owner, blockade, "owned");
}

/// Also one whose work is over. Of a worker and of a thread of the pool.
#[test]
fn a_shutdown_names_the_thread_on_which_work_has_left_something() {
    let single = || RuntimeOwner::builder("single").current_thread().start().unwrap();
    let several = || RuntimeOwner::builder("several").workers(1).start().unwrap();
    for (owner, thread, is_blocking_work) in [
        (single(), "single-0", true),
        (several(), "several-0", false),
        (several(), "several-1", true),
    ] {
        let blockade = Blockade::new();
        let (leaves, handle) = (blockade.of(thread), owner.handle().unwrap());
        let has_left = match is_blocking_work {
            true => handle.spawn_blocking(leaves),
            false => handle.spawn(async move { leaves() }),
        };
        futures::executor::block_on(has_left).unwrap();
        names_a_thread_until_it_is_let_go(&owner, blockade, thread);
    }
}

#[test]
fn a_shutdown_is_not_late_for_what_a_waker_has_left_on_its_thread() {
    let owner = RuntimeOwner::builder("owned").current_thread().start().unwrap();
    let blockade = Blockade::new();
    let (end, ends) = tokio::sync::oneshot::channel::<()>();
    let deaf = owner.spawn("deaf", |_stop| async move { assert!(ends.await.is_err()) });
    drop(deaf.unwrap());
    let waker = on_wake(blockade.of("sundown-wakers"));
    let mut other = Box::pin(owner.shutdown(PLENTY));
    assert!(other.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(end);
    names_a_thread_until_it_is_let_go(&owner, blockade, "sundown-wakers");
}

fn names_a_thread_until_it_is_let_go(owner: &RuntimeOwner, blockade: Blockade, thread: &str) {
    let began = Instant::now();
    let error = owner.shutdown_blocking(Duration::from_secs(1)).unwrap_err();
    assert!(began.elapsed() < PLENTY / 2, "{error}");
    blockade.has_begun();
    assert_eq!(error.alive.threads, [thread], "{error}");
    blockade.let_go();
    assert!(owner.shutdown_blocking(PLENTY).is_ok());
}
