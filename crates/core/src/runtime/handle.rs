//! A runtime that somebody else owns.

use std::{borrow::Cow, fmt, future::Future, panic::Location, sync::Arc};

use tokio::runtime::Handle;

use super::{RuntimeError, generation::Generation};
use crate::{
    oneshot,
    tasks::{registry::Label, stop::Stop},
};

/// One generation of a runtime that somebody else owns. It keeps nothing alive, and answers
/// [`RuntimeError`] from the shutdown on, even after a restart. A `tokio::runtime::Handle` would take
/// work then, and drop it without a word.
#[derive(Clone)]
pub struct RuntimeHandle {
    pub(super) generation: Arc<Generation>,
}

impl RuntimeHandle {
    /// Tokio's handle of the runtime. What is spawned on that has no name and is not told to stop. It
    /// is dropped with the runtime.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime has been told to stop, and in a forked child.
    pub fn handle(&self) -> Result<Handle, RuntimeError> {
        self.generation.handle()
    }

    /// Spawns a task, from any thread. `work` gets the signal by which the task is told to stop. The
    /// receiver gets what the task returns; it is told that the value was abandoned if the task panics
    /// or is dropped before. Drop the receiver if you don't need the result.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime has been told to stop, and in a forked child. `work` is dropped.
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
        self.generation.spawn(Label::new(name), work)
    }

    /// Polls a future on this thread, in the context of the runtime, until it is ready. The future may
    /// borrow, and need not be `Send`.
    ///
    /// Unlike Tokio's, this works wherever it is called: in async code of another runtime, whose worker
    /// it blocks, and in a task of the runtime itself, whose worker is replaced for that long. A
    /// shutdown waits for it, and drops the future at its limit.
    ///
    /// # Errors
    ///
    /// The future is dropped, and this returns
    ///
    /// - [`RuntimeError::ShutDown`], if the runtime was told to stop before it began, or went down
    ///   before the future was ready;
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
        self.generation.block_on(future, Location::caller())
    }

    /// Which generation this is, counted from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.number()
    }
}

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeHandle")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
