//! Reconstruction: a runtime that can be taken out and ended, in each of the ways that come to mind.
//!
//! What the notes of etcd-client-py propose where the static cell gives out ownership. Which of the
//! ways is taken, and when, is for the program.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{ended, gate::Gate, work::Work};

/// A runtime, as long as it has not been ended.
#[pyclass(module = "sundown_designs", frozen)]
pub struct Owned {
    runtime: Mutex<Option<Runtime>>,
    gate: Gate,
    /// Whether work that comes when the runtime has ended gets a new one.
    restarts: bool,
}

impl Owned {
    /// Held only while the runtime is looked at or taken out.
    fn runtime(&self) -> MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> PyResult<Handle> {
        let mut runtime = self.runtime();
        if runtime.is_none() && self.restarts {
            *runtime = Some(start()?);
        }
        runtime.as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(ended)
    }
}

fn start() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

#[pymethods]
impl Owned {
    #[new]
    #[pyo3(signature = (gate=false, restarts=false))]
    fn new(gate: bool, restarts: bool) -> PyResult<Self> {
        let gate = if gate { Gate::open() } else { Gate::default() };
        Ok(Self { runtime: Mutex::new(Some(start()?)), gate, restarts })
    }

    /// Calls it so many times on the runtime, or again and again, and then what stands at the end.
    #[pyo3(signature = (callable, times=Some(1), done=None))]
    fn submit(
        &self,
        callable: Py<PyAny>,
        times: Option<u64>,
        done: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let (gate, runtime) = (self.gate.clone(), self.handle()?);
        Work { callable, times, done, gate }.spawn(&runtime);
        Ok(())
    }

    /// The same on a thread for blocking work, after so many seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        let (done, gate, after) = (None, self.gate.clone(), Duration::from_secs_f64(after));
        Work { callable, times, done, gate }.spawn_blocking(&self.handle()?, after);
        Ok(())
    }

    /// Tells the runtime to end, and waits for nothing.
    fn end_in_the_background(&self) {
        if let Some(runtime) = self.runtime().take() {
            runtime.shutdown_background();
        }
    }

    /// Waits until the runtime has ended, and keeps the interpreter's lock meanwhile.
    fn join_holding_the_lock(&self) {
        drop(self.runtime().take());
    }

    /// Waits until the runtime has ended, without the interpreter's lock.
    fn join(&self, py: Python<'_>) {
        let runtime = self.runtime().take();
        py.detach(|| drop(runtime));
    }

    /// The same for so many seconds at the most: what has not ended by then goes on.
    fn join_within(&self, py: Python<'_>, seconds: f64) {
        let (runtime, limit) = (self.runtime().take(), Duration::from_secs_f64(seconds));
        py.detach(|| runtime.into_iter().for_each(|runtime| runtime.shutdown_timeout(limit)));
    }

    /// Closes the gate, and then does the same.
    fn close_the_gate_and_join_within(&self, py: Python<'_>, seconds: f64) {
        py.detach(|| self.gate.close(Duration::from_secs_f64(seconds)));
        self.join_within(py, seconds);
    }
}
