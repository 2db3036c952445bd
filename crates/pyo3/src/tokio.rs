//! The functions of `pyo3_async_runtimes::tokio`, with the same names and signatures.

use std::{
    any::Any,
    borrow::Cow,
    cell::OnceCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pyo3::{IntoPyObject, IntoPyObjectExt as _, prelude::*};
use pyo3_async_runtimes::{
    TaskLocals,
    err::RustPanic,
    generic::{self, ContextExt, JoinError, LocalContextExt, SpawnLocalExt},
};
use tokio::{
    runtime::{Builder, Runtime},
    select, task,
};

use crate::{
    delivery::{self, Delivery},
    entry::{GATE, Gated},
    exit, runtime, states,
};

#[cfg(all(feature = "attributes", feature = "testing"))]
pub use pyo3_async_runtimes::tokio::test;
#[cfg(feature = "attributes")]
pub use pyo3_async_runtimes::tokio::{main, re_exports};

/// What the generic functions of *pyo3-async-runtimes* run on.
struct Ours;

::tokio::task_local! {
    static LOCALS: OnceCell<TaskLocals>;
}

/// How a task ended. That of Tokio is not the same type where the task was never spawned.
#[derive(Debug)]
struct Ended(task::JoinError);

impl JoinError for Ended {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.0.into_panic()
    }
}

/// The handle of a task of Tokio.
struct Handle(task::JoinHandle<()>);

impl Future for Handle {
    type Output = Result<(), Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(Ended)
    }
}

impl generic::Runtime for Ours {
    type JoinError = Ended;
    type JoinHandle = Handle;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Handle {
        Handle(get_runtime().spawn(Gated::new(future)))
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(call: F) -> Handle {
        Handle(get_runtime().spawn_blocking(|| {
            if let Ok(inside) = GATE.enter() {
                states::make(&inside);
                call();
            }
        }))
    }
}

impl ContextExt for Ours {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(locals.into(), future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(|locals| locals.get().cloned()).unwrap_or_default()
    }
}

impl SpawnLocalExt for Ours {
    fn spawn_local<F: Future<Output = ()> + 'static>(future: F) -> Handle {
        Handle(task::spawn_local(Gated::new(future)))
    }
}

impl LocalContextExt for Ours {
    fn scope_local<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R>>>
    where
        F: Future<Output = R> + 'static,
    {
        Box::pin(LOCALS.scope(locals.into(), future))
    }
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

/// The runtime. What you spawn on it by yourself is not waited for at exit; in it, use [`attach`](crate::attach) to enter
/// Python.
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
    Ours::scope(locals, future).await
}

/// The same for a future that is not `Send`.
pub async fn scope_local<F, R>(locals: TaskLocals, future: F) -> R
where
    F: Future<Output = R> + 'static,
{
    Ours::scope_local(locals, future).await
}

/// The event loop of this task, or of this thread.
///
/// # Errors
///
/// There is none.
pub fn get_current_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    generic::get_current_loop::<Ours>(py)
}

/// The locals of this task, or those of the event loop of this thread.
///
/// # Errors
///
/// There is none.
pub fn get_current_locals(py: Python<'_>) -> PyResult<TaskLocals> {
    generic::get_current_locals::<Ours>(py)
}

