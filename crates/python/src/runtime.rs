//! The runtime: starting, work, shutting down, and the end of the process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use sundown::{
    latch::Latch,
    limit::within,
    runtime::{RuntimeOwner, State},
    shutdown::{GracefulShutdown, ShutdownReport, shutdown_in_order},
};
use sundown_pyo3::{GATE, wait};

use crate::{
    failure,
    job::{Job, Shared, When, Work},
};

/// A runtime, and what its threads share.
#[pyclass(frozen, module = "sundown._native")]
pub struct Runtime {
    owner: RuntimeOwner,
    shared: Arc<Shared>,
}

impl Runtime {
    pub fn of(owner: RuntimeOwner) -> Self {
        Self { owner, shared: Arc::default() }
    }
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
        let mut builder = RuntimeOwner::builder(name);
        if let Some(number) = workers {
            builder = builder.workers(number);
        }
        if let Some(most) = blocking_threads {
            builder = builder.blocking_threads(most);
        }
        let started = py.detach(|| builder.start());
        let owner = started.map_err(|error| failure::start(py, &error))?;
        Ok(Self::of(owner))
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
        let limit = timeout.map_or(Ok(Duration::MAX), |seconds| duration("timeout", seconds))?;
        let result = wait(py, self.owner.shutdown(limit))?;
        let ShutdownReport { elapsed, aborted, .. } =
            result.map_err(|error| failure::shutdown(py, error, &self.shared.ledger))?;
        Ok((elapsed.as_secs_f64(), aborted))
    }

    /// Tells the runtime to end, and waits for nothing.
    fn abandon(&self, py: Python<'_>) {
        let shutdown = self.owner.shutdown(Duration::ZERO);
        drop(py.detach(|| pollster::block_on(within(Duration::ZERO, shutdown))));
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

/// Takes all runtimes down before the interpreter is finalized, the last of the list first, within one
/// limit. Returns an exception for each failure.
///
/// It releases the interpreter's lock first, because a thread that is inside may wait for it.
#[pyfunction]
pub fn exit(
    py: Python<'_>,
    runtimes: Vec<Py<Runtime>>,
    timeout: Option<f64>,
) -> PyResult<Vec<PyErr>> {
    let limit = timeout.map_or(Ok(Duration::MAX), |seconds| duration("timeout", seconds))?;
    let runtimes: Vec<_> = runtimes
        .iter()
        .rev()
        .map(|runtime| (runtime.get().owner.clone(), Arc::clone(&runtime.get().shared)))
        .collect();
    let owners: Vec<&dyn GracefulShutdown> =
        runtimes.iter().map(|(owner, _)| owner as &dyn GracefulShutdown).collect();
    let began = Instant::now();
    let results = wait(py, async {
        // Before the first wait, so that no thread of any runtime enters Python any more.
        GATE.close();
        let results = shutdown_in_order(owners, limit).await;
        // After the end of the runtimes, only threads that notify tasks can be inside.
        within(limit.saturating_sub(began.elapsed()), GATE.wait_empty()).await;
        results
    })?;
    let failed = results.into_iter().zip(&runtimes).filter_map(|(result, (_, shared))| {
        result.err().map(|error| failure::shutdown(py, error, &shared.ledger))
    });
    Ok(failed.collect())
}

/// A number of seconds from Python. One that is too large for a clock means no limit.
fn duration(which: &str, seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        let message = format!("{which} is {seconds} s; give 0 or more");
        return Err(PyValueError::new_err(message));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
