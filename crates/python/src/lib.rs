//! The native half of the Python package `sundown`: a Tokio runtime inside an interpreter, and a clean
//! end of both.
//!
//! | module | what it is about |
//! | --- | --- |
//! | `runtime` | the runtime: starting, work, shutting down, the end of the process |
//! | `job` | one piece of work: its delay, its repetition, its call, and what happens if it is dropped |
//! | `ledger` | the work that has not ended, by name and place |
//! | `failure` | the errors of a shutdown, as Python's exceptions |
//! | `faults` | (feature) runtimes that have failed, for tests |
//!
//! The classes that a program sees are written in Python, beside this. So are the futures that it
//! waits for, and the registration with `atexit`. How a thread enters the interpreter, and leaves it in time, is
//! *sundown-pyo3*'s.

use pyo3::prelude::*;
use sundown_pyo3::install_for_forks;

mod failure;
#[cfg(feature = "faults")]
mod faults;
mod job;
mod ledger;
mod runtime;

/// Private to the package `sundown`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::job::Job;
    #[pymodule_export]
    use super::runtime::{Ending, Runtime, exit};

    #[cfg(feature = "faults")]
    #[pymodule_export]
    use super::faults::failed;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        install_for_forks(module.py())
    }
}
