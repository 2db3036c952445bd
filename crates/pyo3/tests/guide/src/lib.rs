use std::time::Duration;

use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::{block_on, future_into_py, spawn};

mod client;

async fn get(key: String) -> PyResult<String> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(format!("the value of {key}"))
}

#[pymodule]
mod guide {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::{call_every, get_async, get_blocking};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        pyo3_async_runtimes::install(module.py()) // registers the exit handler
    }
}

/// `await guide.get_async("key")`
#[pyfunction]
fn get_async(py: Python<'_>, key: String) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, get(key))
}

/// The same for code without an event loop. Ctrl-C interrupts it.
#[pyfunction]
fn get_blocking(py: Python<'_>, key: String) -> PyResult<String> {
    block_on(py, get(key))?
}

/// Calls back again and again, in a task that nobody waits for, until an exception or the exit.
#[pyfunction]
fn call_every(seconds: u64, callback: Py<PyAny>) {
    let call = move || Python::attach(|py| callback.call0(py).map_err(|error| error.print(py)));
    spawn(async move {
        while call().is_ok() {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    });
}
