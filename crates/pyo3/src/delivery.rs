//! The result of a Rust future, on its way to the `asyncio` future that stands for it.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, TryLockError},
};

use pyo3::{
    IntoPyObjectExt as _,
    exceptions::{PyRuntimeError, PyStopIteration, asyncio::CancelledError},
    intern,
    prelude::*,
};
use pyo3_async_runtimes::{TaskLocals, err::RustPanic};
use sundown::gate::EntryGate;
use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    awaitable, compat, entry,
    exit::{self, Owned},
};

/// An `asyncio` future that waits for a result. Dropped without one, it gets an exception, unless the
/// interpreter is about to exit.
pub(crate) struct Delivery {
    awaiting: Option<Awaiting>,
    runtime: Handle,
}

struct Awaiting {
    locals: TaskLocals,
    future: Py<PyAny>,
}

/// The results on their way, on threads for blocking work. The exit waits for them before it closes the gate: what they
/// are made of may need Python when it is dropped.
pub(crate) static UNDER_WAY: EntryGate = EntryGate::new();

/// Those that have no result when the exit has begun.
static WITHOUT_RESULT: Mutex<Vec<Awaiting>> = Mutex::new(Vec::new());

/// What a result becomes: an object, or an exception.
type Result = PyResult<Py<PyAny>>;

impl Delivery {
    /// Makes the `asyncio` future. The receiver hears when it is cancelled.
    pub(crate) fn new<'py>(
        py: Python<'py>,
        locals: &TaskLocals,
        runtime: &Handle,
    ) -> PyResult<(Bound<'py, PyAny>, oneshot::Receiver<()>, Self)> {
        let future = locals.event_loop(py).call_method0(intern!(py, "create_future"))?;
        let (cancels, cancelled) = oneshot::channel();
        let callback = OnDone { cancels: Some(cancels) };
        future.call_method1(intern!(py, "add_done_callback"), (callback,))?;
        let awaiting =
            Awaiting { locals: compat::clone(py, locals), future: future.clone().unbind() };
        Ok((future, cancelled, Self { awaiting: Some(awaiting), runtime: runtime.clone() }))
    }

    /// Delivers a result. The conversion and the call into Python are made on a thread for blocking work,
    /// because they wait for the interpreter's lock.
    pub(crate) fn deliver(mut self, result: impl FnOnce(Python<'_>) -> Result + Send + 'static) {
        if let Some(awaiting) = self.awaiting.take() {
            awaiting.gets(&self.runtime, result);
        }
    }

    /// Nobody waits any more.
    pub(crate) fn forget(mut self) {
        if let Some(awaiting) = self.awaiting.take() {
            awaiting.gets(&self.runtime, |py| Ok(py.None()));
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(awaiting) = self.awaiting.take() else { return };
        if exit::has_begun() {
            WITHOUT_RESULT.lock().unwrap_or_else(PoisonError::into_inner).push(awaiting);
        } else {
            awaiting.gets(&self.runtime, |_| {
                Err(PyRuntimeError::new_err("the future was dropped before it had a result"))
            });
        }
    }
}

/// At the end: what is without a result gets an exception, if its event loop is left open. A handler of the exit that was
/// registered before ours may run that loop.
pub(crate) fn end(py: Python<'_>) {
    let mut left = match WITHOUT_RESULT.try_lock() {
        Ok(left) => left,
        Err(TryLockError::Poisoned(left)) => left.into_inner(),
        // A thread that has not ended within the limit; or, in a forked child, one that is not there.
        Err(TryLockError::WouldBlock) => return,
    };
    let left = mem::take(&mut *left);
    for awaiting in left {
        let event_loop = awaiting.locals.event_loop(py);
        let is = |state| event_loop.call_method0(state).and_then(|it| it.extract::<bool>());
        // A loop that still runs is that of a daemon thread, which Python stops where it is.
        let is_left_open = matches!((is("is_closed"), is("is_running")), (Ok(false), Ok(false)));
        // If the loop is not run again, a task that waits for the future lives on with it: if it were destroyed,
        // `asyncio` would say so on standard error.
        mem::forget(awaiting.future.clone_ref(py));
        match is_left_open {
            true => awaiting.set(py, |_| Err(ended())),
            false => mem::forget(awaiting),
        }
    }
}

/// Delivers, unless that has been done.
fn take<F: FnOnce(Python<'_>) -> Result>(both: &Mutex<Option<(Awaiting, F)>>) {
    let taken = both.lock().unwrap_or_else(PoisonError::into_inner).take();
    // If the gate is closed, nobody can await it any more, and it is kept for ever.
    let mut taken = Owned::new(taken);
    let _ = entry::attach(|py| {
        if let Some((awaiting, result)) = taken.take().flatten() {
            awaiting.set(py, result);
        }
    });
}

impl Awaiting {
    fn gets(self, runtime: &Handle, result: impl FnOnce(Python<'_>) -> Result + Send + 'static) {
        let under_way = UNDER_WAY.enter().ok();
        let both = Arc::new(Mutex::new(Some((self, result))));
        let later = Arc::clone(&both);
        let deliver = move || {
            take(&later);
            drop(under_way);
        };
        let on_a_thread = AssertUnwindSafe(|| drop(runtime.spawn_blocking(deliver)));
        // Tokio panics if the system refuses it a thread. Then this one has to wait for the interpreter.
        if catch_unwind(on_a_thread).is_err() {
            take(&both);
        }
    }

    fn set(self, py: Python<'_>, result: impl FnOnce(Python<'_>) -> Result) {
        let event_loop = self.locals.event_loop(py);
        let is_closed =
            || -> PyResult<bool> { event_loop.call_method0(intern!(py, "is_closed"))?.extract() };
        let set = || -> PyResult<()> {
            if is_closed()? || is_done(self.future.bind(py))? {
                return Ok(());
            }
            // The conversion is the author's.
            let result = catch_unwind(AssertUnwindSafe(|| result(py)))
                .unwrap_or_else(|panic| Err(panicked(&*panic)));
            let completion = Completion { owned: Owned::new((self.future.clone_ref(py), result)) };
            awaitable::call_soon(&event_loop, py.None().bind(py), completion)
        };
        if let Err(error) = set() {
            // It may have been closed in between: nobody awaits the future then.
            if !is_closed().unwrap_or(false) {
                error.write_unraisable(py, Some(&event_loop));
            }
        }
    }
}

fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    future.call_method0(intern!(future.py(), "done"))?.extract()
}

