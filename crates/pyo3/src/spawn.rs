//! Tasks of the extension's own that may enter Python.

use std::{
    future::{Future, pending},
    pin::Pin,
    task::{Context, Poll},
};

use sundown::{group::Held, stop::Stop};
use tokio::task::JoinHandle;

use crate::{Closed, entry::Gated, runtime};

/// Same as [`tokio::spawn`](::tokio::spawn), for a task that enters Python by `Python::attach`, or has something to drop that
/// does. It runs on the [runtime](super::tokio::get_runtime) of the library, wherever it is spawned.
///
/// At exit it is dropped before the interpreter goes, as a future of [`future_into_py`](super::tokio::future_into_py) is, and
/// its handle never resolves. After that, new tasks are not polled. All this needs the handler that
/// [`install`](crate::install) registers: this function is given no `Python`, and cannot do so itself.
///
/// For a task that you spawn in another way, in a `JoinSet` for example, use [`until_exit`].
///
/// # Panics
///
/// If Tokio cannot build a runtime, as [`get_runtime`](super::tokio::get_runtime) does.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = UntilExit::new("spawn", future);
    super::tokio::get_runtime().spawn(async {
        match future.await {
            Ok(output) => output,
            Err(Closed) => pending().await,
        }
    })
}

/// Wraps a future, so that it ends when the interpreter is about to exit. Use it for a task that enters Python and that
/// [`spawn`] cannot spawn: one in a `JoinSet`, in a `LocalSet`, or on a runtime of your own.
///
/// The future may enter Python by `Python::attach` at each poll. At exit it is dropped before the interpreter goes, as a
/// future of [`future_into_py`](super::tokio::future_into_py) is, while its destructors can still call Python.
///
/// Spawn it at once: from this call on, until it ends or is dropped, the exit waits for it, within its
/// [limit](crate::set_exit_limit). What runs after it in the same task is not waited for and must not enter Python.
///
/// ```no_run
/// use pyo3::prelude::*;
/// # use sundown_pyo3 as pyo3_async_runtimes;
/// use pyo3_async_runtimes::tokio::{get_runtime, until_exit};
/// use tokio::task::JoinSet;
///
/// /// Calls them at the same time. To drop the set aborts the tasks.
/// fn call_all(callbacks: Vec<Py<PyAny>>) {
///     let mut tasks = JoinSet::new();
///     for callback in callbacks {
///         let calls = async move { Python::attach(|py| callback.call0(py).map(drop)) };
///         tasks.spawn_on(until_exit(calls), get_runtime().handle());
///     }
///     get_runtime().spawn(tasks.join_all());
/// }
/// ```
///
/// # Errors
///
/// The output is [`Closed`] if the interpreter is about to exit. The future has been dropped then.
///
/// # Panics
///
/// If Tokio cannot build a runtime, as [`get_runtime`](super::tokio::get_runtime) does.
#[track_caller]
pub fn until_exit<F: Future>(future: F) -> impl Future<Output = Result<F::Output, Closed>> {
    UntilExit::new("until_exit", future)
}

/// A future that is dropped, inside the gate, when the exit begins or when it is ready.
struct UntilExit<F>(Option<Running<F>>);

struct Running<F> {
    // The order is that in which they are dropped: the exit waits for the last.
    future: Gated<F>,
    stop: Stop,
    _held: Held,
}

impl<F> UntilExit<F> {
    #[track_caller]
    fn new(name: &'static str, future: F) -> Self {
        // From here on it is dropped inside the gate.
        let future = Gated::new(future);
        let _ = super::tokio::get_runtime();
        let Some(made) = runtime::find() else { return Self(None) };
        // In no closure, which would be the place of the call.
        let held = made.tasks.hold(name);
        let stop = made.tasks.stop_signal();
        Self(held.ok().map(|held| Running { future, stop, _held: held }))
    }
}

/// Nothing is pinned in place: what needs it is in a box.
impl<F> Unpin for UntilExit<F> {}

impl<F: Future> Future for UntilExit<F> {
    type Output = Result<F::Output, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.0 else { return Poll::Ready(Err(Closed)) };
        let result = if Pin::new(&mut running.stop).poll(context).is_ready() {
            Err(Closed)
        } else {
            match Pin::new(&mut running.future).poll(context) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => return Poll::Pending,
            }
        };
        self.0 = None;
        Poll::Ready(result)
    }
}
