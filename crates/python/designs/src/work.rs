//! The work on the runtimes: calls into Python from Tokio's threads.

use std::{thread, time::Duration};

use pyo3::prelude::*;
use tokio::{runtime::Handle, task};

use crate::gate::Gate;

/// Calls `callable` on a worker thread, `times` times or for ever, and then `done`. Between two calls it
/// yields, so that other tasks run and the runtime can end it.
pub fn submit(
    runtime: &Handle,
    gate: Gate,
    callable: Py<PyAny>,
    times: Option<u64>,
    done: Option<Py<PyAny>>,
) {
    runtime.spawn(async move {
        for _ in 0..times.unwrap_or(u64::MAX) {
            task::yield_now().await;
            if !call(&gate, &callable) {
                return;
            }
        }
        if let Some(done) = &done {
            call(&gate, done);
        }
    });
}

/// Calls `callable` on a blocking thread, which nothing can end, after `after` seconds.
pub fn submit_blocking(
    runtime: &Handle,
    gate: Gate,
    callable: Py<PyAny>,
    times: Option<u64>,
    after: f64,
) {
    runtime.spawn_blocking(move || {
        thread::sleep(Duration::from_secs_f64(after));
        for _ in 0..times.unwrap_or(u64::MAX) {
            if !call(&gate, &callable) {
                return;
            }
        }
    });
}

/// Calls it, unless the gate is closed. Returns whether it called.
fn call(gate: &Gate, callable: &Py<PyAny>) -> bool {
    let Some(_inside) = gate.enter() else { return false };
    Python::attach(|py| {
        if let Err(error) = callable.call0(py) {
            error.print(py);
        }
    });
    true
}
