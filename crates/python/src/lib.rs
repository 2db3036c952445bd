//! The native half of the Python package `sundown`: a Tokio runtime inside an interpreter, and a clean
//! end of both.
//!
//! | module | what it is about |
//! | --- | --- |
//! | `interpreter` | calling into Python from a Tokio thread, even while the interpreter is finalized |
//! | `runtime` | the runtime: starting, work, shutting down, the end of the process |
//! | `job` | one piece of work: its delay, its repetition, its call, and what happens if it is dropped |
//! | `ledger` | the work that has not ended, by name and place |
//! | `failure` | the errors of a shutdown, as Python's exceptions |
//! | `faults` | (feature) runtimes that have failed, for tests |
//!
//! The classes that a program sees are written in Python, beside this. So are the futures that it
//! waits for, and the registration with `atexit` and with `os.register_at_fork`.

use pyo3::prelude::*;

mod failure;
#[cfg(feature = "faults")]
mod faults;
mod interpreter;
mod job;
mod ledger;
mod runtime;

/// Private to the package `sundown`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::interpreter::{after_fork, before_fork};
    #[pymodule_export]
    use super::job::Job;
    #[pymodule_export]
    use super::runtime::{Runtime, exit};

    #[cfg(feature = "faults")]
    #[pymodule_export]
    use super::faults::failed;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        interpreter::check_main(module.py())
    }
}
