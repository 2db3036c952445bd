//! What is said instead of a call into Python.

use std::{error, fmt};

use pyo3::PyErr;
use sundown::gate;

use crate::delivery;

/// The interpreter is about to exit, and cannot be entered any more. As an exception it is a `RuntimeError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the interpreter is about to exit")
    }
}

impl error::Error for Closed {}

impl From<gate::Closed> for Closed {
    fn from(_: gate::Closed) -> Self {
        Self
    }
}

impl From<Closed> for PyErr {
    fn from(_: Closed) -> Self {
        delivery::ended()
    }
}
