//! A waker that blocks delays only the caller that it belongs to: not whoever wakes it, and not those who
//! wait for the same.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    time::Instant,
};

use sundown::{
    CloseErrorKind, Latch, NotCovered, Session, TaskGroup, shutdown::ShutdownErrorKind,
    teardown::KitThread,
};

use crate::fixtures::{Counting, PLENTY, SHORT, both_flavours, until_yielding};

/// A waker that blocks from when it is called until it is let go.
struct Blocking {
    is_called: mpsc::Sender<()>,
    is_let_go: Mutex<mpsc::Receiver<()>>,
}

impl Wake for Blocking {
    fn wake(self: Arc<Self>) {
        let _ = self.is_called.send(());
        let _ = self.is_let_go.lock().unwrap().recv_timeout(PLENTY);
    }
}

struct Blockade {
    waker: Waker,
    called: mpsc::Receiver<()>,
    let_go: mpsc::Sender<()>,
}

impl Blockade {
    fn new() -> Self {
        let (is_called, called) = mpsc::channel();
        let (let_go, is_let_go) = mpsc::channel();
        let waker = Blocking { is_called, is_let_go: Mutex::new(is_let_go) };
        Self { waker: Arc::new(waker).into(), called, let_go }
    }

    /// Waits with this waker.
    fn waits<F: Future>(&self, future: F) -> Pin<Box<F>> {
        let mut future = Box::pin(future);
        let polled = future.as_mut().poll(&mut Context::from_waker(&self.waker));
        assert!(polled.is_pending());
        future
    }

    /// The control: the waker is called, and has not returned.
    fn is_real(&self) {
        self.called.recv_timeout(PLENTY).unwrap();
    }

    /// The same, while the tasks of this runtime go on.
    async fn is_real_meanwhile(&self) {
        let called = Mutex::new(&self.called);
        until_yielding("the waker", || called.lock().unwrap().try_recv().is_ok()).await;
    }

    fn let_go(self) {
        drop(self.let_go);
    }
}

fn names_threads(not_covered: &[NotCovered]) -> bool {
    not_covered.iter().any(|item| matches!(item, NotCovered::KitThreads { .. }))
}

#[test]
fn it_delays_neither_whoever_fires_a_latch_nor_the_others_that_wait() {
    let (latch, blockade) = (Latch::new(), Blockade::new());
    let (counting, counts) = Counting::waker();
    let mut others = [(); 2].map(|()| Box::pin(latch.wait()));
    assert!(others[0].as_mut().poll(&mut Context::from_waker(&counts)).is_pending());
    let waits = blockade.waits(latch.wait());
    assert!(others[1].as_mut().poll(&mut Context::from_waker(&counts)).is_pending());
    let began = Instant::now();
    assert!(latch.fire());
    assert!(began.elapsed() < PLENTY / 2, "it waits for the waker");
    blockade.is_real();
    assert_eq!(counting.woken_at_least(2), 2);
    drop(waits);
    blockade.let_go();
}

#[test]
fn it_delays_neither_the_drop_of_the_last_handle_nor_another_closer() {
    let session = Session::new("session").unwrap();
    let handle = session.guard(()).unwrap();
    let blockade = Blockade::new();
    let first = blockade.waits(session.close(PLENTY));
    let began = Instant::now();
    drop(handle);
    assert!(began.elapsed() < PLENTY / 2, "the drop waits for the waker");
    blockade.is_real();
    let other = Session::new("another").unwrap().close_blocking(PLENTY).unwrap();
    assert!(names_threads(&other.not_covered), "of another session: {other}");
    // Whoever wakes it has some patience, and only then leaves the thread to the session.
    let unfinished = || session.close_blocking(SHORT).unwrap_err().unfinished;
    while unfinished().thread != Some(KitThread::Wakers) {
        assert!(began.elapsed() < PLENTY / 2, "no thread is left to the session");
    }
    for _ in 0..2 {
        let error = session.close_blocking(SHORT).unwrap_err();
        assert!(matches!(error.kind, CloseErrorKind::StillRunning), "{error}");
        assert_eq!(error.unfinished.thread, Some(KitThread::Wakers), "{error}");
        assert!(error.to_string().contains("`sundown-wakers`"), "{error}");
    }
    assert!(began.elapsed() < PLENTY / 2, "a limit is late");
    blockade.let_go();
    assert!(session.close_blocking(PLENTY).is_ok());
    assert!(futures::executor::block_on(first).is_ok());
}

#[test]
fn a_waker_that_blocks_costs_no_other_caller_its_limit() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        child.spawn("last", |_stop| async move { assert!(ends.await.is_err()) }).unwrap();
        let blockade = Blockade::new();
        let first = blockade.waits(child.drain(PLENTY));
        let began = Instant::now();
        drop(end);
        blockade.is_real_meanwhile().await;
        // Whoever wakes it has some patience, and only then leaves the thread to the group.
        while child.drain(SHORT).await.threads.is_empty() {
            assert!(began.elapsed() < PLENTY / 2, "no thread is left to the group");
        }
        for group in [&parent, &child, &parent] {
            let report = group.drain(SHORT).await;
            assert_eq!(report.threads, ["sundown-wakers"], "{report}");
            let error = report.into_result().unwrap_err();
            assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
        }
        let other = TaskGroup::new("another").drain(PLENTY).await;
        assert!(names_threads(&other.not_covered), "of another group: {other}");
        assert!(other.into_result().is_ok());
        assert!(began.elapsed() < PLENTY / 2, "a limit is late");
        blockade.let_go();
        assert!(parent.drain(PLENTY).await.into_result().is_ok());
        assert!(child.drain(PLENTY).await.into_result().is_ok());
        assert!(first.await.into_result().is_ok());
    });
}

/// A child has an answer of its own.
#[test]
fn a_waker_of_a_parents_caller_does_not_concern_a_child() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let blockade = Blockade::new();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        child.spawn("last", |_stop| async move { assert!(ends.await.is_err()) }).unwrap();
        let first = blockade.waits(parent.drain(PLENTY));
        drop(end);
        blockade.is_real_meanwhile().await;
        assert_eq!(parent.drain(SHORT).await.threads, ["sundown-wakers"]);
        assert!(child.drain(PLENTY).await.into_result().is_ok());
        blockade.let_go();
        assert!(first.await.into_result().is_ok());
    });
}
