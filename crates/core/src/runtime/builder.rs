//! The configuration of a runtime.

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
    owner_thread::Shared,
    panic_watch::PanicLog,
    rest::Rest,
    restartable::{Recipe, Restartable},
    threads::Role,
};
use crate::lifecycle::Begin;

/// The limit of a shutdown that is called without one.
const LIMIT: Duration = Duration::from_secs(5);

/// Configures a runtime. Made by [`RuntimeOwner::builder`].
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
/// let report = owner.shutdown_blocking(None)?; // within 10 s
/// # assert_eq!(report.aborted, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing before `start`"]
pub struct RuntimeBuilder {
    name: String,
    workers: Option<usize>,
    current_thread: bool,
    blocking_threads: Option<usize>,
    stack_size: Option<usize>,
    limit: Duration,
    foreign_time: Option<Duration>,
    watches_panics: bool,
    pub(super) made_at: &'static Location<'static>,
}

/// More than this is a mistake, such as a `-1` that was converted.
const MOST_WORKERS: usize = 1 << 15;

/// With less, the kit and Tokio overflow the stack, which aborts the process, before any task runs.
const LEAST_STACK: usize = 64 << 10;

/// Why no runtime was started. Unless a variant says otherwise, nothing is left running.
#[derive(Error)]
#[non_exhaustive]
pub enum StartError {
    /// A number of threads was zero, or more workers were asked for than 32 768. (Tokio allocates memory for each
    /// worker before it starts a thread, and ends the process if there is not enough.) Or the stack was to have less
    /// than 64 KiB.
    #[error("`{component}` cannot start with {number} {which}; ask for {range}")]
    NoSuchNumber {
        /// The name of the runtime.
        component: String,
        /// `workers`, `blocking threads` or `bytes of stack`.
        which: &'static str,
        /// What was asked for.
        number: usize,
        /// What can be asked for, in words.
        range: &'static str,
    },
    /// The OS refused the owner thread.
    #[error("cannot start a thread for `{component}`: {source}; free some, or raise the limit")]
    NoThread {
        /// The name of the runtime.
        component: String,
        /// The error from the OS.
        source: io::Error,
    },
    /// Tokio could not build the runtime: the OS refused a thread for a worker, or a file descriptor. If
    /// the OS grants a thread for one worker and refuses the next, Tokio waits for the first one for ever.
    /// Then `start` returns this error after 10 s, and both threads keep running.
    #[error("cannot build the runtime of `{component}`: {source}")]
    NoRuntime {
        /// The name of the runtime.
        component: String,
        /// The error from the OS or from Tokio.
        source: io::Error,
    },
    /// The generation before has not ended.
    #[error(
        "`{component}` has not ended, and cannot start again; shut it down first, and look at what that returns"
    )]
    NotEnded {
        /// The name of the runtime.
        component: String,
    },
    /// The runtime was shut down before it first started, or this is a forked child.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

