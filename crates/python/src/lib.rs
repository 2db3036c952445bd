//! The native half of the Python package `sundown`: a Tokio runtime inside an interpreter, and an end
//! of both that nobody notices.
//!
//! | module | what it is about |
//! | --- | --- |
//! | `interpreter` | calling into Python from a Tokio thread, also when the interpreter goes |
//! | `runtime` | the runtime: starting, work, shutting down, the end of the process |
//! | `job` | one piece of work: its delay, its repetition, its call, and its end without one |
//! | `ledger` | which work has not ended, by name and place |
//! | `failure` | what a shutdown came to, as Python's exceptions |
//! | `faults` | (feature) runtimes that have failed, for tests |
//!
//! Classes that a program sees are written in Python, beside this; so are the registration with
//! `atexit` and with `os.register_at_fork`, and the futures that a program waits for.

use pyo3::prelude::*;

mod failure;
#[cfg(feature = "faults")]
mod faults;
mod interpreter;
mod job;
mod ledger;
mod runtime;

/// What the package `sundown` is built on. Nothing here is for others.
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
        interpreter::must_be_the_main_one(module.py())
    }
}
