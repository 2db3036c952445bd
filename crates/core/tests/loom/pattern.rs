//! The *graceful-with-fallback* pattern of a kernel project: an atomic flag, a oneshot and the task's
//! handle, behind a lock that is held while the task is awaited. `experiments/src/pattern.rs` has it as
//! its write-up describes it; here it is made of the kit's own flag and oneshot, and the task is a
//! thread.
//!
//! With the lock, two callers are both answered after the end. Without it, or if the first caller is
//! dropped half-way, the second is answered while the task still runs (experiments 41, 43; finding D2b).

use std::{future::Future, pin::pin, task::Context};

use loom::{
    future::block_on,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use sundown::{
    flag::Flag,
    oneshot::{self, Receiver, Sender},
};

use crate::{Bound, beside, explore, must_be_caught, shared};

struct Manager {
    shutdown_initiated: Flag,
    task: Mutex<Task>,
}

struct Task {
    stop: Option<Sender<()>>,
    handle: Option<Receiver<()>>,
}

impl Manager {
    /// Spawns a task that ends when it is told to. What it does last is `end`.
    fn spawn(end: impl FnOnce() + 'static) -> (Arc<Self>, thread::JoinHandle<()>) {
        let (stop, signal) = oneshot::channel();
        let (ended, handle) = oneshot::channel();
        let running = thread::spawn(move || {
            let _ = block_on(signal);
            end();
            let _ = ended.send(());
        });
        let task = Mutex::new(Task { stop: Some(stop), handle: Some(handle) });
        (Arc::new(Self { shutdown_initiated: Flag::new(), task }), running)
    }

    /// As the write-up has it: the lock is held until the task has ended.
    #[allow(clippy::await_holding_lock, reason = "this is what the model is about")]
    async fn shutdown(&self) {
        let mut task = self.task.lock().unwrap();
        if !self.shutdown_initiated.raise() {
            return;
        }
        task.stop.take().map(|stop| stop.send(()));
        if let Some(handle) = task.handle.take() {
            let _ = handle.await;
        }
    }

    /// The same without the lock over the wait.
    async fn shutdown_without_the_lock(&self) {
        if !self.shutdown_initiated.raise() {
            return;
        }
        let (stop, handle) = {
            let mut task = self.task.lock().unwrap();
            (task.stop.take(), task.handle.take())
        };
        stop.map(|stop| stop.send(()));
        if let Some(handle) = handle {
            let _ = handle.await;
        }
    }
}

/// A task that records its end, and whether it is over. Relaxed, so that only the pattern orders it.
fn recorded() -> (Arc<AtomicBool>, impl FnOnce() + 'static) {
    let over = shared::<AtomicBool>();
    let end = Arc::clone(&over);
    (over, move || end.store(true, Ordering::Relaxed))
}

#[test]
fn pattern_two_callers_are_answered_after_the_end() {
    explore("pattern, two shutdowns", Bound::Three, || {
        let (over, end) = recorded();
        let (manager, running) = Manager::spawn(end);
        let other = beside(&manager, |manager| block_on(manager.shutdown()));
        block_on(manager.shutdown());
        let over = over.load(Ordering::Relaxed);
        other.join().unwrap();
        running.join().unwrap();
        assert!(over, "answered before the end");
    });
}

#[test]
fn pattern_twin_without_its_lock_answers_the_second_caller_too_early() {
    must_be_caught("pattern, no lock over the wait", "answered before the end", || {
        let (over, end) = recorded();
        let (manager, running) = Manager::spawn(end);
        let other = beside(&manager, |manager| block_on(manager.shutdown_without_the_lock()));
        block_on(manager.shutdown_without_the_lock());
        let over = over.load(Ordering::Relaxed);
        other.join().unwrap();
        running.join().unwrap();
        assert!(over, "answered before the end");
    });
}

#[test]
fn pattern_twin_whose_first_caller_gives_up_answers_the_second_too_early() {
    must_be_caught("pattern, the first caller gives up", "answered before the end", || {
        let (over, end) = recorded();
        let (manager, running) = Manager::spawn(end);
        {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _ = pin!(manager.shutdown()).poll(&mut context);
        }
        block_on(manager.shutdown());
        let over = over.load(Ordering::Relaxed);
        running.join().unwrap();
        assert!(over, "answered before the end");
    });
}
