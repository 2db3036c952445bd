//! The functions of `pyo3_async_runtimes::tokio`, with the same names and signatures.

use std::{
    any::Any,
    borrow::Cow,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pyo3::{IntoPyObject, IntoPyObjectExt as _, intern, prelude::*};
use pyo3_async_runtimes::TaskLocals;
use tokio::{
    runtime::{Builder, Runtime},
    select,
    sync::oneshot,
    task::{self, unconstrained},
};

use crate::{
    Closed, awaitable, compat,
    delivery::{self, Delivery},
    entry::{GATE, Gated},
    exit,
    runtime::{self, OfProcess},
    states,
    worker::Local,
};

pub use crate::spawn::{spawn, until_exit};
#[cfg(feature = "unstable-streams")]
pub use crate::streams::*;
#[cfg(all(feature = "attributes", feature = "testing"))]
pub use pyo3_async_runtimes::tokio::test;
#[cfg(feature = "attributes")]
pub use pyo3_async_runtimes::tokio::{main, re_exports};

::tokio::task_local! {
    static LOCALS: TaskLocals;
}

/// Sets how the runtime is built. Call it before anything uses the runtime.
pub fn init(builder: Builder) {
    runtime::build_with(builder);
}

/// Has this runtime used.
///
/// # Errors
///
/// This process has a runtime already.
#[allow(clippy::result_unit_err, reason = "the signature of pyo3-async-runtimes")]
pub fn init_with_runtime(given: &'static Runtime) -> Result<(), ()> {
    runtime::use_this(given).then_some(()).ok_or(())
}

/// The runtime. What you spawn on it by yourself is not waited for at exit: use [`spawn`] or [`until_exit`] for a task that
/// enters Python, or enter it by [`attach`](crate::attach). This registers no handlers: [`install`](crate::install) does.
///
/// # Panics
///
/// If Tokio cannot build a runtime, as that of *pyo3-async-runtimes* does. The other functions return an
/// error then.
#[must_use]
#[allow(clippy::panic, reason = "the signature of pyo3-async-runtimes has no error")]
pub fn get_runtime<'a>() -> &'a Runtime {
    match runtime::get() {
        Ok(made) => made.runtime,
        Err(error) => panic!("cannot build a Tokio runtime: {error}"),
    }
}

/// Runs a future with these locals.
pub async fn scope<F, R>(locals: TaskLocals, future: F) -> R
where
    F: Future<Output = R> + Send + 'static,
{
    LOCALS.scope(locals, future).await
}

/// The same for a future that is not `Send`.
pub async fn scope_local<F, R>(locals: TaskLocals, future: F) -> R
where
    F: Future<Output = R> + 'static,
{
    LOCALS.scope(locals, future).await
}

/// The event loop of this task, or of this thread.
///
/// # Errors
///
/// There is none.
pub fn get_current_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match LOCALS.try_with(|locals| locals.event_loop(py)) {
        Ok(event_loop) => Ok(event_loop),
        Err(_) => pyo3_async_runtimes::get_running_loop(py),
    }
}

/// The locals of this task, or those of the event loop of this thread.
///
/// # Errors
///
/// There is none.
pub fn get_current_locals(py: Python<'_>) -> PyResult<TaskLocals> {
    match LOCALS.try_with(|locals| compat::clone(py, locals)) {
        Ok(locals) => Ok(locals),
        Err(_) => TaskLocals::with_running_loop(py)?.copy_context(py),
    }
}

