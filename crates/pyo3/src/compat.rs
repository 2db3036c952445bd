//! What PyO3 0.25 to 0.30 name differently.
//!
//! Cargo does not tell a crate which version of a dependency it has chosen, so there is nothing that a `cfg`
//! could ask. But Rust prefers the method of a type to that of a trait. Each name is offered here by a trait,
//! by means of the other name: where PyO3 has both, neither is used, and where it has one, that one is.

// 0.26 and 0.27 have both names.
#![allow(deprecated, dead_code, reason = "they depend on the version of PyO3")]
#![allow(unsafe_code, reason = "one of the names is unsafe")]

use std::sync::OnceLock;

use pyo3::{PyResult, Python, marker::Ungil};
use pyo3_async_runtimes::TaskLocals;

/// The names from 0.26 on.
trait Later<'py>: Sized {
    fn attach<R>(call: impl for<'any> FnOnce(Python<'any>) -> R) -> R;
    fn detach<T: Ungil>(self, call: impl FnOnce() -> T + Ungil) -> T;
    /// # Safety
    ///
    /// This thread is attached for as long as the result is used.
    unsafe fn assume_attached() -> Python<'py>;
}

/// The names up to 0.27.
trait Earlier<'py>: Sized {
    fn with_gil<R>(call: impl for<'any> FnOnce(Python<'any>) -> R) -> R;
    fn allow_threads<T: Ungil>(self, call: impl FnOnce() -> T + Ungil) -> T;
    /// # Safety
    ///
    /// This thread is attached for as long as the result is used.
    unsafe fn assume_gil_acquired() -> Python<'py>;
}

impl<'py> Later<'py> for Python<'py> {
    fn attach<R>(call: impl for<'any> FnOnce(Python<'any>) -> R) -> R {
        Python::with_gil(call)
    }

    fn detach<T: Ungil>(self, call: impl FnOnce() -> T + Ungil) -> T {
        self.allow_threads(call)
    }

    unsafe fn assume_attached() -> Python<'py> {
        // SAFETY: the same condition.
        unsafe { Python::assume_gil_acquired() }
    }
}

impl<'py> Earlier<'py> for Python<'py> {
    fn with_gil<R>(call: impl for<'any> FnOnce(Python<'any>) -> R) -> R {
        Python::attach(call)
    }

    fn allow_threads<T: Ungil>(self, call: impl FnOnce() -> T + Ungil) -> T {
        self.detach(call)
    }

    unsafe fn assume_gil_acquired() -> Python<'py> {
        // SAFETY: the same condition.
        unsafe { Python::assume_attached() }
    }
}

/// `Python::attach`.
pub(crate) fn attach<R>(call: impl for<'py> FnOnce(Python<'py>) -> R) -> R {
    Python::attach(call)
}

/// `Python::detach`.
pub(crate) fn detach<T: Ungil>(py: Python<'_>, call: impl FnOnce() -> T + Ungil) -> T {
    py.detach(call)
}

/// `Python::assume_attached`.
///
/// # Safety
///
/// This thread is attached for as long as the result is used.
pub(crate) unsafe fn assume_attached<'py>() -> Python<'py> {
    // SAFETY: the same condition.
    unsafe { Python::assume_attached() }
}

/// What `PyOnceLock` is for, which is `GILOnceCell` up to 0.25: no lock is held while Python runs, and so two threads
/// may do it at the same time.
pub(crate) fn once(done: &OnceLock<()>, make: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    if done.get().is_none() {
        make()?;
        let _ = done.set(());
    }
    Ok(())
}

/// A clone, which needs the interpreter up to 0.26.
pub(crate) fn clone(py: Python<'_>, locals: &TaskLocals) -> TaskLocals {
    locals.clone_ref(py)
}