crate::debug_as_text!(StartError);

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
            foreign_time: None,
            watches_panics: false,
            made_at: Location::caller(),
        }
    }

    /// The number of threads that poll tasks. The default is the number of processors, as in Tokio.
    ///
    /// A shutdown brings them to rest before the blocking pool closes, so that a foreign task that is cut
    /// off is not polled any more, and does not panic. What keeps it from that is said at
    /// [`CutOff`](crate::shutdown::CutOff).
    pub const fn workers(mut self, number: usize) -> Self {
        self.workers = Some(number);
        self.current_thread = false;
        self
    }

    /// Makes the owner thread poll the tasks, one at a time. The runtime has no workers then. Its tasks are
    /// always cut off [at rest](crate::shutdown::CutOff::AtRest).
    pub const fn current_thread(mut self) -> Self {
        self.current_thread = true;
        self
    }

    /// The maximum number of threads for blocking work. The default is 512, as in Tokio.
    pub const fn blocking_threads(mut self, most: usize) -> Self {
        self.blocking_threads = Some(most);
        self
    }

    /// The stack size of each of its threads, in bytes: at least 64 KiB. The default is 2 MiB.
    pub const fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// The limit of a shutdown that is called without one. The default is 5 s.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long a shutdown waits for *foreign* tasks, which were not spawned through the kit, after the
    /// last task of the kit has ended. They get no stop signal, and a task that never ends by itself takes
    /// all of this time. What is left then is cut off. The default is a tenth of the shutdown's limit, at
    /// most 100 ms; the limit itself cuts the time short. If a [session](crate::Session) takes the runtime
    /// down and had no hook, the default is half of what is left of its limit, at most 2 s.
    pub const fn foreign_time(mut self, time: Duration) -> Self {
        self.foreign_time = Some(time);
        self
    }

    /// Watches for panics on the threads of the runtime, other than those of the kit's own tasks: a foreign
    /// task's, or a blocking closure's. The report lists them as
    /// [`foreign_panics`](crate::ShutdownReport::foreign_panics), 100 at most. Without this they cannot be seen,
    /// and the report says so. (A future inside `block_on` panics on a thread of its caller.)
    ///
    /// This installs a panic hook for the whole process, once, which calls the hook that was there before. If
    /// you install one of your own, do that before, or call ours from it. If you replace ours, the report no
    /// longer says that the panics are covered; that cannot be known of a hook of yours that keeps ours and
    /// does not call it. The hook stays installed, so do not use this in a library that is unloaded.
    pub const fn watch_panics(mut self) -> Self {
        self.watches_panics = true;
        self
    }

    /// Starts the runtime. Blocks until it runs, which usually takes a fraction of a millisecond. Works on
    /// any thread, even in async code.
    ///
    /// # Errors
    ///
    /// [`StartError::NoSuchNumber`], [`StartError::NoThread`] and [`StartError::NoRuntime`].
    #[must_use = "a runtime is aborted when its last owner is dropped"]
    pub fn start(self) -> Result<RuntimeOwner, StartError> {
        let runtime = Restartable::new(Recipe::Given(self));
        runtime.begin(Begin::First)?;
        Ok(RuntimeOwner::of(runtime))
    }

    pub(super) fn component(&self) -> String {
        self.name.clone()
    }

    pub(super) const fn default_limit(&self) -> Duration {
        self.limit
    }

    pub(crate) const fn time_for_foreign(&self) -> Option<Duration> {
        self.foreign_time
    }

    /// The thread that owns the runtime.
    pub(super) fn thread(&self) -> thread::Builder {
        let thread = thread::Builder::new().name(self.thread_name());
        match self.stack_size {
            // If the runtime has workers, this thread only waits.
            Some(bytes) if self.current_thread => thread.stack_size(bytes),
            _ => thread,
        }
    }

    /// A thread's name must not contain a zero byte.
    fn thread_name(&self) -> String {
        self.name.replace('\0', " ")
    }

    /// The closure that makes the runtime, on its owner thread.
    pub(super) fn tokio(
        &self,
        shared: &mut Shared,
    ) -> Result<impl FnOnce() -> io::Result<Runtime> + Send + 'static, StartError> {
        let refused = |which, number, range| StartError::NoSuchNumber {
            component: self.name.clone(),
            which,
            number,
            range,
        };
        let mut builder = if self.current_thread {
            Builder::new_current_thread()
        } else {
            Builder::new_multi_thread()
        };
        match self.workers {
            Some(number) if number == 0 || number > MOST_WORKERS => {
                return Err(refused("workers", number, "at least one, and at most 32768"));
            }
            Some(number) => builder.worker_threads(number),
            None => &mut builder,
        };
        match self.blocking_threads {
            Some(0) => return Err(refused("blocking threads", 0, "at least one")),
            Some(most) => builder.max_blocking_threads(most),
            None => &mut builder,
        };
        match self.stack_size {
            Some(bytes) if bytes < LEAST_STACK => {
                return Err(refused("bytes of stack", bytes, "at least 65536"));
            }
            Some(bytes) => builder.thread_stack_size(bytes),
            None => &mut builder,
        };
        shared.panics = self.watches_panics.then(|| Arc::new(PanicLog::begin()));
        let (name, started) = (self.thread_name(), AtomicUsize::new(0));
        builder.enable_all().thread_name_fn(move || {
            // Relaxed: a number for a name.
            format!("{name}-{}", started.fetch_add(1, Ordering::Relaxed))
        });
        if !self.current_thread {
            shared.rest = Some(Arc::new(Rest::new(Arc::clone(&shared.threads))));
        }
        let [started, stopped] = [(); 2].map(|()| shared.clone());
        builder.on_thread_start(move || {
            started.threads.add_to_pool();
            started.panics.iter().for_each(|panics| panics.watch_this_thread());
            started.rest.iter().for_each(|rest| rest.started());
        });
        builder.on_thread_stop(move || {
            stopped.rest.iter().for_each(|rest| rest.stopped());
            stopped.threads.change_role(Role::Ending);
        });
        if let Some(rest) = shared.rest.clone() {
            builder.on_thread_park(move || rest.parking());
        }
        Ok(move || builder.build())
    }
}
