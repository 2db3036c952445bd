//! A service, from `main` to the exit of the process.
//!
//! [`run`] owns the runtime and the signals. At SIGTERM or SIGINT (Ctrl-C) the service is no longer
//! [ready](Service::is_ready), its tasks are asked to stop, what does not end is cut off, and `run` returns
//! within its limit, whatever hangs. Return from `main` then, and the process exits. (With `#[tokio::main]`
//! the runtime is dropped after `main`, and the drop waits for a read of standard input for ever.)
//!
//! ```no_run
//! use std::error::Error;
//! use tokio::net::TcpListener;
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let report = sundown::service::run("web", |service| async move {
//!         let listener = TcpListener::bind("0.0.0.0:8080").await?;
//!         service.ready();
//!         let mut stop = service.stop_signal();
//!         loop {
//!             let (socket, _) = tokio::select! {
//!                 () = &mut stop => return Ok(()),
//!                 accepted = listener.accept() => accepted?,
//!             };
//!             service.spawn("connection", |stop| async move { /* … */ });
//!         }
//!     })?;
//!     eprintln!("{report}");
//!     Ok(())
//! }
//! ```
//!
//! As process 1 of a container the signals arrive as well: the kernel ignores them there only as long as a
//! process has no handler.

mod report;

use std::{
    borrow::Cow,
    error::Error,
    future::Future,
    iter, mem,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

pub use self::report::{AskedBy, ServiceError, ServiceErrorKind, ServiceReport};
use crate::{
    Flag, GroupReport, Latch, RuntimeOwner, Stop, TaskGroup,
    joinable::Joinable,
    oneshot, park,
    runtime::{RuntimeBuilder, RuntimeHandle},
    shutdown::{ShutdownError, ShutdownErrorKind, ShutdownReport, StillRunning},
    signals::{OnSecond, SignalWatch},
    sync::lock,
};

/// Any error. `?` makes one of every error that can be sent to another thread.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The default limit: a container runtime usually kills a process 10 s after its SIGTERM.
const LIMIT: Duration = Duration::from_secs(8);

/// How much of what is left of the limit the tasks of the service get, of twelve parts, and how much they and its
/// groups get together. The rest is for its runtime. A drain aborts after nine tenths of its time: the tasks after
/// three quarters of the limit.
const PARTS_FOR_TASKS: u32 = 10;
const PARTS_FOR_TASKS_AND_GROUPS: u32 = 11;

/// The least time to cut off what is left on the runtime, unless that is more than a quarter of the limit. On a busy
/// machine a panic in a destructor alone, with its backtrace, takes longer than a tenth of a second.
const LEAST_TO_CUT_OFF: Duration = Duration::from_millis(500);

/// The last part of a limit, in which everything that is left is cut off.
fn time_to_cut_off(limit: Duration) -> Duration {
    (limit / 12).max(LEAST_TO_CUT_OFF.min(limit / 4))
}

/// How much later than at the limit `run` returns at the most. What takes the service down keeps the limit by
/// itself, unless foreign code blocks its thread.
const LATE: Duration = Duration::from_millis(100);

/// The thread that takes the service down.
const TAKES_DOWN: &str = "service end";

/// Configures a service. Made by [`Service::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder runs nothing before `run`"]
pub struct Builder {
    name: Cow<'static, str>,
    limit: Duration,
    grace: Duration,
    stops_on_failure: bool,
    runtime: Option<RuntimeBuilder>,
    on_second: Option<OnSecond>,
}

impl Builder {
    /// How long [`run`](Self::run) may take from the moment when the service is asked to stop. The default
    /// is 8 s. Choose less than your supervisor waits before it kills.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long the service goes on after a signal before its tasks are asked to stop, without being
    /// [ready](Service::is_ready). A load balancer needs this time to notice. It is part of the limit: of a
    /// longer grace only half of the limit is granted. The default is none.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Stops the service when one of its tasks, or a task of one of its groups, panics or returns an error
    /// ([`try_spawn`](Service::try_spawn)). Without this the others go on.
    pub const fn stop_on_failure(mut self) -> Self {
        self.stops_on_failure = true;
        self
    }

    /// The runtime to run on. The default has as many workers as there are processors. Foreign tasks, such
    /// as the connections of `axum::serve`, get all of the limit but its last twelfth to end by themselves (at least
    /// half a second is kept, and at most a quarter of the limit), or the time that this builder says, if that is less.
    pub fn runtime(mut self, runtime: RuntimeBuilder) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// What a second signal does, instead of ending the process at once. It is called with the exit code that
    /// a shell reports for the signal, on a thread of its own, and need not return. An exit plan that tears down
    /// what the process must not leave behind does so there: `move |code| plan.leave(code)`. A third signal
    /// ends the process at once.
    ///
    /// The signals are the service's for good then, so that the plan is not interrupted after [`run`](Self::run)
    /// has returned: one thread stays, `run` does not wait for the tenth of a second, and this process
    /// cannot watch for signals again. Return from `main`, or leave.
    pub fn on_second_signal(mut self, call: impl Fn(i32) + Send + Sync + 'static) -> Self {
        self.on_second = Some(OnSecond::new(call));
        self
    }

    /// Runs the service until `work` returns, a signal comes, or [`Service::stop`] is called. Then takes it
    /// down: the tasks of the service first, then its groups, the youngest first, then the runtime with
    /// everything that is left on it. Blocks this thread, and panics nowhere. `work` is a task of the
    /// service, and should return when its [stop signal](Service::stop_signal) is raised.
    ///
    /// The tasks of the service may take three quarters of the limit before they are aborted. What is left of eleven
    /// twelfths of it then is for the groups: each may take half of that, and the last all, so that one that does not
    /// end leaves time to the others. What ends sooner leaves its time to those after it.
    ///
    /// A signal that comes later than a tenth of a second after the first ends the process at once, with 128
    /// plus its number, and so does one that comes after `run` has returned. One that comes sooner is taken for
    /// the same, because some tools signal a program and then its process group: so `run` does not return before
    /// that tenth has passed. A first signal that comes while the service is going down for another reason changes
    /// nothing; the report has it ([`signal`](ServiceReport::signal)), for a program that goes on after `run`.
    /// A child that was forked by a task and does not call `exec` has the handler and nobody who listens to it:
    /// no signal but SIGKILL ends it, unless it calls [`forked_child`](crate::forked_child), or runs a service of its own.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: nothing was started; `work` failed or panicked; or something had not ended at the
    /// limit. The error names that, and a return from `main` ends it. (`main` writes an error that it returns to
    /// standard error, and so waits for a thread that is stuck in a write there. `std::process::exit` does not. Nor has
    /// a `println!` of the report a limit: if nobody reads the pipe, only another signal ends the process.)
    ///
    /// The thread `service end` is named, beside what has not ended, if a `tracing` subscriber or a recorder of metrics
    /// blocks, for example on a pipe that nobody reads.
    #[track_caller]
    pub fn run<F>(
        self,
        work: impl FnOnce(Service) -> F + Send + 'static,
    ) -> Result<ServiceReport, ServiceError>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let name = self.name.clone().into_owned();
        let failed = |kind| ServiceError { name: name.clone(), kind };
        let runtime = match self.runtime.clone() {
            Some(runtime) => runtime,
            None => RuntimeOwner::builder(&*self.name),
        };
        let foreign_time = runtime.time_for_foreign().unwrap_or(Duration::MAX);
        let runtime = runtime.start();
        let runtime =
            runtime.map_err(|error| failed(ServiceErrorKind::NotStarted(Arc::new(error))))?;
        let handle = runtime
            .handle()
            .map_err(|error| failed(ServiceErrorKind::NotStarted(Arc::new(error.into()))))?;
        let service = Service::new(self.name.clone(), handle, self.stops_on_failure);
        let asks = service.clone();
        let on_first = move |signal| asks.ask(AskedBy::Signal(signal));
        let is_kept = self.on_second.is_some();
        let signals = SignalWatch::install("service signals", on_first, self.on_second);
        // Until everything has ended.
        let signals = signals.map_err(|error| {
            let _ = runtime.shutdown_blocking(self.limit);
            failed(ServiceErrorKind::NoSignals(Arc::new(error)))
        })?;

        let failure = Arc::new(OnceLock::new());
        service.spawn_work(work, Arc::clone(&failure));
        let asked_at = service.wait_until_asked(self.grace.min(self.limit / 2));
        let ended = service.taken_down(&name, runtime, asked_at, [self.limit, foreign_time]);
        let asked_by = service.0.asked_by.get().copied().unwrap_or(AskedBy::Work);
        let elapsed = asked_at.elapsed();
        if is_kept {
            mem::forget(signals);
        } else {
            drop(signals);
        }
        // The drop may have found one.
        let signal = service.0.signal.get().copied();
        report::conclude(name, asked_by, signal, elapsed, failure.get().cloned(), ended)
    }
}

/// Runs a service with the default settings; see [`Builder::run`].
///
/// # Errors
///
/// As [`Builder::run`].
#[track_caller]
pub fn run<F>(
    name: impl Into<Cow<'static, str>>,
    work: impl FnOnce(Service) -> F + Send + 'static,
) -> Result<ServiceReport, ServiceError>
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Service::builder(name).run(work)
}

/// A service that runs: what its tasks use of it. Clones are the same service.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: TaskGroup,
    /// Until it has ended: the handle keeps the descriptors of its driver open.
    runtime: Mutex<Option<Handle>>,
    groups: Mutex<Groups>,
    came_up: Flag,
    asked: Latch,
    asked_by: OnceLock<AskedBy>,
    signal: OnceLock<i32>,
    /// Fires when the work has returned.
    returned: Latch,
    stops_on_failure: bool,
}

