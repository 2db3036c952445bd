//! The *graceful-with-fallback* pattern of a kernel project, and the kit's task in its place: for
//! experiments 40–47.

mod manager;

use std::{pin::Pin, time::Duration};

use lab::TrialResult;
use sundown::{
    SpawnError,
    shutdown::{ShutdownError, ShutdownReport},
    task::BackgroundTask,
};

pub use self::manager::{Manager, logged};
use crate::Scene;

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
