//! An extension module on pyo3-async-runtimes, built twice: with the crate as it is released, and with a
//! crate whose cell can be taken.
//!
//! For the lab only: experiment 65 compares the two. `takeable.patch` is the whole difference.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use pyo3::prelude::*;
#[cfg(feature = "takeable")]
use pyo3_async_runtimes::tokio::take_runtime;
use pyo3_async_runtimes::tokio::{future_into_py, get_runtime};
use tokio::{task, time::sleep};

/// The module. The two builds have different names.
#[cfg_attr(feature = "takeable", pymodule(name = "sundown_cell_patched"))]
#[cfg_attr(not(feature = "takeable"), pymodule(name = "sundown_cell_released"))]
mod cell {
    #[pymodule_export]
    use super::{access, call_for_ever, nap};
    #[cfg(feature = "takeable")]
    #[pymodule_export]
    use super::{empty, take, take_holding_the_lock};
}

/// An awaitable of the event loop, which a timer of the runtime resolves.
#[pyfunction]
fn nap(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move {
        sleep(Duration::from_secs_f64(seconds)).await;
        Ok(())
    })
}

/// Calls it on the runtime again and again. Nobody waits for that.
#[pyfunction]
fn call_for_ever(callable: Py<PyAny>) {
    get_runtime().spawn(async move {
        loop {
            task::yield_now().await;
            Python::attach(|py| {
                if let Err(error) = callable.call0(py) {
                    error.print(py);
                }
            });
        }
    });
}

/// How many picoseconds it takes to ask the cell for the runtime, on one of several threads that do so.
#[pyfunction]
fn access(py: Python<'_>, threads: u32, times: u32) -> u128 {
    // The first one starts the runtime.
    black_box(get_runtime());
    py.detach(|| {
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..times {
                        black_box(get_runtime());
                    }
                });
            }
        });
        began.elapsed().as_nanos() * 1000 / u128::from(times.max(1))
    })
}

/// Takes the runtime out of its cell, and waits for its threads within a limit, without the interpreter's
/// lock. Returns whether there was one.
#[cfg(feature = "takeable")]
#[pyfunction]
fn take(py: Python<'_>, limit: f64) -> bool {
    py.detach(|| take_runtime().map(|it| it.shutdown_timeout(Duration::from_secs_f64(limit))))
        .is_some()
}

/// The same, with the lock and without a limit.
#[cfg(feature = "takeable")]
#[pyfunction]
fn take_holding_the_lock() {
    drop(take_runtime());
}

/// Empties the cell, so that the next use starts another runtime.
#[cfg(feature = "takeable")]
#[pyfunction]
fn empty() {
    pyo3_async_runtimes::tokio::empty_cell();
}
