//! A group of tasks that end together: one of them or a million.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{
    blocking,
    crew::{Comer, Crew, Panicked, Told},
    member::Member,
    observe::{self, Outcome},
    registry::{Count, Label},
    shutdown::{
        Alive, GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownFuture, ShutdownReport,
        StillRunning, stop_then_abort,
    },
    stop::Stop,
    task::SpawnError,
};

/// A group of tasks. Dropping it aborts what is left in it, with a warning.
///
/// `tokio::task::JoinSet` aborts its tasks and cannot ask them; `tokio_util`'s `TaskTracker` asks
/// and cannot abort. A group asks first, aborts at a limit, keeps what panics said, and names who
/// does not end.
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
pub struct TaskGroup {
    crew: Arc<Crew>,
    label: Label,
}

/// What became of the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says who panicked and what still runs"]
#[non_exhaustive]
pub struct GroupReport {
    /// The group.
    pub group: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many completed.
    pub ended: usize,
    /// How many were dropped before they completed.
    pub aborted: usize,
    /// How many were refused because the group had been told to stop.
    pub refused: usize,
    /// Who panicked, and what the panic said.
    pub panicked: Vec<Panicked>,
    /// Who has not ended. A child group that has not is listed under its own name.
    pub still_running: Vec<StillRunning>,
}

impl TaskGroup {
    /// A group without members.
    #[track_caller]
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        Self { crew: Crew::new(), label }
    }

    /// A group that is a member of this one as a whole: told to stop and aborted with it, and waited
    /// for by it. It can be shut down alone as well.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`] where this group has been told to stop.
    #[track_caller]
    #[must_use = "a child is aborted when it is dropped"]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Result<Self, SpawnError> {
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        let crew = self.crew.child(label.clone()).map_err(|_| SpawnError::Stopped)?;
        Ok(Self { crew, label })
    }

    /// Spawns a member on the runtime of this thread.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoRuntime`] on a thread without runtime context, and [`SpawnError::Stopped`]
    /// where the group has been told to stop. `work` is dropped, and counted as refused.
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

    /// Spawns a member on a runtime. On one that has been shut down it ends at once, aborted.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`] where the group has been told to stop.
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
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        spawn(&self.crew, Comer::Stranger, runtime, label, work)
    }

    /// A stop signal for somebody who is not a member: an HTTP server, say.
    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        Stop::of(Arc::clone(&self.crew))
    }

    /// Stops the group when a future is ready: `tokio::signal::ctrl_c()`, or the cancellation of
    /// another library's token.
    ///
    /// # Errors
    ///
    /// As [`TaskGroup::spawn`].
    #[track_caller]
    pub fn stop_when<O>(
        &self,
        signal: impl Future<Output = O> + Send + 'static,
    ) -> Result<(), SpawnError> {
        let crew = Arc::clone(&self.crew);
        self.spawn("stop_when", |mut stop| async move {
            tokio::select! {
                () = &mut stop => {}
                _ = signal => crew.tell(Told::Stop),
            }
        })
    }

    /// Tells every member to stop, and takes no more from outside. Does not wait.
    pub fn stop(&self) {
        self.crew.tell(Told::Stop);
    }

    /// Has every member dropped, wherever it next gives way to its runtime. Does not wait.
    pub fn abort(&self) {
        self.crew.tell(Told::Abort);
    }

    /// How many members are at work.
    #[must_use]
    pub fn len(&self) -> usize {
        self.crew.registry().count().members
    }

    /// Whether no member is at work.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.crew.registry().is_empty()
    }

    /// Tells every member to stop and waits until all have ended, for at most so long; aborts those
    /// that are left when nine tenths of the limit have passed (of a limit below a second, when all
    /// but 100 ms of it have, or half). Members may still spawn members, by [`Stop::spawn`], and are
    /// waited for with them.
    ///
    /// May be called again, and at the same time. If this future is dropped, nothing is lost.
    pub async fn drain(&self, limit: Duration) -> GroupReport {
        let began = Instant::now();
        stop_then_abort(&self.crew, limit).await;
        self.report(began.elapsed())
    }

    /// The same on a plain thread. On a runtime's worker it blocks that worker.
    pub fn drain_blocking(&self, limit: Duration) -> GroupReport {
        let began = Instant::now();
        blocking::wait(Box::pin(stop_then_abort(&self.crew, limit)), Duration::MAX);
        self.report(began.elapsed())
    }

    fn report(&self, elapsed: Duration) -> GroupReport {
        let (group, tally) = (self.label.name.clone().into_owned(), self.crew.tally());
        let registry = self.crew.registry();
        let Count { completed: ended, aborted, .. } = registry.count();
        let running = !self.crew.closed().has_fired();
        let labels = if running { registry.labels() } else { Vec::new() };
        let outcome = match (running, tally.panicked.is_empty(), aborted) {
            (true, ..) => Outcome::TimedOut,
            (false, false, _) => Outcome::Panicked,
            (false, true, 0) => Outcome::Graceful,
            (false, true, _) => Outcome::Aborted,
        };
        observe::shutdown(&group, outcome, elapsed);
        GroupReport {
            group,
            elapsed,
            ended,
            aborted,
            refused: tally.refused,
            panicked: tally.panicked,
            still_running: labels.into_iter().map(StillRunning::from).collect(),
        }
    }
}

fn spawn<F>(
    crew: &Arc<Crew>,
    comer: Comer,
    runtime: &Handle,
    label: Label,
    work: impl FnOnce(Stop) -> F + Send + 'static,
) -> Result<(), SpawnError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let place = crew.place(comer, label).map_err(|_| SpawnError::Stopped)?;
    drop(runtime.spawn(Member::new(place, work)));
    Ok(())
}

impl Stop {
    /// Spawns another member of the same group, also while the group is draining.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoRuntime`] on a thread without runtime context, and [`SpawnError::Stopped`]
    /// where the group has ended, which it cannot while the member at hand is at work.
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
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        spawn(self.crew(), Comer::BroughtByMember, &runtime, label, work)
    }
}

impl GroupReport {
    /// The report as a result: an error where a member panicked or has not ended.
    ///
    /// # Errors
    ///
    /// A [`ShutdownError`] of the kind `TimedOut` or `Panicked`.
    pub fn into_result(self) -> Result<ShutdownReport, ShutdownError> {
        let Self { group: component, elapsed, aborted, panicked, still_running, .. } = self;
        if !still_running.is_empty() {
            let alive = Alive { tasks: still_running.len(), threads: Vec::new() };
            let still_running = still_running.into();
            let kind = ShutdownErrorKind::TimedOut;
            return Err(ShutdownError { component, elapsed, still_running, alive, kind });
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
        let at_work = self.crew.registry().count().members;
        if at_work > 0 {
            observe::dropped_without_shutdown(&self.label.name, self.label.spawned_at, at_work);
        }
        self.crew.tell(Told::Abort);
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
