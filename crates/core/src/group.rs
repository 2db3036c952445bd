//! A group of tasks that end together: one task or a million.

#[cfg(feature = "tokio-util")]
mod cancellation_token;
mod hold;
#[cfg(feature = "hyper")]
mod hyper;

#[cfg(feature = "tokio-util")]
use std::sync::OnceLock;
use std::{
    borrow::Cow,
    error::Error,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

use crate::{
    callers::Patience,
    observe::{self, Outcome},
    park,
    shutdown::{
        Alive, GracefulShutdown, MemberFailed, NotCovered, Panicked, ShutdownError,
        ShutdownErrorKind, ShutdownFuture, ShutdownReport, StillRunning, count,
        not_covered::not_covered, report::names,
    },
    spawn::{SpawnError, current_runtime, spawn},
    stop_then_abort::Waited,
    task_set::{Count, Label, SpawnedBy, Stop, Tally, TaskSet, large},
};

pub use self::hold::Held;

/// A group of tasks. Dropping it aborts its remaining tasks, with a warning.
///
/// `tokio::task::JoinSet` aborts its tasks and cannot ask them to stop; `tokio_util`'s `TaskTracker`
/// asks and cannot abort. A group asks first, aborts at a limit, keeps the messages of panics, and
/// names the tasks that do not end.
///
/// ```
/// use std::time::Duration;
/// use sundown::group::TaskGroup;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sundown::SpawnError> {
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
    tasks: Arc<TaskSet>,
    label: Label,
    #[cfg(feature = "tokio-util")]
    tokens: OnceLock<Arc<cancellation_token::Tokens>>,
    #[cfg(feature = "tokio-util")]
    token: OnceLock<CancellationToken>,
}

/// How the tasks of a group ended, and those of its child groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says which tasks panicked and which still run"]
#[non_exhaustive]
pub struct GroupReport {
    /// The group.
    pub group: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many tasks completed. Those of a child group are counted when all tasks of the child have ended.
    pub ended: usize,
    /// How many were dropped before they completed.
    pub aborted: usize,
    /// The first 64 of them, by name.
    pub aborted_tasks: Vec<StillRunning>,
    /// How many this group refused because it was stopping.
    pub refused: usize,
    /// How many tasks panicked.
    pub panics: usize,
    /// How many tasks of [`try_spawn`](TaskGroup::try_spawn) returned an error. They count as ended, too.
    pub failures: usize,
    /// The first of them.
    pub first_failure: Option<MemberFailed>,
    /// The first 64 tasks that panicked. A group may run for months, and does not grow with each
    /// request that panics. A message is cut after 4 KiB.
    pub panicked: Vec<Panicked>,
    /// The tasks that have not ended. A child group that has not ended is listed under its own name.
    pub still_running: Vec<StillRunning>,
    /// The kit's own threads that have not ended, by name. They call wakers of
    /// [stop signals](TaskGroup::stop_signal) or of other callers of this group and those below it, which are
    /// polled outside of Tokio's tasks, and such a waker has not returned.
    pub threads: Vec<String>,
    /// How many tasks are alive, on the runtimes where tasks of this group were spawned, that are not of
    /// this group: the connections that an HTTP server has spawned, for example. They are neither asked
    /// to stop nor waited for. The caller is not counted if it is a task. (A task that ends just now may
    /// be counted: stable Tokio says how many are alive, and not which.)
    pub foreign: usize,
    /// What this report does not speak of. It names `foreign` if that is not zero.
    pub not_covered: Vec<NotCovered>,
    /// Whether this call left the abort of `still_running` to another caller, which has given them more
    /// time.
    pub left_to_another: bool,
}

