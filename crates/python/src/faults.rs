//! Runtimes that have failed, so that tests can see what a program is told then. Not in the package:
//! `cargo build --features faults` has it.

#![allow(clippy::panic, reason = "that is what is asked for")]

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

/// A waker that panics, called by the thread that drives the timer.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// A runtime that something has happened to: `task`, one of its tasks has panicked; `thread`, its own
/// thread has.
#[pyfunction]
pub fn failed(what: &str) -> PyResult<Runtime> {
    let builder = RuntimeOwner::builder("failed").current_thread();
    let refused = |error: &dyn ToString| PyRuntimeError::new_err(error.to_string());
    let owner = builder.start().map_err(|error| refused(&error))?;
    let told = match what {
        "task" => owner.spawn::<(), _>("unlucky", |_| async { panic!("a task that panics") }),
        "thread" => owner.spawn("bystander", |stop| stop),
        _ => return Err(PyValueError::new_err("task or thread")),
    };
    drop(told.map_err(|error| refused(&error))?);
    if what == "thread" {
        let handle = owner.handle().map_err(|error| refused(&error))?;
        let _context = handle.enter();
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        let waker = Waker::from(Arc::new(Panics));
        let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
        while owner.stats().state != State::Ended {
            thread::yield_now();
        }
    }
    Ok(Runtime::of(owner))
}
