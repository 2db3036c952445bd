//! One generation of a runtime: its threads, and how it starts and ends.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    CutOffWatch, RuntimeBuilder, RuntimeError, StartError, State, Stats,
    cut_off::CutOffWatches,
    foreign::{self, Foreign},
    owner_thread::{self, Shared},
    panic_watch::PanicLog,
    rest::Rest,
    threads::{Role, Threads},
};
use crate::{
    fork::ProcessGuard,
    joinable::Joinable,
    lifecycle::{End, Lifecycle, Users},
    observe::{self, Outcome},
    oneshot::{self, WaitError},
    shutdown::{Alive, NotCovered, ShutdownError, ShutdownErrorKind, ShutdownReport, SignalLoss},
    stop_then_abort::{Waited, stop_then_abort},
    sync::{Mutex, lock},
};

/// How long a runtime may take to start. It takes a fraction of a millisecond, unless it hangs because
/// the system has no thread for it; then the caller must not hang, too.
const START: Duration = Duration::from_secs(10);

/// How often to ask at once whether the owner thread is gone, before waiting a little.
const CHECKS_AT_ONCE: usize = 50;

pub(super) struct Generation {
    pub(super) component: String,
    pub(super) number: u64,
    /// Check this before touching anything else: in a forked child any lock may be held by a thread that
    /// does not exist there.
    process: ProcessGuard,
    limit: Duration,
    pub(super) life: Arc<Lifecycle>,
    pub(super) threads: Arc<Threads>,
    /// Until the runtime has ended: the handle keeps the descriptors of its driver open.
    handle: Mutex<Option<Handle>>,
    /// The sessions that use it.
    pub(super) users: Users,
    foreign: Arc<Foreign>,
    cut_off_watches: Arc<CutOffWatches>,
    rest: Option<Arc<Rest>>,
    panics: Option<Arc<PanicLog>>,
    /// The time for foreign tasks that the builder was given.
    pub(super) foreign_time: Option<Duration>,
    /// The owner thread, until somebody has joined it.
    owner_thread: Mutex<Option<Joinable>>,
}

impl AsRef<Lifecycle> for Generation {
    fn as_ref(&self) -> &Lifecycle {
        &self.life
    }
}