/// What an extension's caller is told after the end.
pub(crate) fn ended() -> PyErr {
    PyRuntimeError::new_err(
        "the runtime of this extension has been shut down, because the interpreter is about to exit",
    )
}

/// The error of a child that was forked while its parent waited for a future of Rust.
pub(crate) fn forked() -> PyErr {
    PyRuntimeError::new_err(
        "this process was forked while it waited for a future of Rust, which only its parent can finish",
    )
}

/// What stands for a panic.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    RustPanic::new_err(format!("rust future panicked: {}", text.unwrap_or("unknown error")))
}

/// Called in the thread of the event loop when the result is there.
#[pyclass(module = "sundown")]
struct Completion {
    owned: Owned<(Py<PyAny>, Result)>,
}

#[pymethods]
impl Completion {
    fn __call__(&mut self, py: Python<'_>) -> PyResult<()> {
        let Ok(_inside) = exit::in_callback() else { return Ok(()) };
        let Some((future, result)) = self.owned.take() else { return Ok(()) };
        let future = future.bind(py);
        // Cancelled in between.
        if is_done(future)? {
            return Ok(());
        }
        match result {
            Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
            Err(error) if error.is_instance_of::<CancelledError>(py) => {
                future.call_method0(intern!(py, "cancel"))?
            }
            Err(error) => {
                // No future takes that: it would end the coroutine that awaits it.
                let error = if error.is_instance_of::<PyStopIteration>(py) {
                    let instead = PyRuntimeError::new_err("the future raised StopIteration");
                    instead.set_cause(py, Some(error));
                    instead
                } else {
                    error
                };
                future.call_method1(intern!(py, "set_exception"), (error.into_py_any(py)?,))?
            }
        };
        Ok(())
    }
}

/// Called in the thread of the event loop when the future is done.
#[pyclass(module = "sundown")]
struct OnDone {
    cancels: Option<oneshot::Sender<()>>,
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