impl TaskGroup {
    /// Makes an empty group.
    #[track_caller]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self::with(TaskSet::new(), Label::new(name))
    }

    /// Makes a group that is a member of this one. Stopping or aborting this group does the same to the
    /// child, and a drain of this group waits for the child. You can also drain the child alone. A task of the
    /// child that fails, panics or is aborted is in this group's report, too, whoever has drained the child.
    ///
    /// A stop has no order: tasks of both groups are asked at the same time. For an order, drain the child first,
    /// or use groups that are not nested: those of a service (`Service::group`), or
    /// [`shutdown_in_order`](crate::shutdown_in_order).
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`], if this group is stopping.
    #[track_caller]
    #[must_use = "a child's tasks are aborted when it is dropped"]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Result<Self, SpawnError> {
        let label = Label::new(name);
        let tasks = self.tasks.child(label.clone()).map_err(|_| SpawnError::Stopped)?;
        Ok(Self::with(tasks, label))
    }

    const fn with(tasks: Arc<TaskSet>, label: Label) -> Self {
        Self {
            tasks,
            label,
            #[cfg(feature = "tokio-util")]
            tokens: OnceLock::new(),
            #[cfg(feature = "tokio-util")]
            token: OnceLock::new(),
        }
    }

    /// Spawns a task on the runtime of this thread.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoRuntime`] on a thread without runtime context, and [`SpawnError::Stopped`] if
    /// the group is stopping. In both cases `work` is dropped; in the second the task counts as refused.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = current_runtime()?;
        spawn(&self.tasks, SpawnedBy::Outsider, &runtime, Label::new(name), work)
    }

    /// Stops the group when one of its tasks panics, or returns an error ([`try_spawn`](Self::try_spawn)).
    /// The report names the first that did. Without this the others go on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use sundown::group::TaskGroup;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sundown::SpawnError> {
    /// let service = TaskGroup::new("service").stop_on_failure();
    /// service.spawn("metrics", |stop| stop)?;
    /// service.try_spawn("listener", |_| async { Err("address already in use") })?;
    /// service.stop_signal().await;
    /// let report = service.drain(Duration::from_secs(1)).await;
    /// assert_eq!(report.first_failure.unwrap().name, "listener");
    /// # Ok(()) }
    /// ```
    pub fn stop_on_failure(self) -> Self {
        self.tasks.stop_on_failure();
        self
    }

    /// Same as [`spawn`](Self::spawn), for a task that may fail.
    #[track_caller]
    pub fn try_spawn<F, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.try_spawn_labelled(&current_runtime()?, Label::new(name), work)
    }

    /// Same as [`spawn_on`](Self::spawn_on), for a task that may fail.
    #[track_caller]
    pub fn try_spawn_on<F, E>(
        &self,
        runtime: &Handle,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<(), SpawnError>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.try_spawn_labelled(runtime, Label::new(name), work)
    }

    fn try_spawn_labelled<W, F, E>(
        &self,
        runtime: &Handle,
        label: Label,
        work: W,
    ) -> Result<(), SpawnError>
    where
        W: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        if const { large::is_large::<W, F>() } {
            self.try_spawn_here(runtime, label, large::boxed(Box::new(work)))
        } else {
            self.try_spawn_here(runtime, label, work)
        }
    }

    fn try_spawn_here<W, F, E>(
        &self,
        runtime: &Handle,
        label: Label,
        work: W,
    ) -> Result<(), SpawnError>
    where
        W: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (tasks, of_failure) = (Arc::clone(&self.tasks), label.clone());
        spawn(&self.tasks, SpawnedBy::Outsider, runtime, label, move |stop| async move {
            if let Err(error) = work(stop).await {
                tasks.failed(of_failure, Arc::from(error.into()));
            }
        })
    }

    /// Spawns a task on this runtime. If the runtime has been shut down, the task ends at once,
    /// aborted.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`], if the group is stopping.
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

    /// Whether no task of it is alive, all have ended well, and nobody but the caller knows the group.
    #[cfg(all(feature = "service", unix, not(loom)))]
    pub(crate) fn is_spent(&self) -> bool {
        // Whoever has a stop signal or a child of it has the set.
        let is_known = Arc::strong_count(&self.tasks) > 1;
        #[cfg(feature = "tokio-util")]
        let is_known = is_known || self.token.get().is_some();
        let tally = self.tasks.tally();
        let (failures, _) = self.tasks.failures().seen();
        let went_well = tally.panics + tally.aborted.len() + failures == 0;
        self.is_empty() && !is_known && went_well
    }

    /// The tasks and child groups that have not ended.
    #[cfg(all(feature = "service", unix, not(loom)))]
    pub(crate) fn still_running(&self) -> Vec<StillRunning> {
        self.tasks.still_running()
    }

    /// From now on, the first task of it that fails or panics stops that group.
    #[cfg(all(feature = "service", unix, not(loom)))]
    pub(crate) fn failure_stops(&self, other: &Self) {
        self.tasks.failure_stops(&other.tasks);
    }

    /// Returns a stop signal for something that is not in the group, such as an HTTP server.
    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        Stop::of(Arc::clone(&self.tasks))
    }

    /// Stops the group when a future is ready, for example `tokio::signal::ctrl_c()`, or the
    /// cancellation of another library's token. A task of the group waits for the future, until the group
    /// stops: call this once, and not for each request. Fails as [`TaskGroup::spawn`] does.
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

    /// Asks every task to stop, and refuses new tasks from outside. Does not wait.
    pub fn stop(&self) {
        self.tasks.stop();
    }

    /// Aborts every task: it is dropped when it next yields to its runtime. Does not wait.
    pub fn abort(&self) {
        self.tasks.abort();
    }

    /// The number of tasks and child groups that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.registry().count().running
    }

    /// Whether all tasks and child groups have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.registry().is_empty()
    }

    /// Asks every task to stop, and waits until all have ended or the limit has passed.
    ///
    /// Remaining tasks are aborted after nine tenths of the limit; if the limit is below a second, 100 ms
    /// before its end, or after half of it if that is later. Tasks of the group may still spawn others, by
    /// [`Stop::spawn`], and the drain waits for those, too.
    ///
    /// The limit counts from the first poll, and includes the time that it takes to signal the tasks.
    ///
    /// Repeated and concurrent calls are allowed, and each has a limit of its own: a call aborts nothing
    /// while another caller waits that would abort later. It returns at its own limit, and its report
    /// says [`left_to_another`](GroupReport::left_to_another). If that other caller drops its future, the
    /// abort is left to those that still wait, to the next call, and to the drop of the group. The same
    /// holds between parent and child: a drain of the parent aborts everything but the children that
    /// somebody else drains more patiently, and a drain of a child does not abort what a drain of its
    /// parent waits for more patiently. ([`abort`](Self::abort) is not a wait, and aborts at once.)
    ///
    /// Dropping the future loses nothing: the tasks stay asked to stop, and you can call this again.
    pub async fn drain(&self, limit: Duration) -> GroupReport {
        let began = Instant::now();
        let waited = self.tasks.shut_down(began, limit).await;
        report(&self.tasks, &self.label, began.elapsed(), &waited)
    }

    /// Same as [`drain`](Self::drain), on a plain thread. On a worker of a runtime this blocks the
    /// worker.
    pub fn drain_blocking(&self, limit: Duration) -> GroupReport {
        park::wait_for(Box::pin(self.drain(limit)))
    }
}