impl Generation {
    /// Starts a runtime on a thread of its own.
    pub(super) fn start(builder: &RuntimeBuilder, number: u64) -> Result<Arc<Self>, StartError> {
        let component = builder.component();
        let mut shared = Shared::default();
        let (ready, mut is_ready) = oneshot::channel();
        let make = builder.tokio(&mut shared)?;
        let owner_thread = {
            let shared = shared.clone();
            let run = move || owner_thread::run(make, &shared, ready);
            Joinable::spawn_with(builder.thread(), run)
        };
        let owner_thread = owner_thread
            .map_err(|source| StartError::NoThread { component: component.clone(), source })?;
        let not_built = |source| StartError::NoRuntime { component: component.clone(), source };
        let handle = match is_ready.wait_blocking(START) {
            Ok(built) => built,
            Err(WaitError::TimedOut { limit }) => {
                let text = format!("it did not start within {limit:?}");
                return Err(not_built(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            Err(WaitError::Abandoned(abandoned)) => Err(io::Error::other(abandoned)),
        };
        let handle = match handle {
            Ok(handle) => handle,
            Err(source) => {
                // It has said why, and ends.
                if let Err(thread) = owner_thread.join_until(Instant::now() + START) {
                    thread.give_up();
                }
                return Err(not_built(source));
            }
        };
        Ok(Arc::new(Self {
            component,
            number,
            process: ProcessGuard::this_process(),
            limit: builder.default_limit(),
            life: shared.life,
            threads: shared.threads,
            handle: Mutex::new(Some(handle)),
            users: Users::new(),
            foreign: shared.foreign,
            cut_off_watches: shared.cut_off_watches,
            rest: shared.rest,
            panics: shared.panics,
            foreign_time: builder.time_for_foreign(),
            owner_thread: Mutex::new(Some(owner_thread)),
        }))
    }

    pub(super) fn check_process(&self) -> Result<(), RuntimeError> {
        match self.process.forked_from() {
            None => Ok(()),
            Some(owner) => Err(RuntimeError::Forked { component: self.component.clone(), owner }),
        }
    }

    /// Tokio's handle to the runtime, until that has ended. Check the process first.
    pub(super) fn tokio(&self) -> Option<Handle> {
        lock(&self.handle).clone()
    }

    pub(super) fn shut_down_error(&self) -> RuntimeError {
        RuntimeError::ShutDown { component: self.component.clone(), generation: self.number }
    }

    /// Returns an error unless the runtime is running, in this process.
    pub(super) fn check_running(&self) -> Result<(), RuntimeError> {
        self.check_process()?;
        if self.life.is_running() { Ok(()) } else { Err(self.shut_down_error()) }
    }

    pub(super) fn includes_this_thread(&self) -> bool {
        self.threads.include_this_thread()
    }

    /// Has `tell` called on the owner thread when the runtime is about to be cut off, or at once if it has
    /// been.
    pub(super) fn before_cut_off(&self, tell: impl Fn() + Send + Sync + 'static) -> CutOffWatch {
        self.cut_off_watches.add(tell)
    }

    pub(super) fn abort(&self) {
        self.life.abort();
    }

    /// How many tasks run, if nobody has shut the runtime down.
    pub(super) fn was_left_running(&self) -> Option<usize> {
        self.life.is_running().then(|| self.life.tasks().registry().count().running)
    }

    pub(super) fn stats(&self) -> Stats {
        let state = match self.life.has_ended() {
            true => State::Ended,
            false if self.life.is_running() => State::Running,
            false => State::Stopping,
        };
        Stats {
            state,
            generation: self.number,
            tasks: self.tasks(),
            named: self.life.tasks().registry().count().running,
            threads: self.threads.count(Role::Pool) + self.threads.count(Role::Held),
        }
    }

    /// Shuts the runtime down, as [`stop_then_abort`] says, and waits for the owner thread, which waits
    /// for everything else. The limit counts from `entered`. Foreign tasks get `foreign_time` to end by
    /// themselves, or the time of the builder.
    pub(super) async fn shutdown(
        &self,
        entered: Instant,
        limit: Option<Duration>,
        foreign_time: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        if let Some(owner) = self.process.forked_from() {
            return Err(lost_in_fork(self.component.clone(), owner));
        }
        let life = &self.life;
        if self.threads.include_this_thread() {
            life.stop();
            let kind = ShutdownErrorKind::FromInside;
            return Err(ShutdownError::new(self.component.clone(), entered.elapsed(), kind));
        }
        let limit = limit.unwrap_or(self.limit);
        let foreign_time = foreign_time.or(self.foreign_time);
        let foreign_time = foreign_time.unwrap_or_else(|| foreign::default_time(limit));
        self.foreign.give(foreign_time);
        self.rest.iter().for_each(|rest| rest.caller_waits(entered.checked_add(limit)));
        let ended = || life.ended();
        let abort = |_| {
            life.tasks().time_has_passed(entered.checked_add(limit));
            life.abort();
            false
        };
        let waited = stop_then_abort(
            life.tasks().callers(),
            entered,
            limit,
            || life.stop(),
            abort,
            ended,
            || self.has_threads(),
        )
        .await;
        self.conclude(entered.elapsed(), &waited)
    }

    /// Releases Tokio's handle, when the runtime has ended.
    pub(super) fn release(&self) {
        // Under the lock: whoever finds it gone finds Tokio's driver gone as well. No foreign code runs.
        *lock(&self.handle) = None;
    }

    fn conclude(
        &self,
        elapsed: Duration,
        waited: &Waited,
    ) -> Result<ShutdownReport, ShutdownError> {
        let component = self.component.clone();
        let observe = |outcome| observe::shutdown(&component, outcome, elapsed);
        let error = |kind| ShutdownError::new(component.clone(), elapsed, kind);
        let tasks = self.life.tasks();
        let has_threads = waited.threads_left && self.has_threads();
        let has_ended = self.life.has_ended() && !has_threads;
        let Some(end) = self.life.end().filter(|_| has_ended) else {
            observe(Outcome::TimedOut);
            return Err(error(ShutdownErrorKind::TimedOut)
                .with_running(tasks.still_running(), self.alive())
                .with_patience(waited.patience));
        };
        self.release();
        match end {
            // Not joined: a thread that was ended from outside cannot be.
            End::Lost => {
                observe(Outcome::Lost);
                Err(error(ShutdownErrorKind::SignalLost(SignalLoss::ThreadEnded))
                    .with_running(tasks.still_running(), self.alive()))
            }
            End::Panicked { message, still_running, tasks } => {
                observe(Outcome::Panicked);
                let alive = Alive { tasks, ..Alive::default() };
                Err(error(ShutdownErrorKind::ThreadPanicked(message.into()))
                    .with_running(still_running, alive)
                    .with_report(self.report(elapsed)))
            }
            End::Told => {
                let report = self.report(elapsed);
                let panicked = tasks.tally().panicked;
                if !panicked.is_empty() {
                    observe(Outcome::Panicked);
                    let kind = ShutdownErrorKind::Panicked(panicked.into());
                    return Err(error(kind).with_report(report));
                }
                observe(match &*report.foreign_panics {
                    [] if report.is_graceful() => Outcome::Graceful,
                    [] => Outcome::Aborted,
                    _ => Outcome::Panicked,
                });
                Ok(report)
            }
        }
    }

    /// Whether the owner thread or one that calls wakers has not ended. In this order: the owner thread
    /// starts the others.
    fn has_threads(&self) -> bool {
        self.life.has_ended() && self.has_owner_thread() || self.life.tasks().helpers().are_alive()
    }

    /// Whether the owner thread has not ended. Joins it if it is about to, which takes microseconds.
    ///
    /// Its last acts are foreign code, which may block, or come here on that very thread: it calls the
    /// wakers of those who wait, and destroys its thread-locals. So it is joined only after that.
    fn has_owner_thread(&self) -> bool {
        if matches!(self.life.end(), Some(End::Lost)) {
            // A thread that was ended from outside cannot be joined.
            return false;
        }
        for _ in 0..CHECKS_AT_ONCE {
            if Joinable::join_if_gone(&mut lock(&self.owner_thread)) {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    fn report(&self, elapsed: Duration) -> ShutdownReport {
        let tasks = self.life.tasks();
        let aborted = tasks.registry().count().aborted;
        let mut report = ShutdownReport::new(self.component.clone(), elapsed, aborted);
        report.aborted_tasks = tasks.tally().aborted;
        (report.foreign, report.cut_off) = self.foreign.cut_off().unwrap_or_default();
        report.not_covered = vec![
            NotCovered::Success,
            NotCovered::PlainThreads,
            NotCovered::OtherRuntimes,
            NotCovered::ChildProcesses,
        ];
        if let Some(panics) = &self.panics {
            report.foreign_panics = panics.seen();
        }
        if !self.panics.as_ref().is_some_and(|panics| panics.is_complete()) {
            report.not_covered.push(NotCovered::ForeignPanics);
        }
        report.not_covered.extend(NotCovered::kit_threads());
        report
    }

    /// How many tasks are alive, by Tokio's count, without those that hold its workers at rest.
    pub(super) fn tasks(&self) -> usize {
        let ours = self.rest.as_ref().map_or(0, |rest| rest.holding());
        let alive = self.tokio().map_or(0, |handle| handle.metrics().num_alive_tasks());
        alive.saturating_sub(ours)
    }

    pub(super) fn alive(&self) -> Alive {
        let mut threads = self.threads.names();
        threads.extend(self.life.tasks().helpers().names());
        if threads.is_empty() && self.life.has_ended() {
            // The owner thread wakes those who wait, or has not returned yet.
            threads.push(self.component.clone());
        }
        let in_pool = self.threads.count(Role::Pool);
        // Tokio does not count a task that it has told to end, even if the task does not end. Then it keeps
        // its worker from resting.
        let stuck = self.rest.as_ref().map_or(0, |rest| rest.stuck().min(in_pool));
        let running = self.life.tasks().registry().count().running;
        let tasks = self.tasks().max(running).max(stuck);
        // The runtime is being dropped, no task is left, and a thread of the pool has not ended.
        let blocking_work = tasks == 0 && in_pool > 0 && self.foreign.cut_off().is_some();
        Alive { tasks, threads, blocking_work, ..Alive::default() }
    }
}

/// The result of a shutdown in a forked child.
pub(super) fn lost_in_fork(component: String, owner: u32) -> ShutdownError {
    let kind = ShutdownErrorKind::SignalLost(SignalLoss::Forked { owner });
    ShutdownError::new(component, Duration::ZERO, kind)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::{
        limit::PLENTY,
        runtime::{RuntimeHandle, RuntimeOwner},
    };

    /// No safe code ends a thread from outside. So the test has it say that it is gone.
    #[test]
    fn a_thread_that_was_ended_from_outside_is_reported_with_what_ran_on_it() {
        let builder = RuntimeOwner::builder("lost").current_thread();
        let generation = Generation::start(&builder, 1).unwrap();
        let (begun, mut has_begun) = oneshot::channel();
        let (let_go, is_let_go) = std::sync::mpsc::channel::<()>();
        let handle = RuntimeHandle { generation: Arc::clone(&generation) };
        let left = handle.spawn("left", |_| async move {
            let _ = begun.send(());
            let _ = is_let_go.recv();
        });
        has_begun.wait_blocking(PLENTY).unwrap();
        generation.life.gone();
        for _ in 0..2 {
            let error =
                futures::executor::block_on(generation.shutdown(Instant::now(), None, None))
                    .unwrap_err();
            let ShutdownError { kind, still_running, alive, .. } = error;
            let lost = SignalLoss::ThreadEnded;
            assert!(matches!(kind, ShutdownErrorKind::SignalLost(cause) if cause == lost));
            assert_eq!((still_running[0].name.as_str(), alive.tasks), ("left", 1));
        }
        assert!(handle.handle().is_err());
        drop(let_go);
        drop(left);
    }
}
