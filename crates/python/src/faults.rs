//! Runtimes that have failed, so that tests can see which exceptions a program gets. Only in a build
//! with the feature `faults`.

#![allow(clippy::panic, reason = "the tests ask for panics")]

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
};
use sundown::runtime::{RuntimeOwner, State};

use crate::runtime::Runtime;

/// A waker that panics on the thread that drives the timer.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// A runtime with a panic: with `task`, in one of its tasks; with `thread`, in its own thread.
#[pyfunction]
pub fn failed(what: &str) -> PyResult<Runtime> {
    let builder = RuntimeOwner::builder("failed").current_thread();
    let failed = |error: &dyn ToString| PyRuntimeError::new_err(error.to_string());
    let owner = builder.start().map_err(|error| failed(&error))?;
    let spawned = match what {
        "task" => owner.spawn::<(), _>("unlucky", |_| async { panic!("a task that panics") }),
        "thread" => owner.spawn("bystander", |stop| stop),
        _ => return Err(PyValueError::new_err("task or thread")),
    };
    drop(spawned.map_err(|error| failed(&error))?);
    if what == "thread" {
        let handle = owner.handle().map_err(|error| failed(&error))?;
        let _context = handle.enter();
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        let waker = Waker::from(Arc::new(Panics));
        let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
        while owner.stats().state != State::Ended {
            thread::yield_now();
        }
    }
    Ok(Runtime::of("failed".to_owned(), owner))
}
