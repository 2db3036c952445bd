//! A Rust future that waits for an awaitable of Python.

use std::future::Future;

use pyo3::{
    exceptions::asyncio::CancelledError,
    intern,
    prelude::*,
    types::{PyDict, PyTuple},
};
use pyo3_async_runtimes::TaskLocals;
use tokio::sync::oneshot;

use crate::{
    compat,
    exit::{self, Owned},
};

type Sender = oneshot::Sender<PyResult<Py<PyAny>>>;

/// Makes a Rust future of an awaitable, which runs in the event loop of these locals. If the loop ends without it, the
/// future returns `CancelledError`.
///
/// # Errors
///
/// The event loop is closed; or `RuntimeError`, if the interpreter is about to exit.
pub fn into_future_with_locals(
    locals: &TaskLocals,
    awaitable: Bound<'_, PyAny>,
) -> PyResult<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>> {
    // Its thread may be a daemon, which the interpreter ends when it likes.
    let (_inside, awaitable) = exit::enter_with(awaitable)?;
    exit::install(awaitable.py())?;
    begin(locals, awaitable)
}

/// The same, inside the gate.
pub(crate) fn begin(
    locals: &TaskLocals,
    awaitable: Bound<'_, PyAny>,
) -> PyResult<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>> {
    let py = awaitable.py();
    let (sender, result) = oneshot::channel();
    let begins = Begins { owned: Owned::new((awaitable.unbind(), sender)) };
    call_soon(&locals.event_loop(py), &locals.context(py), (begins,))?;
    Ok(async move { result.await.unwrap_or_else(|_| Err(CancelledError::new_err(()))) })
}

/// Has a callback called in the thread of the event loop, in this context, with these arguments.
pub(crate) fn call_soon<'py>(
    event_loop: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    callback: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
) -> PyResult<()> {
    let py = event_loop.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "context"), context)?;
    let callback = callback.into_pyobject(py)?;
    event_loop.call_method(intern!(py, "call_soon_threadsafe"), callback, Some(&options)).map(drop)
}

/// Called in the thread of the event loop to begin.
#[pyclass(module = "sundown")]
struct Begins {
    owned: Owned<(Py<PyAny>, Sender)>,
}

#[pymethods]
impl Begins {
    fn __call__(&mut self, py: Python<'_>) -> PyResult<()> {
        let Ok(_inside) = exit::in_callback() else { return Ok(()) };
        let Some((awaitable, sender)) = self.owned.take() else { return Ok(()) };
        let ensures =
            || py.import("asyncio")?.call_method1(intern!(py, "ensure_future"), (awaitable,));
        match ensures() {
            Ok(task) => {
                let ends = Ends { sender: Some(sender) };
                task.call_method1(intern!(py, "add_done_callback"), (ends,)).map(drop)
            }
            Err(error) => {
                // The future may have been dropped.
                let _ = sender.send(Err(error));
                Ok(())
            }
        }
    }
}

/// A coroutine that is never begun is closed: Python would warn of it on standard error.
impl Drop for Begins {
    fn drop(&mut self) {
        let Ok(_inside) = exit::in_callback() else { return };
        let Some((awaitable, _sender)) = self.owned.take() else { return };
        compat::attach(|py| {
            let awaitable = awaitable.bind(py);
            let close = || -> PyResult<()> {
                let asyncio = py.import("asyncio")?;
                if asyncio.call_method1(intern!(py, "iscoroutine"), (awaitable,))?.is_truthy()? {
                    awaitable.call_method0(intern!(py, "close"))?;
                }
                Ok(())
            };
            if let Err(error) = close() {
                error.write_unraisable(py, Some(awaitable));
            }
        });
    }
}

/// Called in the thread of the event loop when the result is there.
#[pyclass(module = "sundown")]
struct Ends {
    sender: Option<Sender>,
}

#[pymethods]
impl Ends {
    fn __call__(&mut self, task: &Bound<'_, PyAny>) {
        let Ok(_inside) = exit::in_callback() else { return };
        let result = task.call_method0(intern!(task.py(), "result"));
        if let Some(sender) = self.sender.take() {
            // The future may have been dropped.
            let _ = sender.send(result.map(Bound::unbind));
        }
    }
}
