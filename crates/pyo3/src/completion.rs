//! What sets a result, in the thread of the event loop.

#![allow(unsafe_code, reason = "an object is found by its address")]

use std::{
    collections::BTreeSet,
    mem, ptr,
    sync::{Mutex, PoisonError},
};

use pyo3::{
    IntoPyObjectExt as _,
    exceptions::{PyRuntimeError, PyStopIteration, asyncio::CancelledError},
    intern,
    prelude::*,
};
use tokio::sync::oneshot;

use crate::exit::{self, Owned};

/// What a result becomes: an object, or an exception.
pub(crate) type Outcome = PyResult<Py<PyAny>>;

/// The addresses of completions that have not been called.
static SCHEDULED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// Called in the thread of the event loop when the result is there.
#[pyclass(module = "sundown")]
pub(crate) struct Completion {
    owned: Owned<(Py<PyAny>, Outcome)>,
    /// Its own, while it is among those that are scheduled.
    address: usize,
}

/// All that have not been called.
pub(crate) fn scheduled(py: Python<'_>) -> Vec<Py<Completion>> {
    let scheduled = SCHEDULED.lock().unwrap_or_else(PoisonError::into_inner);
    let object = |address: &usize| {
        let object = ptr::with_exposed_provenance_mut(*address);
        // SAFETY: the completion is there: its destructor removes the address, and does so on an attached thread, which is
        // not another than this one.
        unsafe { Bound::from_borrowed_ptr(py, object) }.extract().ok()
    };
    scheduled.iter().filter_map(object).collect()
}

/// In a forked child, those of the parent are called by nobody.
#[cfg(unix)]
pub(crate) fn forget_scheduled() {
    // Whoever has locked it is attached, and so does not exist here.
    if let Ok(mut scheduled) = SCHEDULED.try_lock() {
        scheduled.clear();
    }
}

impl Completion {
    /// One that is about to be scheduled.
    pub(crate) fn scheduled(
        py: Python<'_>,
        future: Py<PyAny>,
        outcome: Outcome,
    ) -> PyResult<Py<Self>> {
        let it = Py::new(py, Self { owned: Owned::new((future, outcome)), address: 0 })?;
        let address = it.as_ptr().expose_provenance();
        it.borrow_mut(py).address = address;
        SCHEDULED.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
        Ok(it)
    }

    fn is_called(&mut self) {
        if self.address != 0 {
            SCHEDULED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
            self.address = 0;
        }
    }

    /// The future, unless it has its result.
    pub(crate) fn future(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.owned.get().map(|(future, _)| future.clone_ref(py))
    }

    /// What it sets, unless that has been done. Nobody sets it any more.
    pub(crate) fn take(&mut self) -> Option<(Py<PyAny>, Outcome)> {
        self.owned.take()
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.is_called();
    }
}

#[pymethods]
impl Completion {
    fn __call__(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Ok(_inside) = exit::in_callback() else {
            // It stays among those that are scheduled, and the exit has Python set the result.
            mem::forget(this.clone());
            return Ok(());
        };
        let taken = {
            let mut this = this.try_borrow_mut()?;
            this.is_called();
            this.take()
        };
        let Some((future, result)) = taken else { return Ok(()) };
        let future = future.bind(py);
        // Cancelled in between.
        if is_done(future)? {
            return Ok(());
        }
        match result {
            Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
            // A subclass is an exception like any other.
            Err(error) if error.get_type(py).is(py.get_type::<CancelledError>()) => {
                let message = error.value(py).getattr(intern!(py, "args"))?.get_item(0);
                future.call_method1(intern!(py, "cancel"), (message.ok(),))?
            }
            Err(error) => {
                let error = without_stop(py, error).into_py_any(py)?;
                future.call_method1(intern!(py, "set_exception"), (error,))?
            }
        };
        Ok(())
    }
}

pub(crate) fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    future.call_method0(intern!(future.py(), "done"))?.extract()
}

/// No future takes `StopIteration`: it would end the coroutine that awaits it.
pub(crate) fn without_stop(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let instead = PyRuntimeError::new_err("the future raised StopIteration");
    instead.set_cause(py, Some(error));
    instead
}

/// Called in the thread of the event loop when the future is done.
#[pyclass(module = "sundown")]
pub(crate) struct OnDone {
    cancels: Option<oneshot::Sender<()>>,
}

impl OnDone {
    pub(crate) fn new(cancels: oneshot::Sender<()>) -> Self {
        Self { cancels: Some(cancels) }
    }
}

#[pymethods]
impl OnDone {
    fn __call__(&mut self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(_inside) = exit::in_callback() else { return Ok(()) };
        let py = future.py();
        let is_cancelled = future.call_method0(intern!(py, "cancelled"))?.extract()?;
        if is_cancelled && let Some(cancels) = self.cancels.take() {
            // The task may have ended.
            let _ = cancels.send(());
        }
        Ok(())
    }
}
