//! The gate that every thread passes before it enters Python.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pyo3::Python;
use sundown::gate::EntryGate;

use crate::{Closed, compat, exit, states};

/// The gate of this library: one, because there is one interpreter. In a forked child it counts anew.
///
/// [`install`](crate::install) has it closed at exit. If you have an exit handler of your own, close it there and
/// wait until it is empty, [without the interpreter's lock](crate::wait).
pub static GATE: EntryGate = EntryGate::new();

/// Same as `Python::attach`, for a thread of your own and for closures of `spawn_blocking`.
///
/// The interpreter is not finalized while the closure runs, until the limit of the exit has passed.
///
/// # Errors
///
/// [`Closed`], if the interpreter is about to be finalized. The closure is not called.
pub fn attach<R>(call: impl for<'py> FnOnce(Python<'py>) -> R) -> Result<R, Closed> {
    let inside = GATE.enter()?;
    let made = states::make(&inside);
    Ok(compat::attach(|py| {
        let _state = made.until_detached(py);
        states::free_left(py, &inside);
        if let Err(error) = exit::install(py) {
            error.write_unraisable(py, None);
        }
        call(py)
    }))
}

/// A future that is polled, and dropped, inside the gate. What is in it may enter Python at each poll.
///
/// When the gate is closed, it is not polled any more, and not dropped either: its destructors may need the
/// interpreter, and the process is about to end.
pub(crate) struct Gated<F>(Option<Pin<Box<F>>>);

impl<F> Gated<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }

    /// Drops the future.
    pub(crate) fn end(&mut self) {
        let Some(future) = self.0.take() else { return };
        match GATE.enter() {
            Ok(inside) => {
                states::keep(&inside);
                drop(future);
            }
            Err(_) => mem::forget(future),
        }
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match (GATE.enter(), &mut self.0) {
            (Ok(inside), Some(future)) => {
                states::keep(&inside);
                future.as_mut().poll(context)
            }
            // The process is about to end.
            _ => Poll::Pending,
        }
    }
}

impl<F> Drop for Gated<F> {
    fn drop(&mut self) {
        self.end();
    }
}
