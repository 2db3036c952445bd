//! Reconstruction: a handle to a runtime thread that ignores the errors of a shutdown, and the handle
//! that a plan would replace it with.
//!
//! The Python bindings of cloacina have the first. The plan bounds the join with a watchdog thread, and
//! returns errors. A destructor can only log them, and here nobody listens to the log.

use std::{
    panic::resume_unwind,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use pyo3::{
    exceptions::{PyRuntimeError, PyTimeoutError},
    prelude::*,
};

/// A message to the runtime's thread.
enum Message {
    Shutdown,
}

/// What the thread does when it is told to end.
#[derive(Clone, Copy)]
enum Then {
    Ends,
    Panics,
    Stays,
}

struct Thread {
    tell: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    fn start(then: &str) -> PyResult<Self> {
        let then = match then {
            "ends" => Then::Ends,
            "panics" => Then::Panics,
            "stays" => Then::Stays,
            other => return Err(PyRuntimeError::new_err(format!("no such thread: {other}"))),
        };
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let Ok(Message::Shutdown) = told.recv() else { return };
            match then {
                Then::Ends => {}
                // Without the panic hook: what that prints does not reach the caller.
                Then::Panics => resume_unwind(Box::new("a cleanup failed")),
                Then::Stays => loop {
                    thread::park();
                },
            }
        });
        Ok(Self { tell, thread: Mutex::new(Some(thread)) })
    }

    fn take(&self) -> Option<JoinHandle<()>> {
        let _ = self.tell.send(Message::Shutdown);
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The original handle: no error reaches the caller, and the join has no limit.
#[pyclass(module = "sundown_designs", frozen)]
pub struct Handle(Thread);

#[pymethods]
impl Handle {
    /// A thread that, told to end, `ends`, `panics` or `stays`.
    #[new]
    fn new(then: &str) -> PyResult<Self> {
        Thread::start(then).map(Self)
    }

    /// Ends it.
    fn shutdown(&self, py: Python<'_>) {
        if let Some(thread) = self.0.take() {
            let _ = py.detach(|| thread.join());
        }
    }
}

/// The handle of the plan: a bounded join, and errors.
#[pyclass(module = "sundown_designs", frozen)]
pub struct CarefulHandle(Thread);

/// How long a destructor waits.
const PATIENCE: Duration = Duration::from_millis(200);

impl CarefulHandle {
    fn join(&self, limit: Duration) -> Result<(), PyErr> {
        let Some(thread) = self.0.take() else { return Ok(()) };
        let (joined, result) = mpsc::channel();
        // The watchdog. At a timeout it is left behind, with the thread that it waits for.
        thread::spawn(move || joined.send(thread.join()));
        match result.recv_timeout(limit) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(PyRuntimeError::new_err("Runtime thread panicked during shutdown")),
            Err(_) => Err(PyTimeoutError::new_err(format!("Shutdown timed out after {limit:?}"))),
        }
    }
}

#[pymethods]
impl CarefulHandle {
    /// A thread that, told to end, `ends`, `panics` or `stays`.
    #[new]
    fn new(then: &str) -> PyResult<Self> {
        Thread::start(then).map(Self)
    }

    /// Ends it, or raises why it has not ended within `timeout` seconds.
    fn shutdown(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        py.detach(|| self.join(Duration::from_secs_f64(timeout)))
    }
}

impl Drop for CarefulHandle {
    /// Logs errors through a facade that has no listener in a Python program.
    fn drop(&mut self) {
        let _unheard = self.join(PATIENCE);
    }
}
