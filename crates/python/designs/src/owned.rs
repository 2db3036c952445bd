//! Reconstruction: a runtime that can be taken out and ended, in each of the obvious ways.
//!
//! The notes of etcd-client-py propose this for a static cell that gives out ownership. The program
//! chooses the way, and the moment.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};

use crate::{build, ended, gate::Gate, work};

/// A runtime, until it is ended.
#[pyclass(module = "sundown_designs", frozen)]
pub struct Owned {
    runtime: Mutex<Option<Runtime>>,
    gate: Gate,
    /// Whether work that comes after the end gets a new runtime.
    restarts: bool,
}

impl Owned {
    fn runtime(&self) -> MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> PyResult<Handle> {
        let mut runtime = self.runtime();
        if runtime.is_none() && self.restarts {
            *runtime = Some(build()?);
        }
        runtime.as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(ended)
    }
}

#[pymethods]
impl Owned {
    #[new]
    #[pyo3(signature = (gate=false, restarts=false))]
    fn new(gate: bool, restarts: bool) -> PyResult<Self> {
        let gate = if gate { Gate::open() } else { Gate::default() };
        Ok(Self { runtime: Mutex::new(Some(build()?)), gate, restarts })
    }

    /// Calls it on the runtime, `times` times or for ever, and then calls `done`.
    #[pyo3(signature = (callable, times=Some(1), done=None))]
    fn submit(
        &self,
        callable: Py<PyAny>,
        times: Option<u64>,
        done: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        work::submit(&self.handle()?, self.gate.clone(), callable, times, done);
        Ok(())
    }

    /// Calls it on a blocking thread after `after` seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        work::submit_blocking(&self.handle()?, self.gate.clone(), callable, times, after);
        Ok(())
    }

    /// Tells the runtime to end, and waits for nothing.
    fn end_in_the_background(&self) {
        if let Some(runtime) = self.runtime().take() {
            runtime.shutdown_background();
        }
    }

    /// Waits until the runtime has ended, holding the interpreter's lock.
    fn join_holding_the_lock(&self) {
        drop(self.runtime().take());
    }

    /// Waits until the runtime has ended, without the interpreter's lock.
    fn join(&self, py: Python<'_>) {
        let runtime = self.runtime().take();
        py.detach(|| drop(runtime));
    }

    /// The same with a limit in seconds. What has not ended by then goes on.
    fn join_within(&self, py: Python<'_>, seconds: f64) {
        let (runtime, limit) = (self.runtime().take(), Duration::from_secs_f64(seconds));
        py.detach(|| runtime.into_iter().for_each(|runtime| runtime.shutdown_timeout(limit)));
    }

    /// Closes the gate first, and then does the same.
    fn close_the_gate_and_join_within(&self, py: Python<'_>, seconds: f64) {
        py.detach(|| self.gate.close(Duration::from_secs_f64(seconds)));
        self.join_within(py, seconds);
    }
}
