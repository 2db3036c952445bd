//! The least that an extension can be: `overhead.py` says how large its file is, and how long its import takes.

use pyo3::prelude::*;
#[cfg(not(feature = "ours"))]
use pyo3_async_runtimes::tokio::future_into_py;
#[cfg(feature = "ours")]
use sundown_pyo3::tokio::future_into_py;

/// A future that is ready at once.
#[pyfunction]
fn ready(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async { Ok(()) })
}

#[pymodule]
fn minimal(module: &Bound<'_, PyModule>) -> PyResult<()> {
    #[cfg(feature = "ours")]
    sundown_pyo3::install(module.py())?;
    module.add_function(wrap_pyfunction!(ready, module)?)
}
