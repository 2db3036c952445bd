//! The runtime: starting, work, shutting down, and the end of the process.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use sundown::{
    latch::Latch,
    limit::{within, within_blocking},
    runtime::{RuntimeOwner, State},
    shutdown::{
        GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownReport, shutdown_in_order,
    },
};
use sundown_pyo3::{GATE, Then, call_method, wait};

use crate::{
    failure::{self, Failure},
    job::{Job, Shared, When, Work},
};

/// A runtime, and what its threads share.
#[pyclass(frozen, module = "sundown._native")]
pub struct Runtime {
    name: String,
    owner: RuntimeOwner,
    shared: Arc<Shared>,
}

/// The result of a shutdown.
type Ended = Result<ShutdownReport, Failure>;

impl Runtime {
    pub fn of(name: String, owner: RuntimeOwner) -> Self {
        Self { name, owner, shared: Arc::default() }
    }

    /// Shuts the runtime down, and waits for the thread that notifies the tasks that were dropped.
    fn end(&self, timeout: Option<f64>) -> PyResult<impl Future<Output = Ended> + Send + use<>> {
        let limit = timeout.map_or(Ok(Duration::MAX), |seconds| duration("timeout", seconds))?;
        let (owner, shared) = (self.owner.clone(), Arc::clone(&self.shared));
        let began = Instant::now();
        Ok(async move {
            // In a forked child, a thread that is not there may hold the lock of what is shared.
            if owner.stats().state == State::Forked {
                return Ok(owner.shutdown(limit).await?);
            }
            if shared.is_notifier() {
                drop(within(Duration::ZERO, owner.shutdown(Duration::ZERO)).await);
                return Err(Failure::OnNotifier);
            }
            let result = owner.shutdown(limit).await;
            if !has_ended(&result) {
                return Ok(result?);
            }
            let rest = limit.saturating_sub(began.elapsed());
            match within(rest, shared.until_quiet()).await {
                Some(()) => Ok(result?),
                None => Err(Failure::Notifying(began.elapsed())),
            }
        })
    }

    fn answer(&self, py: Python<'_>, result: Ended) -> PyResult<(f64, usize)> {
        let ShutdownReport { elapsed, aborted, .. } = result
            .map_err(|failure| failure::shutdown(py, &self.name, failure, &self.shared.ledger))?;
        Ok((elapsed.as_secs_f64(), aborted))
    }
}

/// Whether the runtime has ended, by what its shutdown returned.
fn has_ended(result: &Result<ShutdownReport, ShutdownError>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => matches!(
            error.kind,
            ShutdownErrorKind::Panicked(_) | ShutdownErrorKind::ThreadPanicked(_)
        ),
    }
}

