//! A handle to one generation of a runtime.

use std::{
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    thread,
};

use tokio::runtime::{Handle, worker_index};

use super::{CutOffWatch, Enlisted, RuntimeError, generation::Generation, threads::Role};
#[cfg(all(feature = "service", unix, not(loom)))]
use crate::shutdown::Alive;
use crate::{
    oneshot, park,
    task_set::{Label, Member, Place, SpawnedBy, Stop, large},
};

/// A handle to one generation of a runtime. It does not keep the runtime alive. From the shutdown on, its
/// methods return [`RuntimeError`], even after a restart. A `tokio::runtime::Handle` would accept work
/// then, and drop it silently.
#[derive(Clone)]
pub struct RuntimeHandle {
    pub(super) generation: Arc<Generation>,
}

impl RuntimeHandle {
    /// What of the runtime is alive.
    #[cfg(all(feature = "service", unix, not(loom)))]
    pub(crate) fn alive(&self) -> Alive {
        self.generation.alive()
    }

    /// Returns Tokio's handle to the runtime. A task that you spawn on it has no name and gets no stop
    /// signal. It is dropped with the runtime.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime is stopping or has stopped, and in a forked child.
    pub fn handle(&self) -> Result<Handle, RuntimeError> {
        self.generation.check_running()?;
        self.generation.tokio().ok_or_else(|| self.generation.shut_down_error())
    }

