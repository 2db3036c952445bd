//! Reconstruction: a runtime in a static cell, which nothing shuts down.
//!
//! As pyo3-async-runtimes keeps it (its issue 40), and etcd-client-py with it before 0.5: the cell
//! gives out references alone, so that nobody could shut the runtime down who wanted to.

use std::{sync::OnceLock, time::Duration};

use pyo3::prelude::*;
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};

use crate::{gate::Gate, work::Work};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> PyResult<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
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

    /// Calls it so many times on the runtime, or again and again, and then what stands at the end.
    #[pyo3(signature = (callable, times=Some(1), done=None))]
    fn submit(
        &self,
        callable: Py<PyAny>,
        times: Option<u64>,
        done: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let gate = Gate::default();
        Work { callable, times, done, gate }.spawn(runtime()?.handle());
        Ok(())
    }

    /// The same on a thread for blocking work, after so many seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        let (done, gate, after) = (None, Gate::default(), Duration::from_secs_f64(after));
        Work { callable, times, done, gate }.spawn_blocking(runtime()?.handle(), after);
        Ok(())
    }

    /// A task that sleeps on the runtime's own timer and never calls into Python.
    fn sleep(&self, seconds: f64) -> PyResult<()> {
        // Made where it is polled: a timer wants the context of its runtime.
        runtime()?.spawn(async move { sleep(Duration::from_secs_f64(seconds)).await });
        Ok(())
    }
}
