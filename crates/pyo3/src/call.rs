//! A call into Python by a thread that may never come back.
//!
//! Before 3.14, an interpreter that is being finalized ends every other thread that takes its lock. It calls
//! `pthread_exit`, which on Linux unwinds the thread's stack. When that reaches a Rust frame, the process
//! aborts. PyO3 stops it where it takes the lock itself. It cannot where Python's own code takes the lock
//! again, inside a call: PyO3 declares the functions of Python as functions that do not unwind.

#![allow(unsafe_code, reason = "PyO3 has no calls that may unwind")]

use std::{mem, ptr, thread};

use pyo3::{ffi, prelude::*, types::PyTuple};
use sundown::gate::Closed;

use crate::entry::GATE;

/// Calls a callable on a thread of your own or in a closure of `spawn_blocking`, through the
/// [gate](crate::attach). The thread need not be attached, and must not hold what others wait for.
///
/// If the call does not return within the limit of the exit, the thread stays in it for ever, and the process
/// ends without it. A call by `Python::attach` aborts the process then.
///
/// # Errors
///
/// [`Closed`], if the interpreter is about to be finalized, and what the callable raises.
pub fn call(callable: &Py<PyAny>, arguments: &Py<PyTuple>) -> Result<PyResult<Py<PyAny>>, Closed> {
    let _inside = GATE.enter()?;
    // SAFETY: both references are strong for as long as the call lasts.
    Ok(unsafe { call_or_stay(callable.as_ptr(), arguments.as_ptr()) })
}

/// Stops an unwinding: the thread stays here for ever.
struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        loop {
            // `park` may return without a reason.
            thread::park();
        }
    }
}

/// The whole call, in one frame.
///
/// Only `pthread_exit` unwinds here, and only while the interpreter is finalized. The language does not
/// promise that such an unwinding runs destructors. But every compiler for these platforms does so, PyO3's
/// own calls rely on it, and the tests show it. The unwinding has passed only C frames of Python, and does
/// not pass this one.
///
/// # Safety
///
/// Both pointers are strong references, `arguments` to a tuple. The interpreter has not been finalized.
#[inline(never)]
unsafe fn call_or_stay(
    callable: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> PyResult<Py<PyAny>> {
    let stay = Stay;
    // SAFETY: CPython exports these functions under these names. The same thread takes and releases the
    // lock, and has it in between. The call returns a new reference, or null and sets an exception.
    let result = unsafe {
        let attached = ffi::PyGILState_Ensure();
        let result = raw::PyObject_Call(callable, arguments, ptr::null_mut());
        let result = Bound::from_owned_ptr_or_err(Python::assume_attached(), result);
        let result = result.map(Bound::unbind);
        raw::PyGILState_Release(attached);
        result
    };
    mem::forget(stay);
    result
}

/// Functions that PyO3 declares too, declared here so that they may unwind. Each can run Python code, which
/// can release the lock and take it again.
mod raw {
    use std::ffi::c_int;

    use pyo3::ffi::{PyGILState_STATE, PyObject};

    unsafe extern "C-unwind" {
        pub fn PyObject_Call(
            callable: *mut PyObject,
            arguments: *mut PyObject,
            keywords: *mut PyObject,
        ) -> *mut PyObject;
        pub fn PyGILState_Release(state: PyGILState_STATE);
    }

    // The state is passed as C's `int`, the type of an enumeration there.
    const _: () = assert!(size_of::<PyGILState_STATE>() == size_of::<c_int>());
}