/// The groups that have not gone down.
#[derive(Debug, Default)]
struct Groups {
    /// The oldest first.
    running: Vec<Arc<TaskGroup>>,
    /// Those that go down or have gone down, in that order.
    going: Vec<Arc<TaskGroup>>,
    /// How many there may be before those are forgotten that nobody needs any more.
    most: usize,
    /// Whether all have gone down: one that is made now is stopped already.
    have_ended: bool,
}

impl Groups {
    /// Forgets the groups that nobody knows any more and whose tasks have all ended well. A service may make one
    /// for each request.
    fn forget_the_spent(&mut self) {
        if self.running.len() < self.most {
            return;
        }
        self.running.retain(|group| Arc::strong_count(group) > 1 || !group.is_spent());
        self.most = (2 * self.running.len()).max(64);
    }
}

impl Service {
    /// Configures a service. Its runtime, its threads and its report have this name.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> Builder {
        Builder {
            name: name.into(),
            limit: LIMIT,
            grace: Duration::ZERO,
            stops_on_failure: false,
            runtime: None,
            on_second: None,
        }
    }

    fn new(name: Cow<'static, str>, runtime: Handle, stops_on_failure: bool) -> Self {
        let tasks = TaskGroup::new(format!("tasks of {name}"));
        Self(Arc::new(Shared {
            tasks: if stops_on_failure { tasks.stop_on_failure() } else { tasks },
            runtime: Mutex::new(Some(runtime)),
            groups: Mutex::default(),
            came_up: Flag::new(),
            asked: Latch::new(),
            asked_by: OnceLock::new(),
            signal: OnceLock::new(),
            returned: Latch::new(),
            stops_on_failure,
        }))
    }

    /// The tasks of the service.
    pub fn tasks(&self) -> &TaskGroup {
        &self.0.tasks
    }

    /// Spawns a task of the service. If the service is stopping, it is dropped, and counts as refused.
    #[track_caller]
    pub fn spawn<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(runtime) = self.runtime() {
            let _refused = self.0.tasks.spawn_on(&runtime, name, work);
        }
    }

    /// Same as [`spawn`](Self::spawn), for a task that may fail. Its error is in the result of the service.
    #[track_caller]
    pub fn try_spawn<F, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(runtime) = self.runtime() {
            let _refused = self.0.tasks.try_spawn_on(&runtime, name, work);
        }
    }

    /// A group of tasks of its own, which goes down after the tasks of the service and after the groups
    /// that were made later, as a variable is dropped after those that were declared later. So make the
    /// group of a database before that of the requests which use it. A group that is made while others go
    /// down goes next; one that is made after that takes no tasks.
    #[track_caller]
    pub fn group(&self, name: impl Into<Cow<'static, str>>) -> Arc<TaskGroup> {
        let group = Arc::new(TaskGroup::new(name));
        if self.0.stops_on_failure {
            group.failure_stops(&self.0.tasks);
        }
        let mut groups = lock(&self.0.groups);
        if groups.have_ended {
            drop(groups);
            group.stop();
        } else {
            groups.forget_the_spent();
            groups.running.push(Arc::clone(&group));
        }
        group
    }

    fn runtime(&self) -> Option<Handle> {
        lock(&self.0.runtime).clone()
    }

    /// The stop signal of the service's tasks. Pass it to a server, for example
    /// `axum::serve(…).with_graceful_shutdown(service.stop_signal())`, and end responses that go on for
    /// ever with it.
    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        self.0.tasks.stop_signal()
    }

    /// Says that the service is ready.
    pub fn ready(&self) {
        self.0.came_up.raise();
    }

    /// Whether the service is ready: from [`ready`](Self::ready) on, until it is asked to stop. Serve this
    /// to the supervisor's readiness probe.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.came_up.is_raised() && !self.0.asked.has_fired()
    }

    /// Asks the service to stop, as a signal does.
    pub fn stop(&self) {
        self.ask(AskedBy::Stop);
    }

    fn ask(&self, by: AskedBy) {
        if let AskedBy::Signal(signal) = by {
            let _ = self.0.signal.set(signal);
        }
        let _ = self.0.asked_by.set(by);
        self.0.asked.fire();
    }

    /// Spawns what the service is for. When it has returned, however it has, the service is asked to stop.
    #[track_caller]
    fn spawn_work<F>(
        &self,
        work: impl FnOnce(Self) -> F + Send + 'static,
        failure: Arc<OnceLock<Arc<dyn Error + Send + Sync>>>,
    ) where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        struct Returns(Service);
        impl Drop for Returns {
            fn drop(&mut self) {
                self.0.0.returned.fire();
                let was_stopped = self.0.0.tasks.stop_signal().is_raised();
                self.0.ask(if was_stopped { AskedBy::Tasks } else { AskedBy::Work });
            }
        }
        let (service, returns) = (self.clone(), Returns(self.clone()));
        self.spawn("main", |_| async move {
            let _returns = returns;
            if let Err(error) = work(service).await {
                let _ = failure.set(Arc::from(error));
            }
        });
    }

    /// Waits until the service is asked to stop, and then for the grace. Returns when it was asked.
    fn wait_until_asked(&self, grace: Duration) -> Instant {
        let mut stopped = self.stop_signal();
        let asked = async {
            // In order: a random one takes Tokio's thread-local, which may be gone.
            tokio::select! {
                biased;
                () = self.0.asked.wait() => {}
                // By a task that failed, or whoever has the group.
                () = &mut stopped => self.ask(AskedBy::Tasks),
            }
        };
        park::wait_for(Box::pin(asked));
        let asked_at = Instant::now();
        // Nobody needs the grace after the work has returned.
        let _ = self.0.returned.wait_blocking(grace);
        asked_at
    }

    /// Takes the service down on a thread of its own, because a subscriber that hears of it is foreign code, and may
    /// block.
    fn taken_down(
        &self,
        name: &str,
        runtime: RuntimeOwner,
        asked_at: Instant,
        [limit, foreign_time]: [Duration; 2],
    ) -> Vec<Result<ShutdownReport, ShutdownError>> {
        let (result, mut taken_down) = oneshot::channel();
        let service = self.clone();
        let handle = runtime.current().ok();
        // If no thread can be started, this one does it.
        let take_down = Arc::new(Mutex::new(Some(move || {
            // The owner goes first: its drop is silent only after the end.
            let ended = service.take_down(&runtime, asked_at, limit, foreign_time);
            drop((runtime, service));
            let _ = result.send(ended);
        })));
        let take = |from: &Mutex<Option<_>>| lock(from).take();
        let taken = Arc::clone(&take_down);
        let thread =
            Joinable::spawn(TAKES_DOWN, move || take(&taken).into_iter().for_each(|it| it()));
        if thread.is_err() {
            take(&take_down).into_iter().for_each(|it| it());
        }
        drop(take_down);
        let deadline = asked_at.checked_add(limit.saturating_add(LATE));
        let left =
            deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        let ended = taken_down.wait_blocking(left);
        let still_there = thread.ok().and_then(|thread| match deadline {
            Some(deadline) => thread.join_until(deadline).err(),
            None => {
                thread.join();
                None
            }
        });
        // It may have come just now. Without it nothing is known to be over, even if the thread is.
        let ended = ended.or_else(|_| taken_down.wait_blocking(Duration::ZERO));
        let is_over = ended.is_ok() && still_there.is_none();
        still_there.map(Joinable::give_up);
        let mut ended = ended.unwrap_or_default();
        if !is_over {
            // What that thread would have said at the limit.
            let still_running = self.still_running();
            let mut alive = handle.as_ref().map(RuntimeHandle::alive).unwrap_or_default();
            alive.threads.push(TAKES_DOWN.to_owned());
            alive.tasks = alive.tasks.max(still_running.len());
            let kind = ShutdownErrorKind::TimedOut;
            let error = ShutdownError::new(name.to_owned(), asked_at.elapsed(), kind);
            ended.push(Err(error.with_running(still_running, alive)));
        }
        ended
    }

    fn still_running(&self) -> Vec<StillRunning> {
        let groups: Vec<_> = {
            let groups = lock(&self.0.groups);
            groups.going.iter().chain(&groups.running).cloned().collect()
        };
        let all = iter::once(&self.0.tasks).chain(groups.iter().map(|group| &**group));
        all.flat_map(TaskGroup::still_running).collect()
    }

    fn take_down(
        &self,
        runtime: &RuntimeOwner,
        asked_at: Instant,
        limit: Duration,
        foreign_time: Duration,
    ) -> Vec<Result<ShutdownReport, ShutdownError>> {
        let left = || limit.saturating_sub(asked_at.elapsed());
        let (began, part) = (asked_at.elapsed(), left() / 12);
        let left_of = |parts: u32| (began + part * parts).saturating_sub(asked_at.elapsed());
        let left_for = |is_last: bool| {
            let left = left_of(PARTS_FOR_TASKS_AND_GROUPS);
            if is_last { left } else { left / 2 }
        };
        let mut ended = vec![self.0.tasks.drain_blocking(left_of(PARTS_FOR_TASKS))];
        while let Some((group, is_last)) = self.next_group(left_for(true).is_zero()) {
            ended.push(group.drain_blocking(left_for(is_last)));
        }
        let left = left();
        let foreign_time = foreign_time.min(left.saturating_sub(time_to_cut_off(limit)));
        let runtime = runtime.shutdown_of_service(left, foreign_time);
        let handle = lock(&self.0.runtime).take();
        drop(handle);
        // The end of the runtime may have ended what had not ended before.
        let gone = mem::take(&mut lock(&self.0.groups).going);
        let groups = iter::once(&self.0.tasks).chain(gone.iter().map(|group| &**group));
        let again = |(report, group): (GroupReport, &TaskGroup)| {
            let has_ended = report.still_running.is_empty() && report.threads.is_empty();
            if has_ended && report.foreign == 0 {
                return report;
            }
            GroupReport { elapsed: report.elapsed, ..group.drain_blocking(Duration::ZERO) }
        };
        let ended = ended.into_iter().zip(groups).map(again).map(GroupReport::into_result);
        ended.chain([runtime]).collect()
    }

    /// The youngest group that has not gone down, and whether no other has tasks. If the time is up, no more
    /// can be made.
    fn next_group(&self, time_is_up: bool) -> Option<(Arc<TaskGroup>, bool)> {
        let mut groups = lock(&self.0.groups);
        let next = groups.running.pop();
        groups.going.extend(next.clone());
        groups.have_ended = time_is_up || next.is_none();
        let is_last = groups.running.iter().all(|group| group.is_empty());
        next.map(|group| (group, is_last))
    }
}
