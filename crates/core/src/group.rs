//! A group of tasks that end together: one of them or a million.

#[cfg(feature = "tokio-util")]
mod cancellation_token;

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{
    blocking,
    observe::{self, Outcome},
    shutdown::{
        Alive, GracefulShutdown, Panicked, ShutdownError, ShutdownErrorKind, ShutdownFuture,
        ShutdownReport, StillRunning,
    },
    tasks::{Count, Label, Member, Place, SpawnError, SpawnedBy, Stop, Tasks},
};

/// A group of tasks. If it is dropped, what is left in it is aborted, with a warning.
///
/// `tokio::task::JoinSet` aborts its tasks and cannot ask them to stop; `tokio_util`'s `TaskTracker`
/// asks and cannot abort. A group asks first, aborts at a limit, keeps the messages of panics, and
/// names the tasks that do not end.
///
/// ```
/// use std::time::Duration;
/// use sundown::group::TaskGroup;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sundown::task::SpawnError> {
/// let group = TaskGroup::new("connections");
/// for _ in 0..100 {
///     group.spawn("connection", |stop| stop)?;
/// }
/// let report = group.drain(Duration::from_secs(5)).await;
/// assert_eq!((report.ended, report.still_running.len()), (100, 0));
/// # Ok(()) }
/// ```
#[must_use = "the group's tasks are aborted when it is dropped"]
pub struct TaskGroup {
    tasks: Arc<Tasks>,
    label: Label,
}

/// How the tasks of a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says which tasks panicked and which still run"]
#[non_exhaustive]
pub struct GroupReport {
    /// The group.
    pub group: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many tasks completed.
    pub ended: usize,
    /// How many were dropped before they completed.
    pub aborted: usize,
    /// How many were refused because the group had been told to stop.
    pub refused: usize,
    /// Which panicked.
    pub panicked: Vec<Panicked>,
    /// Which have not ended. A child group that has not is listed under its own name.
    pub still_running: Vec<StillRunning>,
}

impl TaskGroup {
    /// A group without tasks.
    #[track_caller]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { tasks: Tasks::new(), label: Label::new(name) }
    }

    /// A group that is, as a whole, a member of this one: it is told to stop and aborted with this
    /// one, which waits for it. It can also be drained alone.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`], if this group has been told to stop.
    #[track_caller]
    #[must_use = "a child's tasks are aborted when it is dropped"]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Result<Self, SpawnError> {
        let label = Label::new(name);
        let tasks = self.tasks.child(label.clone()).map_err(|_| SpawnError::Stopped)?;
        Ok(Self { tasks, label })
    }

    /// Spawns a task on the runtime of this thread.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoRuntime`] on a thread without runtime context, and [`SpawnError::Stopped`] if
    /// the group has been told to stop; then the task counts as refused. `work` is dropped.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        self.spawn_on(&runtime, name, work)
    }

    /// Spawns a task on this runtime. If the runtime has been shut down, the task ends at once,
    /// aborted.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`], if the group has been told to stop.
    #[track_caller]
    pub fn spawn_on<F>(
        &self,
        runtime: &Handle,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        spawn(&self.tasks, SpawnedBy::Outsider, runtime, Label::new(name), work)
    }

    /// A stop signal for something that is not in the group, such as an HTTP server.
    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        Stop::of(Arc::clone(&self.tasks))
    }

    /// Stops the group when a future is ready, for example `tokio::signal::ctrl_c()`, or the
    /// cancellation of another library's token. A task of the group waits for the future. Fails as
    /// [`TaskGroup::spawn`] does.
    #[track_caller]
    pub fn stop_when<O>(
        &self,
        signal: impl Future<Output = O> + Send + 'static,
    ) -> Result<(), SpawnError> {
        let tasks = Arc::clone(&self.tasks);
        self.spawn("stop_when", |mut stop| async move {
            tokio::select! {
                () = &mut stop => {}
                _ = signal => tasks.stop(),
            }
        })
    }

    /// Tells every task to stop, and takes no more from outside. Does not wait.
    pub fn stop(&self) {
        self.tasks.stop();
    }

    /// Has every task dropped where it next yields to its runtime. Does not wait.
    pub fn abort(&self) {
        self.tasks.abort();
    }

    /// How many tasks and child groups have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.registry().count().running
    }

    /// Whether all tasks and child groups have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.registry().is_empty()
    }

    /// Tells every task to stop, and waits until all have ended or the limit has passed.
    ///
    /// Tasks that are left when nine tenths of the limit have passed are aborted; if the limit is
    /// below a second, when all but 100 ms or half of it has. Tasks of the group may still spawn
    /// others, by [`Stop::spawn`], and those are waited for as well.
    ///
    /// You may call this again, and at the same time. If the future is dropped, nothing is lost.
    pub async fn drain(&self, limit: Duration) -> GroupReport {
        let began = Instant::now();
        self.tasks.shut_down(limit).await;
        report(&self.tasks, &self.label, began.elapsed())
    }

    /// Same as [`drain`](Self::drain), on a plain thread. On a worker of a runtime this blocks the
    /// worker.
    pub fn drain_blocking(&self, limit: Duration) -> GroupReport {
        blocking::wait_for(Box::pin(self.drain(limit)))
    }
}