/// Reports how the tasks of a set ended.
pub(crate) fn report(
    tasks: &TaskSet,
    label: &Label,
    elapsed: Duration,
    waited: &Waited,
) -> GroupReport {
    // Read the list before the tally. A task that has left the list is then in the tally, so none is
    // missing from both.
    let still_running = if tasks.closed().has_fired() { Vec::new() } else { tasks.still_running() };
    let (group, tally) = (label.name.clone().into_owned(), tasks.tally());
    let Count { completed: ended, aborted, .. } = tasks.registry().count();
    let (ended, aborted) = (ended + tally.ended_below, aborted + tally.aborted_below);
    let threads = if waited.threads_left { tasks.helpers().names() } else { Vec::new() };
    let is_running = !still_running.is_empty() || !threads.is_empty();
    let foreign = tasks.foreign_tasks();
    if foreign == 0 && tasks.closed().has_fired() {
        tasks.runtimes().release();
    }
    let mut not_covered = Vec::with_capacity(6);
    if foreign > 0 {
        not_covered.push(NotCovered::ForeignTasks { alive: foreign });
    }
    not_covered.extend([
        NotCovered::Success,
        NotCovered::BlockingWork,
        NotCovered::PlainThreads,
        NotCovered::OtherRuntimes,
        NotCovered::ChildProcesses,
    ]);
    not_covered.extend(NotCovered::kit_threads());
    let (failures, first_failure) = tasks.failures().seen();
    let outcome = match aborted {
        _ if is_running => Outcome::TimedOut,
        _ if tally.panics > 0 => Outcome::Panicked,
        _ if failures > 0 => Outcome::Failed,
        0 => Outcome::Graceful,
        _ => Outcome::Aborted,
    };
    observe::shutdown(&group, outcome, elapsed);
    let left_to_another = is_running && waited.patience == Patience::Another;
    let Tally { refused, aborted: aborted_tasks, panics, panicked, .. } = tally;
    GroupReport {
        group,
        elapsed,
        ended,
        aborted,
        aborted_tasks,
        refused,
        panics,
        panicked,
        failures,
        first_failure,
        still_running,
        threads,
        foreign,
        not_covered,
        left_to_another,
    }
}

