//! How a runtime is to be.

use std::{
    io,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use super::{
    RuntimeError, RuntimeOwner,
    root::Root,
    threads::{Role, Threads},
};
use crate::life::Which;

/// The limit of a shutdown that is not given one.
const LIMIT: Duration = Duration::from_secs(5);

/// How a runtime is to be. Made by [`RuntimeOwner::builder`].
///
/// ```
/// use std::time::Duration;
/// use sundown::runtime::RuntimeOwner;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let owner = RuntimeOwner::builder("store")
///     .current_thread()
///     .blocking_threads(4)
///     .limit(Duration::from_secs(10))
///     .start()?;
/// owner.shutdown_blocking(None)?; // within 10 s
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is `start` that starts a runtime"]
pub struct RuntimeBuilder {
    name: String,
    workers: Option<usize>,
    current_thread: bool,
    blocking_threads: Option<usize>,
    stack_size: Option<usize>,
    limit: Duration,
    pub(super) made_at: &'static Location<'static>,
}

/// Why no runtime was started. What was made of it has been taken down again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A number of threads was zero.
    #[error("{component} cannot start with 0 {which}; ask for at least one")]
    NoSuchNumber {
        /// What was to start.
        component: String,
        /// `workers` or `blocking threads`.
        which: &'static str,
    },
    /// The system had no thread for it to live on.
    #[error("cannot start a thread for {component}: {source}; free some, or raise the limit")]
    NoThread {
        /// What was to start.
        component: String,
        /// What the system said.
        source: io::Error,
    },
    /// Tokio could not build it: the system had no thread for a worker, or no descriptor. Where it had
    /// a thread for one worker and none for the next, Tokio waits for the first for ever; that is
    /// given up after 10 s, and both threads stay.
    #[error("cannot build the runtime of {component}: {source}")]
    NoRuntime {
        /// What was to start.
        component: String,
        /// What the system or Tokio said.
        source: io::Error,
    },
    /// The one before has not ended.
    #[error(
        "{component} has not ended, and cannot start anew; shut it down first, and look at what that returns"
    )]
    NotEnded {
        /// What was to start.
        component: String,
    },
    /// It does not start by itself any more, or not in this process.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl RuntimeBuilder {
    #[track_caller]
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            workers: None,
            current_thread: false,
            blocking_threads: None,
            stack_size: None,
            limit: LIMIT,
            made_at: Location::caller(),
        }
    }

    /// So many threads that poll tasks; as many as there are processors unless told.
    pub const fn workers(mut self, number: usize) -> Self {
        self.workers = Some(number);
        self.current_thread = false;
        self
    }

    /// Tasks are polled by the runtime's own thread, one at a time.
    pub const fn current_thread(mut self) -> Self {
        self.current_thread = true;
        self
    }

    /// At most so many threads for what blocks; 512 unless told, as in Tokio.
    pub const fn blocking_threads(mut self, most: usize) -> Self {
        self.blocking_threads = Some(most);
        self
    }

    /// The size of the stack of each of its threads, in bytes; 2 MiB unless told.
    pub const fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// The limit of a shutdown that is not given one; 5 s unless told.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it. Blocks until it runs, for a fraction of a millisecond. Works on any thread, also
    /// in async code.
    ///
    /// # Errors
    ///
    /// [`StartError::NoSuchNumber`], [`StartError::NoThread`] and [`StartError::NoRuntime`].
    #[must_use = "a runtime is aborted when its last owner is dropped"]
    pub fn start(self) -> Result<RuntimeOwner, StartError> {
        let root = Root::new();
        root.begin(Which::First, &self)?;
        Ok(RuntimeOwner::of(root, self))
    }

    pub(super) fn component(&self) -> String {
        self.name.clone()
    }

    pub(super) const fn default_limit(&self) -> Duration {
        self.limit
    }

    /// The thread that it lives on.
    pub(super) fn thread(&self) -> thread::Builder {
        let thread = thread::Builder::new().name(self.thread_name());
        match self.stack_size {
            // Of a runtime with workers this thread only waits.
            Some(bytes) if self.current_thread => thread.stack_size(bytes),
            _ => thread,
        }
    }

    /// A thread's name ends at its first zero byte, and one with a zero byte in it is refused.
    fn thread_name(&self) -> String {
        self.name.replace('\0', " ")
    }

    /// What makes the runtime, on the thread that it is to live on.
    pub(super) fn tokio(
        &self,
        threads: Arc<Threads>,
    ) -> Result<impl FnOnce() -> io::Result<Runtime> + Send + 'static, StartError> {
        let refused = |which| StartError::NoSuchNumber { component: self.name.clone(), which };
        let mut builder = if self.current_thread {
            Builder::new_current_thread()
        } else {
            Builder::new_multi_thread()
        };
        match self.workers {
            Some(0) => return Err(refused("workers")),
            Some(number) => builder.worker_threads(number),
            None => &mut builder,
        };
        match self.blocking_threads {
            Some(0) => return Err(refused("blocking threads")),
            Some(most) => builder.max_blocking_threads(most),
            None => &mut builder,
        };
        if let Some(bytes) = self.stack_size {
            builder.thread_stack_size(bytes);
        }
        let (name, started) = (self.thread_name(), AtomicUsize::new(0));
        builder.enable_all().thread_name_fn(move || {
            // A number, and nothing that anybody relies on.
            format!("{name}-{}", started.fetch_add(1, Ordering::Relaxed))
        });
        let come = Arc::clone(&threads);
        builder.on_thread_start(move || come.come(Role::Pool));
        builder.on_thread_stop(move || threads.go());
        Ok(move || builder.build())
    }
}
