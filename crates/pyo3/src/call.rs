//! A call into Python by a thread that may never come back.
//!
//! Up to 3.13.0 (3.13.18 does not), an interpreter that is being finalized ends every other thread that takes its lock. It calls
//! `pthread_exit`, which on Linux unwinds the thread's stack. When that reaches a Rust frame, the process
//! aborts. PyO3 stops it where it takes the lock itself. It cannot where Python's own code takes the lock
//! again, inside a call: PyO3 declares the functions of Python as functions that do not unwind.

#![allow(unsafe_code, reason = "PyO3 has no calls that may unwind")]

use std::{
    ffi::CStr,
    mem::{self, ManuallyDrop},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, thread,
};

use pyo3::{ffi, prelude::*, types::PyTuple};
use sundown::gate::Entry;

use crate::{Closed, compat, delivery::panicked, entry::GATE, states};

/// Calls a callable on a thread of your own or in a closure of `spawn_blocking`, through the
/// [gate](crate::attach). The thread need not be attached, and must not hold what others wait for.
///
/// If the call does not return within the limit of the exit, the thread stays in it for ever, and the process
/// ends without it. A call by `Python::attach` aborts the process then. So does this one, if the callable is itself
/// inside a function of an extension in Rust or C++: the frames of that cannot be unwound.
///
/// # Errors
///
/// [`Closed`], if the interpreter is about to be finalized, and what the callable raises. The panic of an extension's
/// function is pyo3-async-runtimes's `RustPanic`.
pub fn call(callable: &Py<PyAny>, arguments: &Py<PyTuple>) -> Result<PyResult<Py<PyAny>>, Closed> {
    let inside = GATE.enter()?;
    // SAFETY: both references are strong for as long as the call lasts. The call returns a new reference, or null
    // and sets an exception. `attached` says that the thread has the lock.
    Ok(unsafe {
        attached_or_for_ever(&inside, || {
            let result = raw::PyObject_Call(callable.as_ptr(), arguments.as_ptr(), ptr::null_mut());
            // PyO3 resumes the panic of an extension's function, which must not reach the frame that stays.
            let taken = AssertUnwindSafe(|| {
                let result = Bound::from_owned_ptr_or_err(compat::assume_attached(), result);
                result.map(Bound::unbind)
            });
            catch_unwind(taken).unwrap_or_else(|panic| Err(panicked(&*panic)))
        })
    })
}

/// What happens to an object after [`call_method`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The caller gets it back.
    Keep,
    /// It is released while the thread has the interpreter's lock. What PyO3 is given to drop without the lock
    /// waits until some thread calls into an extension.
    Release,
}

/// Like [`call()`], for a callback: calls a method without arguments. Its result is released, and what it raises goes
/// to `sys.unraisablehook`.
///
/// # Errors
///
/// [`Closed`], if the interpreter is about to be finalized. The object is not released then: nothing would read
/// PyO3's list of such objects any more.
pub fn call_method(
    object: Py<PyAny>,
    method: &CStr,
    then: Then,
) -> Result<Option<Py<PyAny>>, Closed> {
    let kept = ManuallyDrop::new(object);
    let object = kept.as_ptr();
    let inside = GATE.enter()?;
    // SAFETY: the reference is strong until it is released, which happens here or never. Pointers are checked for
    // null before use, and every returned reference is released once.
    unsafe {
        attached_or_for_ever(&inside, || {
            let bound = raw::PyObject_GetAttrString(object, method.as_ptr());
            let result = if bound.is_null() {
                bound
            } else {
                raw::PyObject_CallObject(bound, ptr::null_mut())
            };
            if result.is_null() {
                raw::PyErr_WriteUnraisable(object);
            }
            raw::Py_DecRef(result);
            raw::Py_DecRef(bound);
            if then == Then::Release {
                raw::Py_DecRef(object);
            }
        });
    }
    Ok(match then {
        Then::Keep => Some(ManuallyDrop::into_inner(kept)),
        Then::Release => None,
    })
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

/// Attaches this thread to the interpreter, and calls.
///
/// Only `pthread_exit` unwinds here, and only while the interpreter is finalized. The language does not
/// promise that such an unwinding runs destructors. But every compiler for these platforms does so, PyO3's
/// own calls rely on it, and the tests show it. The unwinding has passed only C frames of Python and the closure,
/// and does not pass this frame.
///
/// # Safety
///
/// The closure calls C functions of Python
/// that may unwind, and has nothing to drop.
#[inline(never)]
unsafe fn attached_or_for_ever<R>(inside: &Entry<'_>, call: impl FnOnce() -> R) -> R {
    let stay = Stay;
    let made = states::make(inside);
    // SAFETY: CPython exports these functions under these names. The same thread takes and releases the
    // lock, and has it in between.
    let result = unsafe {
        let attached = ffi::PyGILState_Ensure();
        let result = call();
        made.release();
        raw::PyGILState_Release(attached);
        result
    };
    mem::forget(stay);
    result
}

/// Functions that PyO3 declares too, declared here so that they may unwind. Each can run Python code, which
/// can release the lock and take it again.
mod raw {
    use std::ffi::{c_char, c_int};

    use pyo3::ffi::{PyGILState_STATE, PyObject};

    unsafe extern "C-unwind" {
        pub fn PyObject_Call(
            callable: *mut PyObject,
            arguments: *mut PyObject,
            keywords: *mut PyObject,
        ) -> *mut PyObject;
        pub fn PyObject_GetAttrString(object: *mut PyObject, name: *const c_char) -> *mut PyObject;
        pub fn PyObject_CallObject(
            callable: *mut PyObject,
            arguments: *mut PyObject,
        ) -> *mut PyObject;
        pub fn PyErr_WriteUnraisable(object: *mut PyObject);
        pub fn Py_DecRef(object: *mut PyObject);
        pub fn PyGILState_Release(state: PyGILState_STATE);
    }

    // The state is passed as C's `int`, the type of an enumeration there.
    const _: () = assert!(size_of::<PyGILState_STATE>() == size_of::<c_int>());
}