impl GroupReport {
    /// Converts the report into a result.
    ///
    /// # Errors
    ///
    /// A [`ShutdownError`] of kind [`TimedOut`](ShutdownErrorKind::TimedOut) if a task has not ended,
    /// of kind [`Panicked`](ShutdownErrorKind::Panicked) if one panicked, and of kind
    /// [`Failed`](ShutdownErrorKind::Failed) with a [`MemberFailed`] if one returned an error.
    pub fn into_result(self) -> Result<ShutdownReport, ShutdownError> {
        let patience = if self.left_to_another { Patience::Another } else { Patience::Own };
        let Self { group: component, elapsed, aborted, panicked, still_running, threads, .. } =
            self;
        if !still_running.is_empty() || !threads.is_empty() {
            let alive = Alive { tasks: still_running.len(), threads, ..Alive::default() };
            let error = ShutdownError::new(component, elapsed, ShutdownErrorKind::TimedOut);
            return Err(error.with_running(still_running, alive).with_patience(patience));
        }
        let mut report = ShutdownReport::new(component.clone(), elapsed, aborted);
        report.aborted_tasks = self.aborted_tasks;
        report.not_covered = self.not_covered;
        if !panicked.is_empty() {
            let kind = ShutdownErrorKind::Panicked(panicked.into());
            return Err(ShutdownError::new(component, elapsed, kind).with_report(report));
        }
        if let Some(failed) = self.first_failure {
            let kind = ShutdownErrorKind::Failed(Arc::new(failed));
            return Err(ShutdownError::new(component, elapsed, kind).with_report(report));
        }
        Ok(report)
    }
}

/// One sentence: ``` `connections` has ended after 3.0ms: 100 tasks ended, 1 aborted ```.
impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, elapsed, ended, aborted, refused, panics, failures, .. } = self;
        let (has, is_over) = match (&*self.still_running, &*self.threads) {
            ([], []) => ("has ended", true),
            _ => ("has not ended", false),
        };
        write!(f, "`{group}` {has} after {elapsed:.1?}: {} ended", count(*ended, "task"))?;
        let parts = [
            (refused, "refused"),
            (failures, "failed"),
            (panics, "panicked"),
            (aborted, "aborted"),
        ];
        for (number, what) in parts {
            if *number > 0 {
                write!(f, ", {number} {what}")?;
            }
        }
        // Last, because names follow.
        f.write_str(&names(*aborted, &self.aborted_tasks))?;
        if !is_over {
            let threads = self.threads.iter().map(|name| format!("thread `{name}`"));
            let running = self.still_running.iter().map(ToString::to_string).chain(threads);
            write!(f, "; still running: {}", running.collect::<Vec<_>>().join(", "))?;
        }
        if self.left_to_another {
            f.write_str(", for which another caller has given more time")?;
        }
        f.write_str(&not_covered(&self.not_covered))
    }
}

impl GracefulShutdown for TaskGroup {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(async move { self.drain(limit).await.into_result() })
    }
}

impl Drop for TaskGroup {
    fn drop(&mut self) {
        let has_ended = self.tasks.closed().has_fired();
        let running = if has_ended { 0 } else { self.tasks.registry().count().running };
        self.tasks.abort();
        self.tasks.runtimes().release();
        // Only now: a subscriber is foreign code and may block.
        if running > 0 {
            observe::dropped_without_shutdown(&self.label.name, self.label.spawned_at, running);
        }
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