/// A shutdown that somebody awaits.
#[pyclass(frozen, module = "sundown._native")]
pub struct Ending {
    runtime: Py<Runtime>,
    result: Arc<Mutex<Option<Ended>>>,
    /// The thread that waits and wakes, until it has been joined.
    waiter: Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl Ending {
    /// What `shutdown` returns or raises, once; `None` if it has not ended.
    fn result(&self, py: Python<'_>) -> PyResult<Option<(f64, usize)>> {
        let result = lock(&self.result).take();
        let waiter = result.as_ref().and_then(|_| lock(&self.waiter).take());
        if let Some(waiter) = waiter.filter(|it| it.thread().id() != thread::current().id()) {
            // It has only to return from the wake. Its panic was reported by the hook.
            let _ = py.detach(|| waiter.join());
        }
        result.map(|result| self.runtime.get().answer(py, result)).transpose()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Runtime {
    #[new]
    fn new(
        py: Python<'_>,
        name: String,
        workers: Option<usize>,
        blocking_threads: Option<usize>,
    ) -> PyResult<Self> {
        let mut builder = RuntimeOwner::builder(name.clone());
        if let Some(number) = workers {
            builder = builder.workers(number);
        }
        if let Some(most) = blocking_threads {
            builder = builder.blocking_threads(most);
        }
        let started = py.detach(|| builder.start());
        let owner = started.map_err(|error| failure::start(py, &error))?;
        Ok(Self::of(name, owner))
    }

    /// Lets the runtime call `task._run()`: now, after a delay, or at each interval. If the work is
    /// dropped before the call, `task._dropped()` is called.
    fn start(
        &self,
        py: Python<'_>,
        task: Py<PyAny>,
        name: String,
        spawned_at: String,
        delay: Option<f64>,
        interval: Option<f64>,
    ) -> PyResult<Job> {
        let when = match (delay, interval) {
            (None, None) => When::Now,
            (Some(seconds), None) => When::After(duration("delay", seconds)?),
            (_, Some(seconds)) => When::Every(duration("interval", seconds)?),
        };
        // First, because in a forked child a thread that is not there may hold any lock.
        let runtime = self.owner.current().map_err(|ended| failure::ended(py, &ended))?;
        let cancelled = Arc::new(Latch::new());
        let job = Job::new(Arc::clone(&cancelled));
        let work = Work::new(Arc::clone(&self.shared), task, name.clone(), spawned_at);
        // The kit's handle is dropped: a program waits for the task.
        let spawned = runtime.spawn(name, move |stop| work.perform(when, stop, cancelled));
        drop(spawned.map_err(|ended| failure::ended(py, &ended))?);
        Ok(job)
    }

    /// Shuts the runtime down within a limit; `None` means no limit. Returns how long that took, and how
    /// much work was dropped.
    fn shutdown(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(f64, usize)> {
        let result = wait(py, self.end(timeout)?)?;
        self.answer(py, result)
    }

    /// The same without waiting: when it has ended, `wake` is called on a thread of its own. Not if it has ended
    /// already.
    fn begin_shutdown(
        this: Py<Self>,
        py: Python<'_>,
        timeout: Option<f64>,
        wake: Py<PyAny>,
    ) -> PyResult<Ending> {
        let mut end = Box::pin(this.get().end(timeout)?);
        // On this thread, which may be one that must not wait.
        let first = py.detach(|| end.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        let result = Arc::new(Mutex::new(None));
        let later = Arc::clone(&result);
        let waiter = match first {
            Poll::Ready(first) => {
                *lock(&result) = Some(first);
                None
            }
            // Not an executor's: that may be busy, and takes no work when the interpreter exits.
            Poll::Pending => {
                let waiter = thread::Builder::new().name("sundown-waiter".to_owned());
                Some(waiter.spawn(move || {
                    *lock(&later) = within_blocking(Duration::MAX, end);
                    // Closed, the interpreter is about to be finalized.
                    let _ = call_method(wake, c"__call__", Then::Release);
                })?)
            }
        };
        Ok(Ending { runtime: this, result, waiter: Mutex::new(waiter) })
    }

    /// Tells the runtime to end if it is running, and waits for nothing. Returns whether it was running. Does
    /// nothing at exit and in a forked child.
    fn abandon(&self, py: Python<'_>) -> bool {
        if GATE.is_closed() || self.owner.stats().state != State::Running {
            return false;
        }
        let shutdown = self.owner.shutdown(Duration::ZERO);
        drop(py.detach(|| within_blocking(Duration::ZERO, shutdown)));
        true
    }

    /// Whether the runtime has ended and no thread of it can call into Python.
    #[getter]
    fn ended(&self) -> bool {
        self.owner.stats().state == State::Ended && self.shared.is_quiet()
    }

    /// What the runtime is doing, in numbers.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.owner.stats();
        let state = match stats.state {
            State::NotStarted => "not started",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Ended => "ended",
            State::Forked => "forked",
            _ => "unknown",
        };
        let here = stats.state != State::Forked;
        let dictionary = PyDict::new(py);
        dictionary.set_item("state", state)?;
        dictionary.set_item("tasks", stats.tasks)?;
        dictionary.set_item("threads", stats.threads)?;
        dictionary.set_item("unfinished", if here { self.shared.ledger.len() } else { 0 })?;
        dictionary.set_item("inside", if here { self.shared.ledger.inside() } else { 0 })?;
        Ok(dictionary)
    }
}

/// Takes all runtimes of `sundown._exit` down before the interpreter is finalized, the last of the list first, within
/// one limit. Then it logs each failure, and tells the tasks that have not ended.
///
/// It is called by `atexit` itself, and no Python code runs before the runtimes are down: where Ctrl-C is pending, the
/// first instruction of Python code raises. What is pending is raised afterwards. Ctrl-C during the wait ends it.
///
/// It releases the interpreter's lock first, because a thread that is inside may wait for it.
#[pyfunction]
pub fn exit(py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
    module.setattr("_exiting", true)?;
    let mut raised = py.check_signals();
    let runtimes: Vec<Py<Runtime>> = module.getattr("_runtimes")?.extract()?;
    let timeout: Option<f64> = module.getattr("_timeout")?.extract()?;
    let limit = timeout.map_or(Ok(Duration::MAX), |seconds| duration("timeout", seconds))?;
    let runtimes: Vec<&Runtime> = runtimes.iter().rev().map(Py::get).collect();
    let owners: Vec<_> =
        runtimes.iter().map(|runtime| &runtime.owner as &dyn GracefulShutdown).collect();
    let began = Instant::now();
    let results = wait(py, async {
        // Before the first wait, so that no thread of any runtime enters Python any more.
        GATE.close();
        let results: Vec<_> = shutdown_in_order(owners, limit).await;
        // After the end of the runtimes, only threads that notify tasks can be inside.
        let mut ended = Vec::new();
        for (result, runtime) in results.into_iter().zip(&runtimes) {
            let has_ended = has_ended(&result);
            let mut result = result.map_err(Failure::from);
            let rest = limit.saturating_sub(began.elapsed());
            if has_ended && within(rest, runtime.shared.until_quiet()).await.is_none() {
                result = Err(Failure::Notifying(began.elapsed()));
            }
            ended.push(result);
        }
        within(limit.saturating_sub(began.elapsed()), GATE.wait_empty()).await;
        ended
    });
    let mut keep = |result: PyResult<()>| match (result, &raised) {
        (Err(error), Ok(())) => raised = Err(error),
        (Err(error), Err(_)) => error.write_unraisable(py, None),
        (Ok(()), _) => {}
    };
    match results {
        Ok(results) => {
            for (result, runtime) in results.into_iter().zip(&runtimes) {
                if let Err(failure) = result {
                    let error =
                        failure::shutdown(py, &runtime.name, failure, &runtime.shared.ledger);
                    let logger = module.getattr("logger")?;
                    keep(logger.call_method1("warning", ("at exit: %s", error)).map(drop));
                }
            }
        }
        Err(error) => keep(Err(error)),
    }
    let tasks = module.getattr("_tasks")?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    for task in tasks {
        let tell = || task.call_method0("_left").map(drop);
        keep(tell().or_else(|error| {
            // A signal handler raised meanwhile.
            tell()?;
            Err(error)
        }));
    }
    raised
}

/// A number of seconds from Python. One that is too large for a clock means no limit.
fn duration(which: &str, seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        let message = format!("{which} is {seconds} s; give 0 or more");
        return Err(PyValueError::new_err(message));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
