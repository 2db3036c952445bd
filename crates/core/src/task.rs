//! A background task that cannot leak: it is asked to stop, and dropped if it does not.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::Id};

use crate::{
    group::report,
    observe, panics,
    shutdown::{
        GracefulShutdown, Panicked, ShutdownError, ShutdownErrorKind, ShutdownFuture,
        ShutdownReport,
    },
    spawn::{SpawnError, current_runtime},
    sync::{Mutex, lock},
    task_set::{Label, Member, Place, SpawnedBy, Stop, TaskSet, large},
};

/// A task in the background. Clones are handles of the same task.
///
/// A `tokio::task::JoinHandle` that is dropped leaves its task running, and its `abort` does not ask
/// first. The usual repair is a flag, a channel and the handle behind a lock. It answers a second
/// caller too early (finding D2b), blocks worker threads on the lock (finding D3) and lets a task that
/// ignores its signal run for ever (finding D4b). Here every caller waits for the real end, no lock is held
/// across an await, and dropping the last handle aborts the task, with a warning that names it.
///
/// A task that holds a handle of itself keeps the last handle from being dropped. Give it its [`Stop`]
/// instead.
///
/// ```
/// use std::time::Duration;
/// use sundown::task::BackgroundTask;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let task = BackgroundTask::spawn("counter", |mut stop| async move {
///     let mut turns = 0_u64;
///     loop {
///         tokio::select! {
///             () = &mut stop => break turns,
///             () = tokio::task::yield_now() => turns += 1,
///         }
///     }
/// })?;
/// let report = task.shutdown_within(Duration::from_secs(5)).await?;
/// assert_eq!(report.aborted, 0);
/// assert!(task.take_result().is_some());
/// # Ok(()) }
/// ```
#[must_use = "the task is aborted when its last handle is dropped"]
pub struct BackgroundTask<T> {
    owner: Arc<Owner<T>>,
}

/// State shared by the handles, but not by the task. Dropped with the last handle.
struct Owner<T> {
    /// A set of one.
    tasks: Arc<TaskSet>,
    label: Label,
    result: Arc<Mutex<Option<T>>>,
    id: Id,
}