    /// Spawns a task, from any thread. `work` gets the task's stop signal. The receiver gets
    /// what the task returns, or [`Abandoned`](crate::oneshot::Abandoned) if the task panics or is dropped
    /// before it returns. Drop the receiver if you don't need the result.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime is stopping or has stopped, and in a forked child. `work` is dropped.
    #[track_caller]
    pub fn spawn<T, F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        self.spawn_labelled(Label::new(name), work)
    }

    fn spawn_labelled<W, T, F>(
        &self,
        label: Label,
        work: W,
    ) -> Result<oneshot::Receiver<T>, RuntimeError>
    where
        W: FnOnce(Stop) -> F + Send + 'static,
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        if const { large::is_large::<W, F>() } {
            self.spawn_here(label, large::boxed(Box::new(work)))
        } else {
            self.spawn_here(label, work)
        }
    }

    fn spawn_here<W, T, F>(
        &self,
        label: Label,
        work: W,
    ) -> Result<oneshot::Receiver<T>, RuntimeError>
    where
        W: FnOnce(Stop) -> F + Send + 'static,
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        self.generation.check_process()?;
        let Some(handle) = self.generation.tokio() else {
            return Err(self.generation.shut_down_error());
        };
        let (sender, receiver) = oneshot::channel();
        let place = self.place(label)?;
        // `work` runs inside the task, so that a panic of it is a panic of the task.
        let member = Member::new(place, |stop| async move {
            let value = work(stop).await;
            // The receiver may have been dropped.
            let _ = sender.send(value);
        });
        drop(handle.spawn(member));
        Ok(receiver)
    }

    /// Polls a future on this thread, in the context of the runtime, until it is ready. The future may
    /// borrow, and need not be `Send`.
    ///
    /// Unlike Tokio's `block_on`, this also works in async code. In another runtime it blocks the worker.
    /// In a task of the runtime itself, another thread takes over the worker's tasks meanwhile. A shutdown
    /// waits for this call, and drops the future when it aborts.
    ///
    /// # Errors
    ///
    /// The future is dropped, and this returns
    ///
    /// - [`RuntimeError::ShutDown`], if the runtime was stopping before this call, or aborted the
    ///   future before it was ready;
    /// - [`RuntimeError::OwnThread`] in a task of a current-thread runtime itself, or in one that
    ///   Tokio does not let block in place, such as one of a `LocalSet`;
    /// - [`RuntimeError::ThreadEnding`] in the destructor of a thread-local, if Tokio cannot be entered
    ///   any more;
    /// - [`RuntimeError::Forked`] in a forked child.
    ///
    /// # Panics
    ///
    /// Only if the future panics, which is the caller's own code: the panic continues in the caller.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, RuntimeError> {
        if const { large::is_large::<(), F>() } {
            self.block_on_here(Box::pin(future))
        } else {
            self.block_on_here(future)
        }
    }

    #[track_caller]
    fn block_on_here<F: Future>(&self, future: F) -> Result<F::Output, RuntimeError> {
        let Generation { component, threads, .. } = &*self.generation;
        self.generation.check_process()?;
        let Some(handle) = self.generation.tokio() else {
            return Err(self.generation.shut_down_error());
        };
        let is_in_runtime = match Handle::try_current() {
            Ok(_) => true,
            Err(none) if none.is_missing_context() => false,
            Err(_) => return Err(RuntimeError::ThreadEnding { component: component.clone() }),
        };
        let own_thread = || RuntimeError::OwnThread { component: component.clone() };
        if threads.include_this_thread_as(Role::Owner) {
            // The runtime has no workers: if it had, nothing on its owner thread would call this.
            return Err(own_thread());
        }
        let label = Label { name: Cow::Borrowed("block_on"), spawned_at: Location::caller() };
        let mut output = None;
        let poll = || {
            let _guest = threads.add_guest();
            // Declared before the future, and so left after it: a context that the future has entered
            // is left first.
            let _context = handle.enter();
            let place = self.place(label)?;
            let member = Member::new(place, |_| async { output = Some(caught(future).await) });
            // Tokio makes a task that polls a lot yield to other tasks. There are none here.
            let member = pin!(tokio::task::unconstrained(member));
            park::wait_in_runtime(member, is_in_runtime);
            Ok(())
        };
        if threads.include_this_thread_as(Role::Pool) {
            // If it is a worker, another thread takes its tasks over. Inside a `LocalSet` and the like
            // Tokio refuses that by a panic, before it calls `poll`.
            catch_unwind(AssertUnwindSafe(|| tokio::task::block_in_place(poll)))
                .map_err(|_| own_thread())??;
        } else {
            poll()?;
        }
        match output {
            Some(Ok(output)) => Ok(output),
            Some(Err(payload)) => resume_unwind(payload),
            // The future was dropped because the runtime went down.
            None => Err(self.generation.shut_down_error()),
        }
    }

    /// Takes a place among the tasks.
    fn place(&self, label: Label) -> Result<Place, RuntimeError> {
        Place::new(self.generation.life.tasks(), label, SpawnedBy::Outsider)
            .map_err(|_| self.generation.shut_down_error())
    }

    /// Takes a share of the generation for a session.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime is stopping or has stopped, and in a forked child.
    pub(crate) fn enlist(&self) -> Result<Enlisted, RuntimeError> {
        Enlisted::of(Arc::clone(&self.generation))
    }

    /// Has `tell` called on the owner thread when the runtime is about to be cut off, or at once if it has
    /// been, as long as the watch is kept.
    pub(crate) fn before_cut_off(&self, tell: impl Fn() + Send + Sync + 'static) -> CutOffWatch {
        self.generation.before_cut_off(tell)
    }

    /// Tokio's handle to the runtime, running or not, until it has ended.
    pub(crate) fn tokio(&self) -> Option<Handle> {
        self.generation.tokio()
    }

    /// How many tasks are alive on the runtime, without the kit's own.
    pub(crate) fn alive_tasks(&self) -> usize {
        self.generation.tasks()
    }

    /// Whether this thread polls tasks of the runtime.
    pub(crate) fn polls_on_this_thread(&self) -> bool {
        let threads = &self.generation.threads;
        // A thread for blocking work has no index. Nor has the owner thread of a runtime with workers.
        worker_index().is_some()
            && (threads.include_this_thread_as(Role::Owner)
                || threads.include_this_thread_as(Role::Pool))
    }

    /// Which generation this is, counted from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.number
    }
}

/// Catches a panic of a future, and of its destructor.
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

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeHandle")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
