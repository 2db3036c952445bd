//! The futures that have no result at the end.

use std::mem;

use pyo3::{exceptions::PyException, intern, prelude::*};

use crate::{
    awaited::{self, Waiting},
    delivery::ended,
};

/// At the end, nobody of ours sets a result any more, and a handler of the exit that was registered before ours may wait
/// for one. That is also so if the Rust future has outlived the limit, or if its result is being converted.
///
/// What is without a result gets an exception if its event loop is left open, because that handler may run the loop. If
/// the loop runs in a daemon thread, the future is cancelled: nobody need catch that, and `asyncio` says nothing of it on
/// standard error. That comes [later](UNTIL_CANCELLED), because what the thread does then may print something.
///
/// # Errors
///
/// What a signal handler has raised meanwhile, as that of Ctrl-C does. All have a result nevertheless.
pub(crate) fn give_all_a_result(py: Python<'_>) -> PyResult<()> {
    let mut given = Ok(());
    for waiting in awaited::take_all() {
        // If the loop is not run again, a task that waits for the future lives on with it: if it were destroyed,
        // `asyncio` would say so on standard error.
        mem::forget(waiting.future.clone_ref(py));
        given = given.and(waiting.gives_up(py));
    }
    given
}

/// How often it is tried, in spite of signal handlers that raise.
const TRIES: usize = 3;

/// How long a future in a daemon thread is left as it is, in seconds. Mostly the interpreter is gone by then, and nobody has
/// waited for it.
const UNTIL_CANCELLED: f64 = 1.0;

impl Waiting {
    /// A signal handler may raise in whatever Python does here. So may the loop: if it takes nothing any more, nobody awaits the
    /// future, and there is nothing to tell.
    fn gives_up(&self, py: Python<'_>) -> PyResult<()> {
        let mut raised = Ok(());
        for _ in 0..TRIES {
            match self.tries_to_give_up(py) {
                Ok(()) if self.is_loop_closed(py).unwrap_or(false) => break,
                Ok(()) => return raised,
                Err(error) => raised = raised.and(Err(error)),
            }
        }
        // The loop raises an `Exception`. Ctrl-C raises `KeyboardInterrupt`, which is not one.
        raised.or_else(|error| match error.is_instance_of::<PyException>(py) {
            true => Ok(()),
            false => Err(error),
        })
    }

    fn tries_to_give_up(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_loop_closed(py)? || self.is_done(py)? {
            return Ok(());
        }
        let event_loop = self.event_loop.bind(py);
        if !event_loop.call_method0(intern!(py, "is_running"))?.extract::<bool>()? {
            return self.gets(py, Err(ended()));
        }
        let cancel = self.future.getattr(py, intern!(py, "cancel"))?;
        let call_later = event_loop.getattr(intern!(py, "call_later"))?;
        let arguments = (call_later, UNTIL_CANCELLED, cancel);
        event_loop.call_method1(intern!(py, "call_soon_threadsafe"), arguments).map(drop)
    }
}