/// Runs a future in this event loop until it is done.
///
/// # Errors
///
/// Those of the future and of the event loop; or `RuntimeError`, if the interpreter is about to exit.
pub fn run_until_complete<F, T>(event_loop: Bound<'_, PyAny>, future: F) -> PyResult<T>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: Send + Sync + 'static,
{
    let py = event_loop.py();
    let (sender, mut receiver) = oneshot::channel();
    let locals = TaskLocals::new(event_loop.clone()).copy_context(py)?;
    let awaited = future_into_py_with_locals(py, locals, async move {
        // The receiver waits until the event loop is done.
        let _ = sender.send(future.await?);
        Ok(())
    })?;
    event_loop.call_method1(intern!(py, "run_until_complete"), (awaited,))?;
    receiver.try_recv().map_err(|_| delivery::ended())
}

/// Runs a future in an event loop of its own.
///
/// # Errors
///
/// Those of the future and of the event loop; or `RuntimeError`, if the interpreter is about to exit.
pub fn run<F, T>(py: Python<'_>, future: F) -> PyResult<T>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: Send + Sync + 'static,
{
    let event_loop = py.import("asyncio")?.call_method0("new_event_loop")?;
    let result = run_until_complete(event_loop.clone(), future);
    for last in ["shutdown_asyncgens", "shutdown_default_executor"] {
        // The second is there from Python 3.9 on.
        if event_loop.hasattr(last)? {
            let last = event_loop.call_method0(last)?;
            event_loop.call_method1("run_until_complete", (last,))?;
        }
    }
    event_loop.call_method0("close")?;
    result
}

/// Makes an `asyncio` future of a Rust future, which is spawned. To cancel the one drops the other.
///
/// # Errors
///
/// There is no event loop; or `RuntimeError`, if the interpreter is about to exit.
#[track_caller]
pub fn future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    into_py(py, "future_into_py", || get_current_locals(py), future)
}

/// The same, with a name for the message that says what has not ended at exit. That message has the place of this
/// call, too.
///
/// # Errors
///
/// As of [`future_into_py`].
#[track_caller]
pub fn named_future_into_py<F, T>(
    py: Python<'_>,
    name: impl Into<Cow<'static, str>>,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    into_py(py, name, || get_current_locals(py), future)
}

/// The same, for this event loop.
///
/// # Errors
///
/// `RuntimeError`, if the interpreter is about to exit.
#[track_caller]
pub fn future_into_py_with_locals<F, T>(
    py: Python<'_>,
    locals: TaskLocals,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    into_py(py, "future_into_py_with_locals", || Ok(locals), future)
}

#[track_caller]
fn into_py<F, T>(
    py: Python<'_>,
    name: impl Into<Cow<'static, str>>,
    locals: impl FnOnce() -> PyResult<TaskLocals>,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    // Its thread may be a daemon, which the interpreter ends when it likes.
    let (_inside, (locals, future)) = exit::enter_with((locals, future))?;
    let (made, locals) = (made(py)?, locals()?);
    let (awaited, cancelled, delivery) = Delivery::new(py, &locals, made.runtime.handle())?;
    let future = LOCALS.scope(locals, CatchPanic::new(future));
    let task = Gated::new(async move {
        // The future may have used up what Tokio lets a task do at a time: then nothing of Tokio's is ready after it.
        select! {
            biased;
            result = future => delivery.deliver(|py| result.and_then(|value| value.into_py_any(py))),
            Ok(()) = unconstrained(cancelled) => delivery.forget(),
        }
    });
    let spawned = made.tasks.spawn_on(made.runtime.handle(), name, |_| task);
    spawned.map_err(|_| delivery::ended())?;
    Ok(awaited)
}

/// Makes an `asyncio` future of a Rust future that is not `Send`. At exit it is dropped on its thread, if that runs its
/// `LocalSet` then. The exit does not wait for it.
///
/// # Errors
///
/// There is no event loop; or `RuntimeError`, if the interpreter is about to exit.
///
/// # Panics
///
/// Outside of a `LocalSet`, as that of *pyo3-async-runtimes* does.
pub fn local_future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    local_into_py(py, || get_current_locals(py), future)
}

/// The same, for this event loop.
///
/// # Errors
///
/// `RuntimeError`, if the interpreter is about to exit.
///
/// # Panics
///
/// Outside of a `LocalSet`, as that of *pyo3-async-runtimes* does.
pub fn local_future_into_py_with_locals<F, T>(
    py: Python<'_>,
    locals: TaskLocals,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    local_into_py(py, || Ok(locals), future)
}

fn local_into_py<F, T>(
    py: Python<'_>,
    locals: impl FnOnce() -> PyResult<TaskLocals>,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    // Its thread may be a daemon, which the interpreter ends when it likes.
    let (_inside, (locals, future)) = exit::enter_with((locals, future))?;
    let (made, locals) = (made(py)?, locals()?);
    let (awaited, cancelled, delivery) = Delivery::new(py, &locals, made.runtime.handle())?;
    let stop = made.tasks.stop_signal();
    let future = LOCALS.scope(locals, CatchPanic::new(future));
    let task = Gated::new(async move {
        select! {
            biased;
            result = future => {
                // What is not `Send` becomes an object on this thread.
                let result = compat::attach(|py| result.and_then(|value| value.into_py_any(py)));
                delivery.deliver(|_| result);
            }
            Ok(()) = unconstrained(cancelled) => delivery.forget(),
            // The exit gives it a result. It does not wait for the drop, because nobody may run the `LocalSet` any more.
            () = unconstrained(stop) => {}
        }
    });
    drop(task::spawn_local(Local::new(task)));
    Ok(awaited)
}

