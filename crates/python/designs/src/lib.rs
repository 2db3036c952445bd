//! Extension modules with a Tokio runtime, built in the ways that fail at interpreter exit.
//!
//! For the lab only: experiments 60, 61 and 64 hold them beside the module that ships. Each is a
//! reconstruction, as short as it can be and still be that design; none is anybody's code. A design
//! has two halves. Where the runtime is kept and how it can be ended is here; when the program ends
//! it (in `atexit`, in `__del__`, not at all) is in `experiments/python/designs.py`.

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

/// Nothing was started, or it was started and has ended.
fn ended() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("the runtime has ended")
}
