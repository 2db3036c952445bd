//! The result of a Rust future, on its way to the `asyncio` future that stands for it.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use pyo3::{exceptions::PyRuntimeError, intern, prelude::*};
use pyo3_async_runtimes::{TaskLocals, err::RustPanic};
use sundown::gate::{Entry, EntryGate};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    awaited::Awaited,
    entry,
    exit::{self, Owned},
    outcome::Outcome,
    quiet::InterpreterExits,
};

/// An `asyncio` future that waits for a result. Dropped without one, it gets an exception, unless the
/// interpreter is about to exit.
pub(crate) struct Delivery {
    awaited: Option<Awaited>,
    runtime: Handle,
}

/// The results on their way, on threads for blocking work. The exit waits for them before it closes the gate: what they
/// are made of may need Python when it is dropped.
pub(crate) static UNDER_WAY: EntryGate = EntryGate::new();

/// What delivers a result, and what counts it.
pub(crate) type OnItsWay = (Option<Entry<'static>>, Box<dyn FnOnce(Python<'_>) + Send>);

static ON_THEIR_WAY: Mutex<VecDeque<OnItsWay>> = Mutex::new(VecDeque::new());

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
        let awaited = Awaited::new(py, locals, &future);
        Ok((future, cancelled, Self { awaited: Some(awaited), runtime: runtime.clone() }))
    }

    /// Delivers a result. The conversion and the call into Python are made on a thread for blocking work,
    /// because they wait for the interpreter's lock.
    pub(crate) fn deliver(mut self, result: impl FnOnce(Python<'_>) -> Outcome + Send + 'static) {
        if let Some(awaited) = self.awaited.take() {
            awaited.gets(&self.runtime, result);
        }
    }

    /// Nobody waits any more, and the future has been dropped. PyO3 releases its objects when a thread is attached next,
    /// so one is.
    pub(crate) fn forget(mut self) {
        drop(self.awaited.take().and_then(|it| it.take()));
        if RELEASES.swap(true, Ordering::AcqRel) {
            return;
        }
        let release = || {
            RELEASES.swap(false, Ordering::AcqRel);
            let _ = entry::attach(|_| ());
        };
        let on_a_thread = AssertUnwindSafe(|| drop(self.runtime.spawn_blocking(release)));
        // Tokio panics if the system refuses it a thread. Then the next one has to do.
        if catch_unwind(on_a_thread).is_err() {
            RELEASES.store(false, Ordering::Release);
        }
    }
}

/// Whether a thread is about to be attached, so that objects are released. Acquire and Release: whoever leaves it to that thread has
/// dropped its objects before that is attached.
static RELEASES: AtomicBool = AtomicBool::new(false);

/// In a forked child, no thread of the parent's is.
#[cfg(unix)]
pub(crate) fn forget_releases() {
    RELEASES.store(false, Ordering::Release);
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(awaited) = self.awaited.take() else { return };
        // At the end, the exit gives it one.
        if !exit::has_begun() {
            awaited.gets(&self.runtime, |_| {
                Err(PyRuntimeError::new_err("the future was dropped before it had a result"))
            });
        }
    }
}

/// Delivers one result, if there is one that nobody else has begun with.
fn deliver_one() {
    let Some((under_way, deliver)) = next() else { return };
    // If the gate is closed, nobody can await it any more, and it is kept for ever.
    let mut deliver = Owned::new(deliver);
    let _ = entry::attach(|py| {
        if let Some(deliver) = deliver.take() {
            deliver(py);
        }
    });
    drop(deliver);
    drop(under_way);
}

/// Delivers the results that no other thread has begun with, until the limit has passed.
pub(crate) fn deliver_those_left(py: Python<'_>, has_passed: impl Fn() -> bool) {
    while !has_passed()
        && let Some((_under_way, deliver)) = next()
    {
        deliver(py);
    }
}

fn next() -> Option<OnItsWay> {
    on_their_way().pop_front()
}

/// The lock of the results that no thread has begun with. A fork waits for it; it is held for an instant.
pub(crate) fn on_their_way() -> MutexGuard<'static, VecDeque<OnItsWay>> {
    ON_THEIR_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Awaited {
    fn gets(self, runtime: &Handle, result: impl FnOnce(Python<'_>) -> Outcome + Send + 'static) {
        let under_way = UNDER_WAY.enter().ok();
        on_their_way().push_back((under_way, Box::new(|py| self.set(py, result))));
        let on_a_thread = AssertUnwindSafe(|| drop(runtime.spawn_blocking(deliver_one)));
        // Tokio panics if the system refuses it a thread. Then this one has to wait for the interpreter.
        if catch_unwind(on_a_thread).is_err() {
            deliver_one();
        }
    }

    fn set(self, py: Python<'_>, result: impl FnOnce(Python<'_>) -> Outcome) {
        let Some(waiting) = self.get(py) else { return };
        let set = || -> PyResult<()> {
            if waiting.is_loop_closed(py)? || waiting.is_done(py)? {
                return Ok(());
            }
            // The conversion is the author's.
            let result = catch_unwind(AssertUnwindSafe(|| result(py)))
                .unwrap_or_else(|panic| Err(panicked(&*panic)));
            // The exit may have given it another in between.
            let Some(taken) = self.take() else { return Ok(()) };
            taken.gets(py, result).inspect_err(|_| self.put_back(taken))
        };
        if let Err(error) = set()
            // It may have been closed in between: nobody awaits the future then.
            && !waiting.is_loop_closed(py).unwrap_or(false)
        {
            error.write_unraisable(py, Some(waiting.event_loop.bind(py)));
            if exit::has_begun() {
                // A signal handler has raised. The exit gives it another.
                return;
            }
        }
        drop(self.take());
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

/// What an extension's caller is told after the end.
pub(crate) fn ended() -> PyErr {
    InterpreterExits::new_err(
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
