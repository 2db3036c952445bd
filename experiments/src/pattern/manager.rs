//! The *graceful-with-fallback* pattern of a kernel project.
//!
//! It is written out as its write-up describes it: the same fields, the same lock held over the same
//! steps in the same order, the same destructor, the same lines in the log. Only the names are ours, and
//! the task comes from outside. The write-up locks without unwrapping, as one does with `parking_lot`.
//! That crate's feature `send_guard` is on: without it the future of [`Manager::shutdown`] would not be
//! `Send`, and could not be spawned (experiment 42).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::{error::Elapsed, timeout},
};

/// What the pattern logged. A trial has a process of its own, so this is the trial's.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The lines that the pattern has logged.
#[must_use]
pub fn logged() -> Vec<String> {
    LOG.lock().clone()
}

/// The owner of a background task. Clones share it.
#[derive(Clone, Debug)]
pub struct Manager {
    task: Arc<Mutex<Task>>,
}

#[derive(Debug)]
struct Task {
    handle: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    shutdown_initiated: Arc<AtomicBool>,
}

impl Manager {
    /// Spawns the task on the runtime of this thread. The task selects on the signal to stop.
    pub fn spawn<F>(work: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, signal) = oneshot::channel();
        let task = Task {
            handle: Some(tokio::spawn(work(signal))),
            stop: Some(stop),
            shutdown_initiated: Arc::default(),
        };
        Self { task: Arc::new(Mutex::new(task)) }
    }

    /// The graceful path.
    #[expect(clippy::await_holding_lock, reason = "experiment 42 is about it")]
    pub async fn shutdown(&self) {
        let mut task = self.task.lock();
        if let Some(handle) = task.tell() {
            log_end(handle.await);
        }
    }

    /// The same with the first extension that the write-up proposes: a limit around the wait. An
    /// error if it passes.
    #[expect(clippy::await_holding_lock, reason = "as in `shutdown`")]
    pub async fn shutdown_within(&self, limit: Duration) -> Result<(), Elapsed> {
        let mut task = self.task.lock();
        if let Some(handle) = task.tell() {
            log_end(timeout(limit, handle).await?);
        }
        Ok(())
    }
}

impl Manager {
    /// The same, but it keeps the handle, and aborts the task if the limit passes. The write-up does not
    /// have this.
    #[expect(clippy::await_holding_lock, reason = "as in `shutdown`")]
    pub async fn shutdown_or_abort(&self, limit: Duration) -> Result<(), Elapsed> {
        let mut task = self.task.lock();
        if let Some(mut handle) = task.tell() {
            let ended = timeout(limit, &mut handle).await;
            if ended.is_err() {
                handle.abort();
            }
            log_end(ended?);
        }
        Ok(())
    }
}

impl Task {
    /// The first call raises the flag, sends the signal and takes the handle out.
    fn tell(&mut self) -> Option<JoinHandle<()>> {
        if self.shutdown_initiated.load(Ordering::SeqCst) {
            return None;
        }
        self.shutdown_initiated.store(true, Ordering::SeqCst);
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.handle.take()
    }
}

fn log_end(result: Result<(), JoinError>) {
    LOG.lock().push(match result {
        Ok(()) => "the task has shut down".to_owned(),
        Err(error) => format!("the task failed: {error}"),
    });
}

/// The fallback.
impl Drop for Task {
    fn drop(&mut self) {
        if self.shutdown_initiated.load(Ordering::SeqCst) {
            return;
        }
        if let Some(handle) = self.handle.take() {
            LOG.lock().push("the task was dropped without a shutdown: aborting".to_owned());
            handle.abort();
        }
    }
}
