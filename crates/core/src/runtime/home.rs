//! One generation of a runtime: what is on its thread, and what may be asked of it from elsewhere.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind},
    pin::pin,
    process,
    sync::Arc,
    task::Poll,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    RuntimeBuilder, RuntimeError, StartError, State, Stats, keeper,
    threads::{Role, Threads},
};
use crate::{
    blocking,
    crew::Comer,
    life::{End, Life},
    limit::within,
    member::Member,
    observe::{self, Outcome},
    oneshot::{self, WaitError},
    registry::Label,
    shutdown::{Alive, ShutdownError, ShutdownErrorKind, ShutdownReport, SignalLoss, for_abort},
    stop::Stop,
    sync::{Mutex, lock},
};

/// How long a runtime may take to start. Starting one takes a fraction of a millisecond; where it
/// hangs for want of a thread, whoever starts it must not.
const START: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Home {
    component: String,
    generation: u64,
    /// The process whose threads these are.
    process: u32,
    limit: Duration,
    life: Arc<Life>,
    threads: Arc<Threads>,
    handle: Handle,
    /// The keeper's, until somebody has joined it.
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl AsRef<Life> for Home {
    fn as_ref(&self) -> &Life {
        &self.life
    }
}

impl Home {
    /// Starts a runtime on a thread of its own.
    pub(super) fn start(
        builder: &RuntimeBuilder,
        generation: u64,
    ) -> Result<Arc<Self>, StartError> {
        let component = builder.component();
        let (life, threads) = (Arc::new(Life::new()), Arc::new(Threads::default()));
        let (ready, mut is_ready) = oneshot::channel();
        let make = builder.tokio(Arc::clone(&threads))?;
        let keeper = {
            let (life, threads) = (Arc::clone(&life), Arc::clone(&threads));
            builder.thread().spawn(move || keeper::keep(make, &life, &threads, ready))
        };
        let keeper = keeper
            .map_err(|source| StartError::NoThread { component: component.clone(), source })?;
        let not_built = |source| StartError::NoRuntime { component: component.clone(), source };
        let handle = match is_ready.wait_blocking(START) {
            Ok(built) => built.map_err(not_built)?,
            Err(WaitError::TimedOut { limit }) => {
                let text = format!("it did not start within {limit:?}");
                return Err(not_built(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            Err(WaitError::Abandoned(abandoned)) => {
                return Err(not_built(io::Error::other(abandoned)));
            }
        };
        Ok(Arc::new(Self {
            component,
            generation,
            process: process::id(),
            limit: builder.default_limit(),
            life,
            threads,
            handle,
            keeper: Mutex::new(Some(keeper)),
        }))
    }

    /// That this is the process whose threads these are. In a forked child nothing may be touched
    /// before that is known: any lock may be held by a thread that is not there.
    fn is_here(&self) -> Result<(), RuntimeError> {
        if process::id() == self.process {
            return Ok(());
        }
        Err(RuntimeError::Forked { component: self.component.clone(), owner: self.process })
    }

    fn ended(&self) -> RuntimeError {
        RuntimeError::ShutDown { component: self.component.clone(), generation: self.generation }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// That it can be used.
    pub(super) fn is_running(&self) -> Result<(), RuntimeError> {
        self.is_here()?;
        if self.life.is_running() { Ok(()) } else { Err(self.ended()) }
    }

    pub(super) fn handle(&self) -> Result<Handle, RuntimeError> {
        self.is_running()?;
        Ok(self.handle.clone())
    }

    pub(super) fn spawn<T, F>(
        &self,
        label: Label,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        self.is_here()?;
        let (sender, receiver) = oneshot::channel();
        let place = self.life.crew().place(Comer::Stranger, label).map_err(|_| self.ended())?;
        // `work` runs inside the task, where a panic of it is the task's.
        let member = Member::new(place, |stop| async move {
            let value = work(stop).await;
            // Nobody may want to know.
            let _ = sender.send(value);
        });
        drop(self.handle.spawn(member));
        Ok(receiver)
    }

    pub(super) fn block_on<F: Future>(
        &self,
        future: F,
        called_at: &'static Location<'static>,
    ) -> Result<F::Output, RuntimeError> {
        self.is_here()?;
        let component = || self.component.clone();
        let is_in_runtime = match Handle::try_current() {
            Ok(_) => true,
            Err(none) if none.is_missing_context() => false,
            Err(_) => return Err(RuntimeError::ThreadEnding { component: component() }),
        };
        let own_thread = || RuntimeError::OwnThread { component: component() };
        if self.threads.include_this_as(Role::Keeper) {
            // Of a runtime with workers the keeper runs nothing that could call.
            return Err(own_thread());
        }
        let label = Label { name: Cow::Borrowed("block_on"), spawned_at: called_at };
        let mut output = None;
        let poll = || {
            let _guest = self.threads.guest();
            // Declared before the future, and so left after it: what it has entered is left first.
            let _context = self.handle.enter();
            let place = self.life.crew().place(Comer::Stranger, label).map_err(|_| self.ended())?;
            let member = Member::new(place, |_| async { output = Some(caught(future).await) });
            // Tokio makes whoever polls much give way to other tasks, of which there are none here.
            let member = pin!(tokio::task::unconstrained(member));
            blocking::wait_in_runtime(member, is_in_runtime);
            Ok(())
        };
        if self.threads.include_this_as(Role::Pool) {
            // A worker, maybe: another thread takes its tasks over. Tokio refuses that, by a panic
            // and before `poll`, inside a `LocalSet` and the like.
            catch_unwind(AssertUnwindSafe(|| tokio::task::block_in_place(poll)))
                .map_err(|_| own_thread())??;
        } else {
            poll()?;
        }
        match output {
            Some(Ok(output)) => Ok(output),
            Some(Err(payload)) => resume_unwind(payload),
            // It was dropped because the runtime went down.
            None => Err(self.ended()),
        }
    }

    pub(super) fn includes_this_thread(&self) -> bool {
        self.threads.include_this()
    }

    pub(super) fn abort(&self) {
        self.life.abort();
    }

    /// How many were at work, where nobody has shut it down.
    pub(super) fn was_left_running(&self) -> Option<usize> {
        self.life.is_running().then(|| self.life.crew().registry().count().members)
    }

    pub(super) fn stats(&self) -> Stats {
        let state = match self.life.has_ended() {
            true => State::Ended,
            false if self.life.is_running() => State::Running,
            false => State::Stopping,
        };
        Stats {
            state,
            generation: self.generation,
            tasks: self.handle.metrics().num_alive_tasks(),
            named: self.life.crew().registry().count().members,
            threads: self.threads.count(Role::Pool),
        }
    }

    /// Tells everybody to stop, drops what has not ended by the last part of the limit, and waits
    /// for the keeper, which waits for everything else.
    pub(super) async fn shutdown(
        &self,
        limit: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        if let Err(RuntimeError::Forked { component, owner }) = self.is_here() {
            return Err(signal_lost_in_fork(component, owner));
        }
        let (began, limit) = (Instant::now(), limit.unwrap_or(self.limit));
        self.life.stop();
        if self.threads.include_this() {
            let kind = ShutdownErrorKind::FromInside;
            return Err(ShutdownError::new(self.component.clone(), began.elapsed(), kind));
        }
        let for_abort = for_abort(limit);
        if within(limit - for_abort, self.life.ended()).await.is_none() {
            self.life.abort();
            within(for_abort, self.life.ended()).await;
        }
        self.conclude(began.elapsed())
    }

    fn conclude(&self, elapsed: Duration) -> Result<ShutdownReport, ShutdownError> {
        let component = self.component.clone();
        let observe = |outcome| observe::shutdown(&component, outcome, elapsed);
        let error = |kind| ShutdownError::new(component.clone(), elapsed, kind);
        let crew = self.life.crew();
        let Some(end) = self.life.end().filter(|_| self.life.has_ended()) else {
            observe(Outcome::TimedOut);
            return Err(error(ShutdownErrorKind::TimedOut)
                .with_running(crew.registry().labels(), self.alive()));
        };
        let keeper = lock(&self.keeper).take();
        match end {
            End::Lost => {
                // Not joined: it did not end in a way that can be.
                drop(keeper);
                observe(Outcome::Lost);
                Err(error(ShutdownErrorKind::SignalLost(SignalLoss::ThreadEnded))
                    .with_running(crew.registry().labels(), self.alive()))
            }
            End::Panicked { message, running, tasks } => {
                join(keeper);
                observe(Outcome::Panicked);
                let alive = Alive { tasks, threads: Vec::new() };
                Err(error(ShutdownErrorKind::ThreadPanicked(message.into()))
                    .with_running(running, alive))
            }
            End::Told => {
                join(keeper);
                let (tally, aborted) = (crew.tally(), crew.registry().count().aborted);
                if !tally.panicked.is_empty() {
                    observe(Outcome::Panicked);
                    return Err(error(ShutdownErrorKind::Panicked(tally.panicked.into())));
                }
                observe(if aborted == 0 { Outcome::Graceful } else { Outcome::Aborted });
                Ok(ShutdownReport { component, elapsed, aborted })
            }
        }
    }

    fn alive(&self) -> Alive {
        // Tokio leaves a task out of its count once it has told it to end, also one that does not.
        let tasks = self
            .handle
            .metrics()
            .num_alive_tasks()
            .max(self.life.crew().registry().count().members);
        Alive { tasks, threads: self.threads.left() }
    }
}

/// The answer in a forked child.
pub(super) fn signal_lost_in_fork(component: String, owner: u32) -> ShutdownError {
    let kind = ShutdownErrorKind::SignalLost(SignalLoss::Forked { owner });
    ShutdownError::new(component, Duration::ZERO, kind)
}

/// Joins a thread that has said its last word: what is left of it is the system's to do. A second
/// caller finds it taken, and need not wait for that.
fn join(keeper: Option<JoinHandle<()>>) {
    if let Some(keeper) = keeper {
        // Its panics are caught, and known.
        let _ = keeper.join();
    }
}

/// A future whose panic is caught, in its destructor too.
async fn caught<F: Future>(future: F) -> thread::Result<F::Output> {
    let mut future = pin!(Some(future));
    poll_fn(|context| {
        let Some(body) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        let output = match catch_unwind(AssertUnwindSafe(|| body.poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(payload),
        };
        let dropped = catch_unwind(AssertUnwindSafe(|| future.set(None)));
        Poll::Ready(output.and_then(|output| dropped.map(|()| output)))
    })
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::runtime::RuntimeOwner;

    /// No safe code ends a thread from outside. What it says last it is made to say here.
    #[test]
    fn a_thread_that_was_ended_from_outside_is_told_with_what_ran_on_it() {
        let builder = RuntimeOwner::builder("lost").current_thread();
        let home = Home::start(&builder, 1).unwrap();
        let label = Label { name: Cow::Borrowed("left"), spawned_at: Location::caller() };
        let (begun, mut has_begun) = oneshot::channel();
        let (let_go, is_let_go) = std::sync::mpsc::channel::<()>();
        let left = home.spawn(label, |_| async move {
            let _ = begun.send(());
            let _ = is_let_go.recv();
        });
        has_begun.wait_blocking(Duration::from_secs(60)).unwrap();
        home.life.went();
        for _ in 0..2 {
            let error = futures::executor::block_on(home.shutdown(None)).unwrap_err();
            let ShutdownError { kind, still_running, alive, .. } = error;
            let lost = ShutdownErrorKind::SignalLost(SignalLoss::ThreadEnded);
            assert_eq!(format!("{kind:?}"), format!("{lost:?}"));
            assert_eq!((still_running[0].name.as_str(), alive.tasks), ("left", 1));
        }
        assert!(home.handle().is_err());
        drop(let_go);
        drop(left);
    }
}
