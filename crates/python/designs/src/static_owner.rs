//! Reconstruction: an owner in a static cell, whose destructor tells the runtime's thread to end and
//! joins it.
//!
//! valkey-glide has one like this. The shutdown notes of etcd-client-py recommend it, in four steps: a
//! wrapper, its `Drop`, a thread of its own with a single-threaded runtime, and a function for cleanup
//! that Python can call.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use pyo3::prelude::*;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
};

use crate::{build, ended, gate::Gate, work};

static OWNER: OnceLock<Owner> = OnceLock::new();

/// The runtime's thread, and the means to end it.
struct Owner {
    runtime: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
    shutdown_notifier: Arc<Notify>,
}

fn build_single_threaded() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

impl Owner {
    fn start(build: fn() -> io::Result<Runtime>) -> PyResult<Self> {
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
        Ok(Self { runtime, thread: Mutex::new(Some(thread)), shutdown_notifier })
    }

    fn get(build: fn() -> io::Result<Runtime>) -> PyResult<&'static Self> {
        if let Some(owner) = OWNER.get() {
            return Ok(owner);
        }
        let owner = Self::start(build)?;
        Ok(OWNER.get_or_init(|| owner))
    }

    /// Tells the thread to end, and joins it.
    fn end(&self) {
        self.shutdown_notifier.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        eprintln!("the owner's destructor ran");
        self.end();
    }
}

/// The static owner.
#[pyclass(module = "sundown_designs", frozen)]
pub struct StaticOwner {
    build: fn() -> io::Result<Runtime>,
}

#[pymethods]
impl StaticOwner {
    #[new]
    #[pyo3(signature = (single_threaded=false))]
    fn new(single_threaded: bool) -> Self {
        Self { build: if single_threaded { build_single_threaded } else { build } }
    }

    /// The function for cleanup. It gives the interpreter's lock up while it joins.
    #[staticmethod]
    fn cleanup(py: Python<'_>) {
        py.detach(|| OWNER.get().into_iter().for_each(Owner::end));
    }

    /// The same, and it keeps the interpreter's lock: what such a function does unless it is told
    /// otherwise.
    #[staticmethod]
    fn cleanup_holding_the_lock() {
        OWNER.get().into_iter().for_each(Owner::end);
    }

    /// Calls it on the runtime, `times` times or for ever, and then calls `done`.
    #[pyo3(signature = (callable, times=Some(1), done=None))]
    fn submit(
        &self,
        callable: Py<PyAny>,
        times: Option<u64>,
        done: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        work::submit(&Owner::get(self.build)?.runtime, Gate::default(), callable, times, done);
        Ok(())
    }

    /// Calls it on a blocking thread after `after` seconds.
    #[pyo3(signature = (callable, times=Some(1), after=0.0))]
    fn submit_blocking(&self, callable: Py<PyAny>, times: Option<u64>, after: f64) -> PyResult<()> {
        work::submit_blocking(&Owner::get(self.build)?.runtime, Gate::default(), callable, times, after);
        Ok(())
    }
}