/// The runtime of this process, and the handlers, unless the interpreter is about to exit.
fn made(py: Python<'_>) -> PyResult<&'static OfProcess> {
    exit::install(py)?;
    let inside = GATE.enter().map_err(|_| delivery::ended())?;
    states::free_left(py, &inside);
    Ok(runtime::get()?)
}

/// Makes a Rust future of an awaitable, which runs in the event loop of this task or thread.
///
/// # Errors
///
/// There is no event loop; or `RuntimeError`, if the interpreter is about to exit.
pub fn into_future(
    awaitable: Bound<'_, PyAny>,
) -> PyResult<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>> {
    let py = awaitable.py();
    let (_inside, awaitable) = exit::enter_with(awaitable)?;
    exit::install(py)?;
    awaitable::begin(&get_current_locals(py)?, awaitable)
}

/// Waits for a future on this thread, without the interpreter's lock. Inside `asyncio.run`, from Python 3.11 on, the first
/// Ctrl-C only cancels the main task, and the second one ends the wait: in a coroutine, await what
/// [`future_into_py`] returns instead.
///
/// Elsewhere it works like this. The future may enter Python. A signal handler
/// that raises, as that of Ctrl-C does, ends the wait, and the future is dropped; Python calls it on the main thread only.
/// (A future that is always ready for more comes back by Tokio's [cooperation](::tokio::task::coop), as in a task, except on
/// a thread that another runtime polls.) In a callback that a task of the runtime calls, its worker hands its other tasks over first.
///
/// # Errors
///
/// `RuntimeError` in such a callback, if the runtime has no other thread.
///
/// What the handler raised; or `RuntimeError`, if the interpreter is about to exit, also on a daemon thread that waits
/// then, or in a child that was forked during the wait.
pub fn block_on<F: Future + Send>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F::Output: Send,
{
    let runtime = made(py)?.runtime;
    let future = Gated::new(future);
    let waited = exit::wait_for(py, |is_free| InContext { future, runtime, is_free })?;
    waited.map_err(|_| delivery::ended())
}

/// A future that is polled in the context of the runtime until the gate is closed.
struct InContext<F> {
    future: Gated<F>,
    runtime: &'static Runtime,
    /// Whether the runtime may block on this thread.
    is_free: bool,
}

impl<F: Future> Future for InContext<F> {
    type Output = Result<F::Output, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The next slice of the wait asks again.
        if GATE.is_closed() {
            return Poll::Ready(Err(Closed));
        }
        let (runtime, is_free) = (self.runtime, self.is_free);
        let mut future = Pin::new(&mut self.future);
        let polled = if is_free {
            // It returns after one poll, in which the future can do as much as in a poll of a task.
            runtime.handle().block_on(poll_fn(|_| Poll::Ready(future.as_mut().poll(context))))
        } else {
            let _context = runtime.enter();
            future.poll(context)
        };
        polled.map(Ok)
    }
}

/// What is in the future may need the context, as a guard that spawns does.
impl<F> Drop for InContext<F> {
    fn drop(&mut self) {
        let _context = self.runtime.enter();
        self.future.end();
    }
}

/// A future whose panic is its output, also if its destructor panics.
struct CatchPanic<F>(Option<Pin<Box<F>>>);

impl<F> CatchPanic<F> {
    fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future<Output = PyResult<T>>, T> Future for CatchPanic<F> {
    type Output = PyResult<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let caught = |panic: Box<dyn Any + Send>| Poll::Ready(Err(delivery::panicked(&*panic)));
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            // It is not polled again.
            Ok(ready) => {
                let future = self.0.take();
                catch_unwind(AssertUnwindSafe(|| drop(future))).map_or_else(caught, |()| ready)
            }
            Err(panic) => {
                let future = self.0.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
                caught(panic)
            }
        }
    }
}
