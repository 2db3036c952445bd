//! What several tests need. Nothing here sleeps instead of looking whether something has happened.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use proptest::test_runner::{Config, RngSeed, TestRunner};
use sundown::Stop;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::spawn_blocking,
};

/// Far longer than anything here takes on a busy machine.
pub use sundown::limit::PLENTY;

/// So short that what does not end by itself is aborted or reported. Whether an abort takes effect
/// within this limit is up to the machine; that it takes effect is not.
pub const SHORT: Duration = Duration::from_millis(20);

/// How long `until` lets other tests have the processor before it looks again.
const BETWEEN_LOOKS: Duration = Duration::from_micros(100);

pub fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

pub fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// A test in async code of a runtime of either flavour. Neither has a timer.
pub fn both_flavours(test: impl AsyncFn()) {
    // As one type for all: Tokio is not compiled again for each.
    let test = || Box::pin(test()) as Pin<Box<dyn Future<Output = ()> + '_>>;
    current_thread().block_on(test());
    // The test itself runs on the calling thread, and what it spawns on the workers.
    multi_thread().block_on(test());
}

/// The work of a task that ends when it is asked to. One type, so that Tokio is compiled for it once.
pub fn obeys(stop: Stop) -> Stop {
    stop
}

pub fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PLENTY, "this never came: {what}");
        thread::sleep(BETWEEN_LOOKS);
    }
}

pub async fn until_yielding(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PLENTY, "this never came: {what}");
        tokio::task::yield_now().await;
    }
}

/// Something to own, and whether it has been dropped.
pub fn owned() -> (Arc<()>, impl Fn() -> bool + Clone + Send + Sync + 'static) {
    let owned = Arc::new(());
    let weak = Arc::downgrade(&owned);
    (owned, move || weak.strong_count() == 0)
}

/// Does something when it is dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

pub fn on_drop<F: FnOnce()>(what: F) -> OnDrop<F> {
    OnDrop(Some(what))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(what) = self.0.take() {
            what();
        }
    }
}

/// A value like a connection pool: its destructor needs a runtime context, and posts two closers.
pub struct Pool {
    closed: Arc<AtomicUsize>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in 0..2 {
            let closed = Arc::clone(&self.closed);
            spawn_blocking(move || closed.fetch_add(1, Ordering::SeqCst));
        }
    }
}

/// A pool, and how many of its closers have run: two, once it has been torn down.
pub fn pool() -> (Pool, impl Fn() -> usize + Clone + Send + Sync + 'static) {
    let closed = Arc::new(AtomicUsize::new(0));
    (Pool { closed: Arc::clone(&closed) }, move || closed.load(Ordering::SeqCst))
}

/// What blocks until it is let go.
pub struct Stuck {
    pub let_go: mpsc::Sender<()>,
    pub has_begun: mpsc::Receiver<()>,
}

pub fn stuck() -> (Stuck, impl FnOnce() + Send + 'static) {
    let ((let_go, is_let_go), (begun, has_begun)) = (mpsc::channel(), mpsc::channel());
    let blocks = move || {
        begun.send(()).unwrap();
        let _ = is_let_go.recv_timeout(PLENTY);
    };
    (Stuck { let_go, has_begun }, blocks)
}

/// Runs something while the locals of a thread are being destroyed, Tokio's before it.
pub fn while_locals_are_destroyed<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    thread_local!(static LAST: RefCell<Option<Box<dyn Send>>> = const { RefCell::new(None) });
    let (answer, is_answer) = mpsc::channel();
    let run = move || {
        let gone = Handle::try_current().unwrap_err();
        assert!(gone.is_thread_local_destroyed(), "the control");
        answer.send(run()).unwrap();
    };
    thread::spawn(|| {
        // Registered first, and so destroyed last.
        LAST.set(Some(Box::new(on_drop(run))));
        drop(Handle::try_current());
        current_thread().block_on(async {});
    });
    is_answer.recv_timeout(PLENTY).unwrap()
}

/// Counts how often it is woken. Its reference count says how many of its wakers are kept.
#[derive(Default)]
pub struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counting {
    pub fn waker() -> (Arc<Self>, Waker) {
        let counting = Arc::new(Self::default());
        (Arc::clone(&counting), counting.into())
    }

    pub fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// How often it has been woken, once that is so often: the thread that calls it may be late on a busy
    /// machine.
    pub fn woken_at_least(&self, times: usize) -> usize {
        until("the wakers", || self.woken() >= times);
        self.woken()
    }
}

/// Random cases that are the same in every run.
pub fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(20_261_121),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    })
}
