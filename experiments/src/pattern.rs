//! The *graceful-with-fallback* pattern of a kernel project, for experiments 40–46.
//!
//! It is written out as its write-up describes it: the same fields, the same lock held over the same
//! steps in the same order, the same destructor. Only the words are ours, and the task is given from
//! outside. The write-up locks without unwrapping, which is `parking_lot`'s manner; for the future of
//! [`Manager::shutdown`] to be `Send`, and so to be spawned, that crate's feature `send_guard` is on
//! (experiment 42).

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::error::Elapsed,
};

/// How a task of the pattern is told to stop. Its task selects on it.
pub type Signal = oneshot::Receiver<()>;

/// What the pattern logged. A trial has a process of its own, so this is the trial's.
static LOG: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

/// The lines that the pattern has logged.
#[must_use]
pub fn log() -> Vec<String> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write(line: String) {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// The owner of a background task. Clones share it.
#[derive(Clone)]
pub struct Manager {
    task: Arc<Mutex<Task>>,
}

struct Task {
    handle: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    shutdown_initiated: Arc<AtomicBool>,
}

impl Manager {
    /// Spawns the task on the runtime of this thread.
    pub fn spawn<F>(work: impl FnOnce(Signal) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, signal) = oneshot::channel();
        let handle = tokio::spawn(work(signal));
        Self {
            task: Arc::new(Mutex::new(Task {
                handle: Some(handle),
                stop: Some(stop),
                shutdown_initiated: Arc::new(AtomicBool::new(false)),
            })),
        }
    }

    /// The graceful path.
    #[expect(clippy::await_holding_lock, reason = "so it is described: experiment 42 is about it")]
    pub async fn shutdown(&self) {
        let mut task = self.task.lock();
        if task.shutdown_initiated.load(Ordering::SeqCst) {
            return;
        }
        task.shutdown_initiated.store(true, Ordering::SeqCst);
        if let Some(stop) = task.stop.take() {
            let _ = stop.send(());
        }
        if let Some(handle) = task.handle.take() {
            log_end(handle.await);
        }
    }

    /// The same with the first of the extensions that the write-up proposes: a limit around the
    /// wait.
    ///
    /// # Errors
    ///
    /// Where the limit passes.
    #[expect(clippy::await_holding_lock, reason = "as `shutdown`")]
    pub async fn shutdown_within(&self, limit: Duration) -> Result<(), Elapsed> {
        let mut task = self.task.lock();
        if task.shutdown_initiated.load(Ordering::SeqCst) {
            return Ok(());
        }
        task.shutdown_initiated.store(true, Ordering::SeqCst);
        if let Some(stop) = task.stop.take() {
            let _ = stop.send(());
        }
        if let Some(handle) = task.handle.take() {
            log_end(tokio::time::timeout(limit, handle).await?);
        }
        Ok(())
    }
}

fn log_end(result: Result<(), JoinError>) {
    match result {
        Ok(()) => write("the task has shut down".to_owned()),
        Err(error) => write(format!("the task failed: {error}")),
    }
}

/// The fallback.
impl Drop for Task {
    fn drop(&mut self) {
        if self.shutdown_initiated.load(Ordering::SeqCst) {
            return;
        }
        if let Some(handle) = self.handle.take() {
            write("the task was dropped without a shutdown: aborting".to_owned());
            handle.abort();
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}
