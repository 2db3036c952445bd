//! Extension modules with a Tokio runtime, built in the ways that fail at interpreter exit.
//!
//! For the lab only: experiments 60, 61 and 64 compare them with the module that ships. Each is a short
//! reconstruction of a design, and none is anybody's code. A design has two halves: where the runtime
//! is kept and how it can be ended is here; when the program ends it (in `atexit`, in `__del__`, never)
//! is in `experiments/python/designs.py`.

mod gate;
mod handle;
mod owned;
mod static_owner;
mod static_runtime;
mod work;

use pyo3::prelude::*;

/// The designs.
#[pymodule]
mod sundown_designs {
    #[pymodule_export]
    use crate::{
        handle::{CarefulHandle, Handle},
        owned::Owned,
        static_owner::StaticOwner,
        static_runtime::StaticRuntime,
    };
}

fn build() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The runtime was not started, or has ended.
fn ended() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("the runtime has ended")
}
