//! What a result becomes in Python, and how a future of `asyncio` gets it.

use std::{ffi::CStr, sync::OnceLock};

use pyo3::{
    IntoPyObjectExt as _,
    exceptions::{PyRuntimeError, PyStopIteration, asyncio::CancelledError},
    intern,
    prelude::*,
};

use crate::{awaitable::call_soon, awaited::Waiting};

/// An object, or an exception.
pub(crate) type Outcome = PyResult<Py<PyAny>>;

/// What the event loop calls. It is Python's, so it needs no gate: the loop may call it at any time, also in a daemon
/// thread while the interpreter is finalized. The future may have been cancelled in between.
const SETS: &CStr = c"
def sets(future, method, *arguments):
    if not future.done():
        getattr(future, method)(*arguments)
";

/// That function. It is made once; two threads may do so at the same time, and one of theirs is used. Coverage tools look for the
/// file of what they have traced, unless its name is in angle brackets.
fn sets(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static SETS_IT: OnceLock<Py<PyAny>> = OnceLock::new();
    if let Some(made) = SETS_IT.get() {
        return Ok(made.bind(py));
    }
    let module = PyModule::from_code(py, SETS, c"<sundown>", c"sundown_sets")?;
    let made = module.getattr(intern!(py, "sets"))?.unbind();
    Ok(SETS_IT.get_or_init(|| made).bind(py))
}

impl Waiting {
    /// Has the future's event loop set the outcome.
    pub(crate) fn gets(&self, py: Python<'_>, outcome: Outcome) -> PyResult<()> {
        let (method, argument) = match outcome {
            Ok(value) => (intern!(py, "set_result"), Some(value)),
            Err(error) => match cancellation(py, &error)? {
                Some(message) => (intern!(py, "cancel"), message),
                None => {
                    let error = without_stop(py, error).into_py_any(py)?;
                    (intern!(py, "set_exception"), Some(error))
                }
            },
        };
        let (sets, future) = (sets(py)?, self.future.bind(py));
        let (event_loop, context) = (self.event_loop.bind(py), py.None());
        match argument {
            Some(argument) => {
                call_soon(event_loop, context.bind(py), (sets, future, method, argument))
            }
            None => call_soon(event_loop, context.bind(py), (sets, future, method)),
        }
    }

    pub(crate) fn is_done(&self, py: Python<'_>) -> PyResult<bool> {
        self.future.call_method0(py, intern!(py, "done"))?.extract(py)
    }

    pub(crate) fn is_loop_closed(&self, py: Python<'_>) -> PyResult<bool> {
        self.event_loop.call_method0(py, intern!(py, "is_closed"))?.extract(py)
    }
}

/// The message of a `CancelledError` that says no more than that: then the future is cancelled. A subclass is an exception like any
/// other, and so is one that has a cause.
fn cancellation(py: Python<'_>, error: &PyErr) -> PyResult<Option<Option<Py<PyAny>>>> {
    if !error.get_type(py).is(py.get_type::<CancelledError>()) || error.cause(py).is_some() {
        return Ok(None);
    }
    let arguments = error.value(py).getattr(intern!(py, "args"))?;
    Ok(match arguments.len()? {
        0 => Some(None),
        1 => Some(Some(arguments.get_item(0)?.unbind())),
        _ => None,
    })
}

/// No future takes `StopIteration`: it would end the coroutine that awaits it.
fn without_stop(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let instead = PyRuntimeError::new_err("the future raised StopIteration");
    instead.set_cause(py, Some(error));
    instead
}
