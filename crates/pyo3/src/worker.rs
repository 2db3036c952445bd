//! Waiting on a thread that a runtime has its tasks on.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tokio::{runtime::Handle, task};

use crate::runtime;

thread_local! {
    /// Whether a task of a `LocalSet` is polled, which must stay on its thread.
    static IS_LOCAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs what waits for the library's runtime, and says whether a runtime may block on it: not on a thread that one has
/// tasks on. In one of its tasks, such as a callback is called by, the thread is a
/// worker: it hands its other tasks and the runtime's timers over, or nobody might look after them. That is
/// `block_in_place`; Tokio documents that it runs the closure as it is on a thread that is no worker.
///
/// # Errors
///
/// `RuntimeError` on the only thread of the runtime, or in a `LocalSet` that this crate does not know of. Tokio panics
/// there, which the panic hook prints.
pub(crate) fn wait_in_place<R>(wait: impl FnOnce(bool) -> R) -> PyResult<R> {
    // In a child that a task has forked, the thread is still in the context of its parent's runtime, which must not go on
    // here. And while a runtime of somebody else waits, the library's goes on.
    let current = Handle::try_current();
    let is_in_task = task::try_id().is_some() && current.as_ref().is_ok_and(is_ours);
    // A thread of a `LocalSet` is no worker.
    if !is_in_task || IS_LOCAL.get() {
        return Ok(wait(current.is_err_and(|error| error.is_missing_context())));
    }
    let mut has_begun = false;
    let waited = catch_unwind(AssertUnwindSafe(|| {
        task::block_in_place(|| {
            has_begun = true;
            wait(true)
        })
    }));
    waited.or_else(|panic| match has_begun {
        true => resume_unwind(panic),
        false => Err(PyRuntimeError::new_err(
            "this blocks, and was called in a task that has the only thread of its runtime: call it on another thread",
        )),
    })
}

/// Whether it is that of the library in this process.
fn is_ours(handle: &Handle) -> bool {
    runtime::find().is_some_and(|made| made.runtime.handle().id() == handle.id())
}

/// A future of a `LocalSet`.
pub(crate) struct Local<F>(Pin<Box<F>>);

impl<F> Local<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Local<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _reset = Reset(IS_LOCAL.replace(true));
        self.0.as_mut().poll(context)
    }
}

/// Sets the flag back, also after a panic.
struct Reset(bool);

impl Drop for Reset {
    fn drop(&mut self) {
        // The thread may be at its end.
        let _ = IS_LOCAL.try_with(|is_local| is_local.set(self.0));
    }
}
