//! A background task that cannot leak: asked to stop first, dropped if that does not help.
//!
//! This is the *graceful-with-fallback* pattern of a kernel project, repaired. As that is written, a
//! second caller of `shutdown()` blocks its worker thread on a lock that is held across an await
//! (claim D3); after a first caller that was dropped half-way a second one returns at once, with the
//! task still running (claim D2); and a task deaf to its signal then runs for ever (claim D4). Here
//! every caller waits for the real end, no lock is held across an await, and the last handle aborts
//! whatever has not ended.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::runtime::Handle;

use crate::{
    crew::{Comer, Crew, Panicked, Told, panic_message},
    member::Member,
    observe::{self, Outcome},
    registry::Label,
    shutdown::{
        Alive, GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownFuture, ShutdownReport,
        stop_then_abort,
    },
    stop::Stop,
    sync::{Mutex, lock},
};

/// Why nothing was spawned. What should have been was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// This thread has no runtime context, and so nothing to spawn on.
    #[error("there is no Tokio runtime here to spawn on; use spawn_on with a handle of one")]
    NoRuntime,
    /// The group has been told to stop, and takes nobody from outside any more.
    #[error("the group has been told to stop and takes no more tasks")]
    Stopped,
}

/// A task in the background. Clones are handles of the same task; when the last one is dropped
/// before the task has ended, the task is aborted, with a warning that names it. A task that holds
/// a handle of itself keeps the last one from being dropped: give it its [`Stop`] instead.
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
/// task.shutdown_within(Duration::from_secs(5)).await?;
/// assert!(task.take_result().is_some());
/// # Ok(()) }
/// ```
#[must_use = "the task is aborted when its last handle is dropped"]
pub struct BackgroundTask<T> {
    owner: Arc<Owner<T>>,
}

/// What all handles share, and the task does not: it goes when the last handle goes.
struct Owner<T> {
    crew: Arc<Crew>,
    label: Label,
    result: Arc<Mutex<Option<T>>>,
    id: tokio::task::Id,
}

impl<T: Send + 'static> BackgroundTask<T> {
    /// Spawns a task on the runtime of this thread. `work` is given the signal by which the task is
    /// told to stop.
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
        let runtime = Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        Ok(Self::spawn_on(&runtime, name, work))
    }

    /// Spawns a task on a runtime. On one that has been shut down the task ends at once, aborted.
    #[track_caller]
    pub fn spawn_on<F>(
        runtime: &Handle,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = T> + Send,
    {
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        let (crew, result) = (Crew::of_one(), Arc::new(Mutex::new(None)));
        let kept = Arc::clone(&result);
        let work = |stop| async move {
            let value = work(stop).await;
            *lock(&kept) = Some(value);
        };
        let id = match crew.place(Comer::Stranger, label.clone()) {
            Ok(place) => runtime.spawn(Member::new(place, work)).id(),
            // Not reached: a new crew is open. An empty task has an identity all the same.
            Err(_) => runtime.spawn(async {}).id(),
        };
        Self { owner: Arc::new(Owner { crew, label, result, id }) }
    }
}

impl<T> BackgroundTask<T> {
    /// Tells the task to stop, and waits until it has ended: until its future has been dropped.
    ///
    /// Every caller waits for that, on every clone, however many there are. If this future is
    /// dropped half-way nothing is lost: the task has been told, others still wait, and the last
    /// handle still aborts. Without a limit this waits as long as the task takes.
    ///
    /// # Errors
    ///
    /// [`ShutdownErrorKind::Panicked`] where the task has panicked, and [`ShutdownErrorKind::FromInside`]
    /// where the task itself asks. (Where another task asks that this one waits for, that is not
    /// seen, and each waits for the other: use a limit there.)
    pub async fn shutdown(&self) -> Result<ShutdownReport, ShutdownError> {
        self.stop_within(Duration::MAX).await
    }

    /// The same for at most so long: the task is aborted when nine tenths of the limit have passed
    /// (of a limit below a second, when all but 100 ms of it have, or half). The limit holds under
    /// any executor and whatever the task's runtime is doing.
    ///
    /// # Errors
    ///
    /// As [`BackgroundTask::shutdown`]; and [`ShutdownErrorKind::TimedOut`] where not even the abort
    /// helped, because the task does not yield.
    pub async fn shutdown_within(&self, limit: Duration) -> Result<ShutdownReport, ShutdownError> {
        self.stop_within(limit).await
    }

