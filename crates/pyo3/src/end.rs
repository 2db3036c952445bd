//! The futures that have no result at the end.

use std::{ffi::CStr, mem, sync::TryLockError, thread, time::Duration};

use pyo3::{IntoPyObjectExt as _, intern, prelude::*};

use crate::{
    completion::{self, Completion, is_done, without_stop},
    delivery::{Awaiting, WITHOUT_RESULT, ended},
};

/// At the end, nobody of ours sets a result any more, and a handler of the exit that was registered before ours may wait
/// for one.
///
/// What is without a result gets an exception if its event loop is left open, because that handler may run the loop. If
/// the loop runs in a daemon thread, the future is cancelled: nobody need catch that, and `asyncio` says nothing of it on
/// standard error. In that thread nothing of ours is called, because Python may end it wherever it is.
pub(crate) fn give_all_a_result(py: Python<'_>) {
    for awaiting in without_result() {
        let event_loop = awaiting.locals.event_loop(py);
        // If the loop is not run again, a task that waits for the future lives on with it: if it were destroyed,
        // `asyncio` would say so on standard error.
        mem::forget(awaiting.future.clone_ref(py));
        match Loop::of(&event_loop) {
            Loop::LeftOpen => awaiting.set(py, |_| Err(ended())),
            Loop::Running => {
                let cancel = awaiting.future.getattr(py, intern!(py, "cancel"));
                let _ = cancel.and_then(|cancel| {
                    event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (cancel,))
                });
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

/// Those without a result. The lock is held for an instant; in a forked child it may be held by a thread that is not there.
fn without_result() -> Vec<Awaiting> {
    for _ in 0..100 {
        match WITHOUT_RESULT.try_lock() {
            Ok(mut left) => return mem::take(&mut *left),
            Err(TryLockError::Poisoned(left)) => return mem::take(&mut *left.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    Vec::new()
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
    let (method, argument) = match outcome {
        Ok(value) => ("set_result", value),
        Err(error) => ("set_exception", without_stop(py, error).into_py_any(py)?),
    };
    let sets = PyModule::from_code(py, SETS, c"sundown", c"sundown_sets")?.getattr("sets")?;
    let arguments = (sets, future, method, argument);
    event_loop.call_method1(intern!(py, "call_soon_threadsafe"), arguments).map(drop)
}

/// Called in the thread of the loop, where the future may have been cancelled in between.
const SETS: &CStr = c"
def sets(future, method, argument):
    if not future.done():
        getattr(future, method)(argument)
";

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
