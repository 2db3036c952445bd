//! What runs on the runtimes: calls into Python, from Tokio's threads.

use std::{thread, time::Duration};

use pyo3::prelude::*;
use tokio::{runtime::Handle, task};

use crate::gate::Gate;

/// A piece of work: a Python callable, how often it is called, and what is called in the end.
pub struct Work {
    pub callable: Py<PyAny>,
    /// `None` is again and again.
    pub times: Option<u64>,
    pub done: Option<Py<PyAny>>,
    pub gate: Gate,
}

impl Work {
    /// Calls on a worker thread, with a chance for other tasks, and to be ended, between two calls.
    pub fn spawn(self, runtime: &Handle) {
        runtime.spawn(async move {
            for _ in 0..self.times.unwrap_or(u64::MAX) {
                task::yield_now().await;
                if !self.call(&self.callable) {
                    return;
                }
            }
            if let Some(done) = &self.done {
                self.call(done);
            }
        });
    }

    /// Calls on a thread for blocking work, which nothing can end, after so long.
    pub fn spawn_blocking(self, runtime: &Handle, after: Duration) {
        runtime.spawn_blocking(move || {
            thread::sleep(after);
            for _ in 0..self.times.unwrap_or(u64::MAX) {
                if !self.call(&self.callable) {
                    return;
                }
            }
            if let Some(done) = &self.done {
                self.call(done);
            }
        });
    }

    /// Whether it could be called: the gate may be closed.
    fn call(&self, callable: &Py<PyAny>) -> bool {
        let Some(_inside) = self.gate.enter() else { return false };
        Python::attach(|py| {
            if let Err(error) = callable.call0(py) {
                error.print(py);
            }
        });
        true
    }
}
