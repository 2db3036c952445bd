//! Reconstruction: an owner in a static cell, whose destructor tells the runtime's thread to end and
//! joins it.
//!
//! As valkey-glide has it, and as the shutdown notes of etcd-client-py recommend it: "explicit
//! runtime cleanup via the Drop trait".

use std::{
    sync::{Arc, OnceLock, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use pyo3::prelude::*;
use tokio::{
    runtime::{Builder, Handle},
    sync::Notify,
};

use crate::{ended, gate::Gate, work::Work};

static OWNER: OnceLock<Owner> = OnceLock::new();

/// The owner: a thread of its own for the runtime, and the means to end it.
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
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            if let Ok(runtime) = runtime {
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

    /// Calls it so many times on the runtime, or again and again, and then what stands at the end.
    #[pyo3(signature = (callable, times=Some(1), done=None))]
    fn submit(
        &self,
        callable: Py<PyAny>,
        times: Option<u64>,
        done: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let gate = Gate::default();
        Work { callable, times, done, gate }.spawn(&Owner::get()?.runtime);
        Ok(())
    }

    /// The same on a thread for blocking work, after so many seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        let (done, gate, after) = (None, Gate::default(), Duration::from_secs_f64(after));
        Work { callable, times, done, gate }.spawn_blocking(&Owner::get()?.runtime, after);
        Ok(())
    }
}
