//! The *graceful-with-fallback* pattern of a kernel project, and the kit's task in its place: for
//! experiments 40–47.
//!
//! The pattern is written out as its write-up describes it: the same fields, the same lock held
//! over the same steps in the same order, the same destructor. Only the names are ours, and the
//! task comes from outside. The write-up locks without unwrapping, as one does with `parking_lot`.
//! That crate's feature `send_guard` is on: without it the future of [`Manager::shutdown`] would
//! not be `Send`, and could not be spawned (experiment 42).

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lab::TrialResult;
use parking_lot::Mutex;
use sundown::{
    SpawnError,
    shutdown::{ShutdownError, ShutdownReport},
    task::BackgroundTask,
};
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::{error::Elapsed, timeout},
};

use crate::Scene;

/// What the pattern logged. A trial has a process of its own, so this is the trial's.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many lines the pattern has logged.
#[must_use]
pub fn lines_logged() -> usize {
    LOG.lock().len()
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
        let work = |signal| work(Box::pin(async { drop(signal.await) }));
        Ok(Self::Pattern(Manager::spawn(work)))
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

/// Has the kit end a task at a limit, and records that it was aborted. The abort is ordered within the
/// limit. On a busy machine it may take effect later, and this is an error then: so wait for the end.
pub async fn abort_at(
    limit: Duration,
    task: &BackgroundTask<()>,
    scene: &Scene<'_>,
) -> TrialResult {
    let _ = task.shutdown_within(limit).await;
    scene.record("aborted", task.shutdown().await?.aborted);
    Ok(())
}
