//! Spawns the tasks of a set, for groups and for tasks that spawn others.

use std::{borrow::Cow, future::Future, sync::Arc};

use thiserror::Error;
use tokio::runtime::Handle;

use crate::task_set::{Label, Member, Place, SpawnedBy, Stop, TaskSet, large};

/// Why nothing was spawned. The closure was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// This thread has no runtime context.
    #[error("this thread has no Tokio runtime to spawn on; use spawn_on with a handle of one")]
    NoRuntime,
    /// The group is stopping, and refuses tasks from outside. A
    /// [`BackgroundTask`](crate::BackgroundTask) never returns this.
    #[error("the group has been told to stop and takes no more tasks")]
    Stopped,
}

crate::debug_as_text!(SpawnError);

/// The runtime of this thread.
pub(crate) fn current_runtime() -> Result<Handle, SpawnError> {
    Handle::try_current().map_err(|_| SpawnError::NoRuntime)
}

/// Spawns a task of a set.
pub(crate) fn spawn<W, F>(
    tasks: &Arc<TaskSet>,
    spawned_by: SpawnedBy,
    runtime: &Handle,
    label: Label,
    work: W,
) -> Result<(), SpawnError>
where
    W: FnOnce(Stop) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    if const { large::is_large::<W, F>() } {
        spawn_here(tasks, spawned_by, runtime, label, large::boxed(Box::new(work)))
    } else {
        spawn_here(tasks, spawned_by, runtime, label, work)
    }
}

fn spawn_here<W, F>(
    tasks: &Arc<TaskSet>,
    spawned_by: SpawnedBy,
    runtime: &Handle,
    label: Label,
    work: W,
) -> Result<(), SpawnError>
where
    W: FnOnce(Stop) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let place = Place::new(tasks, label, spawned_by).map_err(|_| SpawnError::Stopped)?;
    tasks.remember_runtime(runtime);
    drop(runtime.spawn(Member::new(place, work)));
    Ok(())
}

impl Stop {
    /// Spawns another task of the same group, even while the group is draining.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoRuntime`] on a thread without runtime context, and [`SpawnError::Stopped`] if
    /// the group has ended, which it cannot while the calling task runs.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        spawn(self.tasks(), SpawnedBy::Member, &current_runtime()?, Label::new(name), work)
    }
}
