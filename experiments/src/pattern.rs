//! The *graceful-with-fallback* pattern of a kernel project, and the kit's task in its place: for
//! experiments 40–46.
//!
//! The pattern is written out as its write-up describes it: the same fields, the same lock held
//! over the same steps in the same order, the same destructor. Only the names are ours, and the
//! task comes from outside. The write-up locks without unwrapping, as one does with `parking_lot`.
//! That crate's feature `send_guard` is on: without it the future of [`Manager::shutdown`] would
//! not be `Send`, and could not be spawned (experiment 42).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sundown::{
    shutdown::{ShutdownError, ShutdownReport},
    task::{BackgroundTask, SpawnError},
};
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::{error::Elapsed, timeout},
};

use crate::Scene;

/// The signal that tells a task of the pattern to stop. The task selects on it.
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

/// The owner of a task in a hazard and in its cure. Clones share the task.
#[derive(Clone, Debug)]
pub enum Owner {
    /// The pattern.
    Pattern(Manager),
    /// The kit.
    Kit(BackgroundTask<()>),
}

/// The signal to stop under either owner.
pub type StopSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Owner {
    /// Spawns a task on the runtime of this thread: under the kit in a variant `kit/…`, else under
    /// the pattern.
    pub fn spawn<F>(
        scene: &Scene<'_>,
        name: &'static str,
        work: impl FnOnce(StopSignal) -> F + Send + 'static,
    ) -> Result<Self, SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if scene.variant().starts_with("kit/") {
            return Ok(Self::Kit(BackgroundTask::spawn(name, |stop| work(Box::pin(stop)))?));
        }
        Ok(Self::Pattern(Manager::spawn(|signal| {
            work(Box::pin(async {
                let _ = signal.await;
            }))
        })))
    }

    /// Tells the task to stop and waits until it has ended. The pattern reports nothing, and no
    /// error.
    pub async fn shutdown(&self) -> Result<Option<ShutdownReport>, ShutdownError> {
        match self {
            Self::Pattern(manager) => {
                manager.shutdown().await;
                Ok(None)
            }
            Self::Kit(task) => task.shutdown().await.map(Some),
        }
    }
}
