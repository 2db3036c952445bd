//! A waker that blocks delays only the caller that it belongs to: not whoever wakes it, and not those who
//! wait for the same.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};

use sundown::{Latch, NotCovered, Session, TaskGroup, shutdown::GracefulShutdown};

use crate::fixtures::{Counting, PLENTY, both_flavours};

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
    let report = session.close_blocking(PLENTY).unwrap();
    assert!(began.elapsed() < PLENTY / 2, "{report}");
    assert!(names_threads(&report.not_covered), "its thread is alive: {report}");
    blockade.let_go();
    assert!(futures::executor::block_on(first).is_ok());
}

#[test]
fn it_delays_neither_the_last_task_nor_the_drain_of_a_parent_or_another_caller() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        child.spawn("last", |_stop| async move { assert!(ends.await.is_err()) }).unwrap();
        let blockade = Blockade::new();
        let first = blockade.waits(child.drain(PLENTY));
        let began = Instant::now();
        drop(end);
        let of_parent = parent.drain(PLENTY).await;
        let of_another = child.drain(PLENTY).await;
        assert!(began.elapsed() < PLENTY / 2, "{of_parent}");
        blockade.is_real();
        assert!(names_threads(&of_parent.not_covered) && names_threads(&of_another.not_covered));
        assert!(of_parent.into_result().is_ok() && of_another.into_result().is_ok());
        blockade.let_go();
        assert!(first.await.into_result().is_ok());
    });
}

#[test]
fn it_delays_no_caller_that_waits_while_another_gives_up() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        group.spawn("deaf", |_stop| async move { assert!(ends.await.is_err()) }).unwrap();
        let blockade = Blockade::new();
        let impatient = blockade.waits(group.shutdown_within(Duration::from_millis(1)));
        let patient = blockade.waits(group.shutdown_within(PLENTY));
        let began = Instant::now();
        drop(patient);
        drop(end);
        assert!(group.drain(PLENTY).await.into_result().is_ok());
        assert!(began.elapsed() < PLENTY / 2, "a waker is waited for");
        blockade.let_go();
        drop(impatient);
    });
}