    /// Shuts the task down, runs `cleanup` when it has ended, and waits for that too. The limit is
    /// for the task; `cleanup` takes the time it takes. If this future is dropped, so is `cleanup`.
    ///
    /// # Errors
    ///
    /// As [`BackgroundTask::shutdown_within`], in which case `cleanup` has run all the same, unless
    /// the task has not ended; and [`ShutdownErrorKind::Panicked`] where `cleanup` panics.
    pub async fn shutdown_with(
        &self,
        limit: Duration,
        cleanup: impl Future<Output = ()>,
    ) -> Result<ShutdownReport, ShutdownError> {
        let began = Instant::now();
        let result = self.stop_within(limit).await;
        if let Err(error) = &result
            && matches!(error.kind, ShutdownErrorKind::TimedOut | ShutdownErrorKind::FromInside)
        {
            return result;
        }
        let mut cleanup = pin!(cleanup);
        let cleaned = std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| cleanup.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(payload) => Poll::Ready(Err(panic_message(&*payload))),
            }
        });
        match cleaned.await {
            Ok(()) => result,
            Err(message) => {
                let Label { name, spawned_at } = self.owner.label.clone();
                let cleanup = Panicked { name: format!("cleanup of {name}"), spawned_at, message };
                let elapsed = began.elapsed();
                let mut panicked = match result.map_err(|error| error.kind) {
                    Err(ShutdownErrorKind::Panicked(panicked)) => panicked.into_vec(),
                    _ => Vec::new(),
                };
                panicked.push(cleanup);
                let kind = ShutdownErrorKind::Panicked(panicked.into());
                Err(ShutdownError::new(name, elapsed, kind))
            }
        }
    }

    /// Shuts the task down and returns its result: the handle is used up. `None` where the task was
    /// dropped before it returned, or where a clone has taken the result.
    ///
    /// # Errors
    ///
    /// As [`BackgroundTask::shutdown_within`].
    pub async fn finish(self, limit: Duration) -> Result<Option<T>, ShutdownError> {
        let _ = self.stop_within(limit).await?;
        Ok(self.take_result())
    }

    /// Tells the task to stop, and does not wait.
    pub fn stop(&self) {
        self.owner.crew.tell(Told::Stop);
    }

    /// Has the task dropped where it next gives way to its runtime, and does not wait.
    pub fn abort(&self) {
        self.owner.crew.tell(Told::Abort);
    }

    /// Takes what the task returned: `None` as long as it has not, and for everybody but the first.
    #[must_use]
    pub fn take_result(&self) -> Option<T> {
        lock(&self.owner.result).take()
    }

    /// Whether the task has ended, by itself or otherwise.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.owner.crew.registry().is_empty()
    }

    async fn stop_within(&self, limit: Duration) -> Result<ShutdownReport, ShutdownError> {
        let Owner { crew, label, id, .. } = &*self.owner;
        let (began, component) = (Instant::now(), label.name.clone().into_owned());
        if tokio::task::try_id() == Some(*id) {
            crew.tell(Told::Stop);
            let kind = ShutdownErrorKind::FromInside;
            return Err(ShutdownError::new(component, began.elapsed(), kind));
        }
        stop_then_abort(crew, limit).await;
        conclude(crew, component, began.elapsed())
    }
}

/// What a crew came to after it was told to stop.
fn conclude(
    crew: &Crew,
    component: String,
    elapsed: Duration,
) -> Result<ShutdownReport, ShutdownError> {
    if !crew.closed().has_fired() {
        observe::shutdown(&component, Outcome::TimedOut, elapsed);
        let running = crew.registry().labels();
        let alive = Alive { tasks: running.len(), threads: Vec::new() };
        let error = ShutdownError::new(component, elapsed, ShutdownErrorKind::TimedOut);
        return Err(error.with_running(running, alive));
    }
    let tally = crew.tally();
    if !tally.panicked.is_empty() {
        observe::shutdown(&component, Outcome::Panicked, elapsed);
        let kind = ShutdownErrorKind::Panicked(tally.panicked.into());
        return Err(ShutdownError::new(component, elapsed, kind));
    }
    let aborted = crew.registry().count().aborted;
    let outcome = if aborted == 0 { Outcome::Graceful } else { Outcome::Aborted };
    observe::shutdown(&component, outcome, elapsed);
    Ok(ShutdownReport { component, elapsed, aborted })
}

impl<T: Send> GracefulShutdown for BackgroundTask<T> {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(self.stop_within(limit))
    }
}

impl<T> Clone for BackgroundTask<T> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        let at_work = self.crew.registry().count().members;
        if at_work > 0 {
            observe::dropped_without_shutdown(&self.label.name, self.label.spawned_at, at_work);
            self.crew.tell(Told::Abort);
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
