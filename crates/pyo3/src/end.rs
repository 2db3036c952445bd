//! The futures that have no result at the end.

use std::{mem, sync::TryLockError};

use pyo3::{IntoPyObjectExt as _, intern, prelude::*, types::PyTuple};

use crate::{
    completion::{self, Completion, is_done, without_stop},
    delivery::{WITHOUT_RESULT, ended},
};

/// At the end, nobody of ours sets a result any more, and a handler of the exit that was registered before ours may wait
/// for one.
///
/// What is without a result gets an exception if its event loop is left open, because that handler may run the loop. If
/// the loop runs in a daemon thread, the future is cancelled: nobody need catch that, and `asyncio` says nothing of it on
/// standard error. In that thread nothing of ours is called, because Python may end it wherever it is.
pub(crate) fn give_all_a_result(py: Python<'_>) {
    let mut left = match WITHOUT_RESULT.try_lock() {
        Ok(left) => left,
        Err(TryLockError::Poisoned(left)) => left.into_inner(),
        // A thread that has not ended within the limit; or, in a forked child, one that is not there.
        Err(TryLockError::WouldBlock) => return,
    };
    let left = mem::take(&mut *left);
    for awaiting in left {
        let event_loop = awaiting.locals.event_loop(py);
        // If the loop is not run again, a task that waits for the future lives on with it: if it were destroyed,
        // `asyncio` would say so on standard error.
        mem::forget(awaiting.future.clone_ref(py));
        match Loop::of(&event_loop) {
            Loop::LeftOpen => awaiting.set(py, |_| Err(ended())),
            Loop::Running => {
                let _ = call_of(&event_loop, awaiting.future.bind(py), "cancel", None);
                mem::forget(awaiting);
            }
            Loop::Closed => mem::forget(awaiting),
        }
    }
    for completion in completion::scheduled(py) {
        if let Err(error) = set_by_python(completion.bind(py)) {
            error.write_unraisable(py, None);
        }
    }
}

/// Has a result set by a method of Python's, if the loop runs.
fn set_by_python(completion: &Bound<'_, Completion>) -> PyResult<()> {
    let py = completion.py();
    // Whoever has borrowed it is in the middle of setting the result. Here, it is not borrowed while Python runs: another
    // thread may call it then.
    let future = completion.try_borrow().ok().and_then(|it| it.future(py));
    let Some(future) = future else { return Ok(()) };
    let event_loop = future.bind(py).call_method0(intern!(py, "get_loop"))?;
    if !matches!(Loop::of(&event_loop), Loop::Running) {
        return Ok(());
    }
    let taken = completion.try_borrow_mut().ok().and_then(|mut it| it.take());
    let Some((future, outcome)) = taken else { return Ok(()) };
    let future = future.bind(py);
    if is_done(future)? {
        return Ok(());
    }
    match outcome {
        Ok(value) => call_of(&event_loop, future, "set_result", Some(value)),
        Err(error) => {
            let error = without_stop(py, error).into_py_any(py)?;
            call_of(&event_loop, future, "set_exception", Some(error))
        }
    }
}

/// What an event loop does.
enum Loop {
    Closed,
    /// Somebody may run it again.
    LeftOpen,
    /// In a daemon thread.
    Running,
}

impl Loop {
    fn of(event_loop: &Bound<'_, PyAny>) -> Self {
        let is = |state| event_loop.call_method0(state).and_then(|it| it.extract::<bool>());
        match (is("is_closed"), is("is_running")) {
            (Ok(false), Ok(false)) => Self::LeftOpen,
            (Ok(false), Ok(true)) => Self::Running,
            _ => Self::Closed,
        }
    }
}

/// Has a method of the future called in the thread of its loop.
fn call_of(
    event_loop: &Bound<'_, PyAny>,
    future: &Bound<'_, PyAny>,
    method: &str,
    argument: Option<Py<PyAny>>,
) -> PyResult<()> {
    let mut arguments = vec![future.getattr(method)?];
    arguments.extend(argument.map(|it| it.into_bound(future.py())));
    let arguments = PyTuple::new(future.py(), arguments)?;
    event_loop.call_method1(intern!(future.py(), "call_soon_threadsafe"), arguments).map(drop)
}