impl<T: Send + 'static> BackgroundTask<T> {
    /// Spawns a task on the runtime of this thread. `work` gets the task's stop signal.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoRuntime`] on a thread without runtime context.
    #[track_caller]
    pub fn spawn<F>(
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<Self, SpawnError>
    where
        F: Future<Output = T> + Send,
    {
        Ok(Self::spawn_labelled(&current_runtime()?, Label::new(name), work))
    }

    /// Spawns a task on this runtime. If the runtime has been shut down, the task ends at once,
    /// aborted.
    #[track_caller]
    pub fn spawn_on<F>(
        runtime: &Handle,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = T> + Send,
    {
        Self::spawn_labelled(runtime, Label::new(name), work)
    }

    fn spawn_labelled<W, F>(runtime: &Handle, label: Label, work: W) -> Self
    where
        W: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = T> + Send,
    {
        if const { large::is_large::<W, F>() } {
            Self::spawn_here(runtime, label, large::boxed(Box::new(work)))
        } else {
            Self::spawn_here(runtime, label, work)
        }
    }

    fn spawn_here<W, F>(runtime: &Handle, label: Label, work: W) -> Self
    where
        W: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = T> + Send,
    {
        let (tasks, result) = (TaskSet::for_one(), Arc::new(Mutex::new(None)));
        let kept = Arc::clone(&result);
        let work = |stop| async move {
            let value = work(stop).await;
            *lock(&kept) = Some(value);
        };
        tasks.runtimes().remember(runtime);
        let id = match Place::new(&tasks, label.clone(), SpawnedBy::Outsider) {
            Ok(place) => runtime.spawn(Member::new(place, work)).id(),
            // Not reached: a new set takes tasks.
            Err(_) => id_of_none(runtime),
        };
        Self { owner: Arc::new(Owner { tasks, label, result, id }) }
    }
}

/// An empty task has an identity, too. A function of its own, so that it is not compiled again for each task.
fn id_of_none(runtime: &Handle) -> Id {
    runtime.spawn(async {}).id()
}

impl<T> BackgroundTask<T> {
    /// Asks the task to stop, and waits until its future has been dropped, however long that takes.
    ///
    /// Every caller on every clone waits for that. Dropping this future loses nothing: the task has been
    /// asked to stop, other callers still wait, and dropping the last handle still aborts the task.
    ///
    /// # Errors
    ///
    /// [`ShutdownErrorKind::Panicked`] if the task panicked, and [`ShutdownErrorKind::FromInside`] if
    /// the task itself calls this. (If this task waits for another task that calls this, that is not
    /// detected, and each waits for the other. Use a limit there.)
    pub async fn shutdown(&self) -> Result<ShutdownReport, ShutdownError> {
        self.shutdown_within(Duration::MAX).await
    }

    /// Same as [`shutdown`](Self::shutdown), with a limit. The task is aborted after nine tenths of the
    /// limit; if the limit is below a second, 100 ms before its end, or after half of it if that is
    /// later. The limit holds under any executor, whatever the task's runtime is doing.
    ///
    /// Each caller has a limit of its own. A call does not abort the task while another caller waits that
    /// would abort it later: it returns `TimedOut` at its own limit, with
    /// [`left_to_another`](crate::shutdown::Alive::left_to_another).
    ///
    /// # Errors
    ///
    /// Same errors as [`shutdown`](Self::shutdown), and [`ShutdownErrorKind::TimedOut`] if the task
    /// does not yield, so that not even the abort helps.
    pub async fn shutdown_within(&self, limit: Duration) -> Result<ShutdownReport, ShutdownError> {
        let Owner { tasks, label, id, .. } = &*self.owner;
        let began = Instant::now();
        if tokio::task::try_id() == Some(*id) {
            tasks.stop();
            let kind = ShutdownErrorKind::FromInside;
            return Err(ShutdownError::new(label.name.clone(), began.elapsed(), kind));
        }
        let waited = tasks.shut_down(began, limit).await;
        report(tasks, label, began.elapsed(), &waited).into_result()
    }

    /// Shuts the task down, then runs `cleanup` and waits for it. The limit is for the task only;
    /// `cleanup` has none. Dropping this future drops `cleanup`.
    ///
    /// # Errors
    ///
    /// Same errors as [`shutdown_within`](Self::shutdown_within); `cleanup` has run then, unless the
    /// task has not ended. [`ShutdownErrorKind::Panicked`] if `cleanup` panics.
    pub async fn shutdown_with(
        &self,
        limit: Duration,
        cleanup: impl Future<Output = ()>,
    ) -> Result<ShutdownReport, ShutdownError> {
        let began = Instant::now();
        let result = self.shutdown_within(limit).await;
        if result.as_ref().is_err_and(|error| {
            matches!(error.kind, ShutdownErrorKind::TimedOut | ShutdownErrorKind::FromInside)
        }) {
            return result;
        }
        let mut cleanup = pin!(cleanup);
        let cleaned = std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| cleanup.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(payload) => Poll::Ready(Err(panics::message(payload))),
            }
        });
        match cleaned.await {
            Ok(()) => result,
            Err(message) => {
                let Label { name, spawned_at } = self.owner.label.clone();
                let cleanup = format!("cleanup of {name}");
                let cleanup = Panicked { name: cleanup, spawned_at, message, awaits: None };
                let mut panicked = match result.map_err(|error| error.kind) {
                    Err(ShutdownErrorKind::Panicked(panicked)) => panicked.into_vec(),
                    _ => Vec::new(),
                };
                panicked.push(cleanup);
                let kind = ShutdownErrorKind::Panicked(panicked.into());
                Err(ShutdownError::new(name, began.elapsed(), kind))
            }
        }
    }

    /// Shuts the task down and returns its result: `None` if the task was dropped before it returned,
    /// or if a clone has taken the result. Fails as [`shutdown_within`](Self::shutdown_within) does.
    pub async fn finish(self, limit: Duration) -> Result<Option<T>, ShutdownError> {
        let _ = self.shutdown_within(limit).await?;
        Ok(self.take_result())
    }

    /// Asks the task to stop. Does not wait.
    pub fn stop(&self) {
        self.owner.tasks.stop();
    }

    /// Aborts the task: it is dropped when it next yields to its runtime. Does not wait.
    pub fn abort(&self) {
        self.owner.tasks.abort();
    }

    /// Takes what the task returned: `None` until it has returned, and for every caller but the first.
    #[must_use]
    pub fn take_result(&self) -> Option<T> {
        lock(&self.owner.result).take()
    }

    /// Whether the task has completed, panicked or been dropped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.owner.tasks.registry().is_empty()
    }
}

impl<T: Send> GracefulShutdown for BackgroundTask<T> {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(Self::shutdown_within(self, limit))
    }
}

impl<T> Clone for BackgroundTask<T> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        let running = self.tasks.registry().count().running;
        self.tasks.abort();
        self.tasks.runtimes().release();
        // Only now: a subscriber is foreign code and may block.
        if running > 0 {
            observe::dropped_without_shutdown(&self.label.name, self.label.spawned_at, running);
        }
    }
}

impl<T> fmt::Debug for BackgroundTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundTask")
            .field("name", &self.owner.label.name)
            .field("has_ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}
