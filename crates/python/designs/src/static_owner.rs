//! Reconstruction: an owner in a static cell, whose destructor tells the runtime's thread to end and
//! joins it.
//!
//! valkey-glide has one like this. The shutdown notes of etcd-client-py recommend it: "explicit runtime
//! cleanup via the Drop trait".

use std::{
    sync::{Arc, OnceLock, mpsc},
    thread::{self, JoinHandle},
};

use pyo3::prelude::*;
use tokio::{runtime::Handle, sync::Notify};

use crate::{build, ended, gate::Gate, work};

static OWNER: OnceLock<Owner> = OnceLock::new();

/// The runtime's thread, and the means to end it.
struct Owner {
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
    shutdown_notifier: Arc<Notify>,
}

impl Owner {
    fn start() -> PyResult<Self> {
        let shutdown_notifier = Arc::new(Notify::new());
        let (built, handle) = mpsc::channel();
        let notified = Arc::clone(&shutdown_notifier);
        let thread = thread::spawn(move || {
            if let Ok(runtime) = build() {
                let _ = built.send(runtime.handle().clone());
                runtime.block_on(notified.notified());
            }
        });
        let runtime = handle.recv().map_err(|_| ended())?;
        Ok(Self { runtime, thread: Some(thread), shutdown_notifier })
    }

    fn get() -> PyResult<&'static Self> {
        if let Some(owner) = OWNER.get() {
            return Ok(owner);
        }
        let owner = Self::start()?;
        Ok(OWNER.get_or_init(|| owner))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shutdown_notifier.notify_one();
        if let Some(thread) = self.thread.take() {
            eprintln!("the owner's destructor ran");
            let _ = thread.join();
        }
    }
}

/// The static owner.
#[pyclass(module = "sundown_designs", frozen)]
pub struct StaticOwner;

#[pymethods]
impl StaticOwner {
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
        work::submit(&Owner::get()?.runtime, Gate::default(), callable, times, done);
        Ok(())
    }

    /// Calls it on a blocking thread after `after` seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        work::submit_blocking(&Owner::get()?.runtime, Gate::default(), callable, times, after);
        Ok(())
    }
}
