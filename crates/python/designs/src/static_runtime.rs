//! Reconstruction: a runtime in a static cell, which nothing shuts down.
//!
//! pyo3-async-runtimes keeps it like this (its issue 40), and so did etcd-client-py before 0.5. The cell
//! only gives out references, so nobody can shut the runtime down.

use std::{sync::OnceLock, time::Duration};

use pyo3::prelude::*;
use tokio::{runtime::Runtime, time::sleep};

use crate::{build, gate::Gate, work};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> PyResult<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// The static runtime.
#[pyclass(module = "sundown_designs", frozen)]
pub struct StaticRuntime;

#[pymethods]
impl StaticRuntime {
    #[new]
    fn new() -> Self {
        Self
    }

    /// Calls it on the runtime, `times` times or for ever, and then calls `done`.
    #[pyo3(signature = (callable, times=Some(1), done=None))]
    fn submit(
        &self,
        callable: Py<PyAny>,
        times: Option<u64>,
        done: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        work::submit(runtime()?.handle(), Gate::default(), callable, times, done);
        Ok(())
    }

    /// Calls it on a blocking thread after `after` seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        work::submit_blocking(runtime()?.handle(), Gate::default(), callable, times, after);
        Ok(())
    }

    /// Counts the tasks on the runtime that have not ended.
    fn alive_tasks(&self) -> PyResult<usize> {
        Ok(runtime()?.metrics().num_alive_tasks())
    }

    /// Spawns a task that sleeps on the runtime's own timer and never calls into Python.
    fn sleep(&self, seconds: f64) -> PyResult<()> {
        // In an async block, because a timer must be made in the context of its runtime.
        runtime()?.spawn(async move { sleep(Duration::from_secs_f64(seconds)).await });
        Ok(())
    }
}