/// Runs a future in this event loop until it is done.
///
/// # Errors
///
/// Those of the future and of the event loop.
pub fn run_until_complete<F, T>(event_loop: Bound<'_, PyAny>, future: F) -> PyResult<T>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: Send + Sync + 'static,
{
    exit::install(event_loop.py())?;
    generic::run_until_complete::<Ours, _, T>(&event_loop, future)
}

/// Runs a future in an event loop of its own.
///
/// # Errors
///
/// Those of the future and of the event loop.
pub fn run<F, T>(py: Python<'_>, future: F) -> PyResult<T>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: Send + Sync + 'static,
{
    exit::install(py)?;
    generic::run::<Ours, F, T>(py, future)
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
    spawn(py, "future_into_py", get_current_locals(py)?, future)
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
    spawn(py, name, get_current_locals(py)?, future)
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
    spawn(py, "future_into_py_with_locals", locals, future)
}

#[track_caller]
fn spawn<F, T>(
    py: Python<'_>,
    name: impl Into<Cow<'static, str>>,
    locals: TaskLocals,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    exit::install(py)?;
    if GATE.is_closed() {
        return Err(delivery::ended());
    }
    let made = runtime::get()?;
    let (awaited, cancelled, delivery) = Delivery::new(py, &locals, made.runtime.handle())?;
    let future = LOCALS.scope(locals.into(), CatchPanic(Box::pin(future)));
    let task = Gated::new(async move {
        select! {
            biased;
            result = future => delivery.deliver(|py| match result {
                Ok(result) => result.and_then(|value| value.into_py_any(py)),
                Err(message) => {
                    Err(RustPanic::new_err(format!("rust future panicked: {message}")))
                }
            }),
            Ok(()) = cancelled => delivery.forget(),
        }
    });
    let spawned = made.tasks.spawn_on(made.runtime.handle(), name, |_| task);
    spawned.map_err(|_| delivery::ended())?;
    Ok(awaited)
}

/// Makes an `asyncio` future of a Rust future that is not `Send`. Call it in a `LocalSet`.
///
/// # Errors
///
/// There is no event loop.
pub fn local_future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    local_future_into_py_with_locals(py, get_current_locals(py)?, future)
}

/// The same, for this event loop.
///
/// # Errors
///
/// Those of the event loop.
pub fn local_future_into_py_with_locals<F, T>(
    py: Python<'_>,
    locals: TaskLocals,
    future: F,
) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py>,
{
    exit::install(py)?;
    #[allow(deprecated, reason = "it is offered as it is there")]
    generic::local_future_into_py_with_locals::<Ours, _, T>(py, locals, future)
}

/// Makes a Rust future of an awaitable, which runs in the event loop of this task or thread.
///
/// # Errors
///
/// There is no event loop.
pub fn into_future(
    awaitable: Bound<'_, PyAny>,
) -> PyResult<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>> {
    exit::install(awaitable.py())?;
    generic::into_future::<Ours>(awaitable)
}

#[cfg(feature = "unstable-streams")]
pub use self::streams::*;

/// Asynchronous generators of Python as streams.
#[cfg(feature = "unstable-streams")]
mod streams {
    use futures_core::Stream;
    use pyo3::prelude::*;
    use pyo3_async_runtimes::{TaskLocals, generic};

    use super::Ours;

    type Item = PyResult<Py<PyAny>>;

    /// Makes a stream of an asynchronous generator, of which a task asks one item after another.
    ///
    /// # Errors
    ///
    /// There is no event loop.
    pub fn into_stream_v1(
        generator: Bound<'_, PyAny>,
    ) -> PyResult<impl Stream<Item = Item> + 'static + use<>> {
        generic::into_stream_v1::<Ours>(generator)
    }

    /// The same, in this event loop.
    ///
    /// # Errors
    ///
    /// Those of the event loop.
    pub fn into_stream_with_locals_v1(
        locals: TaskLocals,
        generator: Bound<'_, PyAny>,
    ) -> PyResult<impl Stream<Item = Item> + 'static + use<>> {
        generic::into_stream_with_locals_v1::<Ours>(locals, generator)
    }

    /// Makes a stream of an asynchronous generator, which a coroutine in its event loop reads.
    ///
    /// # Errors
    ///
    /// There is no event loop.
    pub fn into_stream_v2(
        generator: Bound<'_, PyAny>,
    ) -> PyResult<impl Stream<Item = Py<PyAny>> + 'static + use<>> {
        generic::into_stream_v2::<Ours>(generator)
    }

    /// The same, in this event loop.
    ///
    /// # Errors
    ///
    /// Those of the event loop.
    pub fn into_stream_with_locals_v2(
        locals: TaskLocals,
        generator: Bound<'_, PyAny>,
    ) -> PyResult<impl Stream<Item = Py<PyAny>> + 'static + use<>> {
        generic::into_stream_with_locals_v2::<Ours>(locals, generator)
    }
}

/// Waits for a future on this thread, without the interpreter's lock. A signal handler that raises, as that
/// of Ctrl-C does, ends the wait, and the future is dropped.
///
/// # Errors
///
/// What the handler raised; or `RuntimeError`, if the interpreter is about to exit.
pub fn block_on<F: Future + Send>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F::Output: Send,
{
    exit::install(py)?;
    if GATE.is_closed() {
        return Err(delivery::ended());
    }
    let made = runtime::get()?;
    exit::wait(py, InContext { future: Box::pin(future), runtime: made.runtime })
}

/// A future that is polled in the context of the runtime.
struct InContext<F> {
    future: Pin<Box<F>>,
    runtime: &'static Runtime,
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _context = self.runtime.enter();
        self.future.as_mut().poll(context)
    }
}

/// A future whose panic is its output.
struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.0.as_mut();
        // It is not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(message(&*panic))),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("unknown error").to_owned()
}