/// Reports how tasks ended that were told to stop.
pub(crate) fn report(tasks: &Tasks, label: &Label, elapsed: Duration) -> GroupReport {
    let (group, tally) = (label.name.clone().into_owned(), tasks.tally());
    let Count { completed: ended, aborted, .. } = tasks.registry().count();
    let is_running = !tasks.closed().has_fired();
    let still_running = if is_running { tasks.still_running() } else { Vec::new() };
    let outcome = match (is_running, tally.panicked.is_empty(), aborted) {
        (true, ..) => Outcome::TimedOut,
        (false, false, _) => Outcome::Panicked,
        (false, true, 0) => Outcome::Graceful,
        (false, true, _) => Outcome::Aborted,
    };
    observe::shutdown(&group, outcome, elapsed);
    let (refused, panicked) = (tally.refused, tally.panicked);
    GroupReport { group, elapsed, ended, aborted, refused, panicked, still_running }
}

fn spawn<F>(
    tasks: &Arc<Tasks>,
    spawned_by: SpawnedBy,
    runtime: &Handle,
    label: Label,
    work: impl FnOnce(Stop) -> F + Send + 'static,
) -> Result<(), SpawnError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let place = Place::new(tasks, label, spawned_by).map_err(|_| SpawnError::Stopped)?;
    drop(runtime.spawn(Member::new(place, work)));
    Ok(())
}

impl Stop {
    /// Spawns another task of the same group, also while the group is draining.
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
        let runtime = Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        spawn(self.tasks(), SpawnedBy::Member, &runtime, Label::new(name), work)
    }
}

impl GroupReport {
    /// The report as a result.
    ///
    /// # Errors
    ///
    /// A [`ShutdownError`] of kind [`TimedOut`](ShutdownErrorKind::TimedOut) if a task has not ended,
    /// and of kind [`Panicked`](ShutdownErrorKind::Panicked) if one panicked.
    pub fn into_result(self) -> Result<ShutdownReport, ShutdownError> {
        let Self { group: component, elapsed, aborted, panicked, still_running, .. } = self;
        if !still_running.is_empty() {
            let alive = Alive { tasks: still_running.len(), threads: Vec::new() };
            let error = ShutdownError::new(component, elapsed, ShutdownErrorKind::TimedOut);
            return Err(error.with_running(still_running, alive));
        }
        if !panicked.is_empty() {
            let kind = ShutdownErrorKind::Panicked(panicked.into());
            return Err(ShutdownError::new(component, elapsed, kind));
        }
        Ok(ShutdownReport { component, elapsed, aborted })
    }
}

impl GracefulShutdown for TaskGroup {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(async move { self.drain(limit).await.into_result() })
    }
}

impl Drop for TaskGroup {
    fn drop(&mut self) {
        let running = self.tasks.registry().count().running;
        if running > 0 {
            observe::dropped_without_shutdown(&self.label.name, self.label.spawned_at, running);
        }
        self.tasks.abort();
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("name", &self.label.name)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
