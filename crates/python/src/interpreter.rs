//! Calling into Python from a thread that is not Python's.
//!
//! Until 3.14 an interpreter that is being finalized ends every other thread that takes its lock: by
//! `pthread_exit`, in the middle of what that thread does, which on Linux unwinds its stack. Rust's
//! frames end such an unwinding with an abort, whose standard error is empty (claim C1).
//!
//! Two things keep that from happening. Who is inside has entered the [gate](sundown::entry), and the
//! interpreter is not finalized before all have left, within a limit. And for those who have not left
//! by then, a callable that waits in C for an hour, every call is made in a frame whose destructor
//! never returns: the unwinding comes to that frame and stays there, and so does the thread, as from
//! 3.14 on. PyO3 does the same where it takes the lock itself; what Python's own code does in the
//! middle of a call, it cannot.

#![allow(unsafe_code, reason = "a call that may unwind is not one that PyO3 offers; see below")]

use std::{ffi::CStr, thread};

use pyo3::{exceptions::PyImportError, ffi, prelude::*};
use sundown::entry::Entry;

/// A method that takes nothing is called on an object, by a thread that need not be attached, and has
/// entered the gate. The object is given back, or let go of inside.
///
/// What it raises goes to `sys.unraisablehook`; methods of ours raise nothing.
///
/// Blocks until the interpreter's lock is free, and for as long as the call takes: for a thread that
/// may block.
pub fn call(
    _inside: &Entry<'_>,
    object: Py<PyAny>,
    method: &CStr,
    then: Then,
) -> Option<Py<PyAny>> {
    let pointer = object.as_ptr();
    let kept = match then {
        Then::Keep => Some(object),
        // Its reference is let go of inside.
        Then::LetGo => {
            let _ = object.into_ptr();
            None
        }
    };
    // SAFETY: there is a strong reference, which is used up with `Then::LetGo` only.
    unsafe { call_or_stay(pointer, method, then) };
    kept
}

/// What becomes of the object after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The caller has it back.
    Keep,
    /// It is let go of, while the interpreter is locked.
    LetGo,
}

/// Never lets an unwinding pass: the thread stays here for ever.
struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        loop {
            // May return for no reason.
            thread::park();
        }
    }
}

/// Everything that happens inside, in one frame.
///
/// What unwinds here is `pthread_exit`, and only at the end of the interpreter. That a destructor is
/// run by such an unwinding is not promised by the language, as it does not say what becomes of one
/// that passes a frame with a destructor; it is what every compiler for these platforms does, what
/// PyO3's own calls rest on, and what this package's tests show. It does not pass this frame, and the
/// frames above are Python's, in C. Without it the process would abort, always.
///
/// # Safety
///
/// `object` is a strong reference, which is used up where `then` says so.
#[inline(never)]
unsafe fn call_or_stay(object: *mut ffi::PyObject, method: &CStr, then: Then) {
    let stay = Stay;
    // SAFETY: these are the functions that CPython exports under these names. A lock that is taken is
    // let go of by the same thread. Null is checked for before a pointer is used; every reference that
    // is returned is let go of once, and `object` where the caller said so.
    unsafe {
        let attached = ffi::PyGILState_Ensure();
        let bound = raw::PyObject_GetAttrString(object, method.as_ptr());
        let result = if bound.is_null() {
            bound
        } else {
            raw::PyObject_CallObject(bound, std::ptr::null_mut())
        };
        if result.is_null() {
            raw::PyErr_WriteUnraisable(object);
        }
        raw::Py_DecRef(result);
        raw::Py_DecRef(bound);
        if then == Then::LetGo {
            raw::Py_DecRef(object);
        }
        raw::PyGILState_Release(attached);
    }
    std::mem::forget(stay);
}

/// The same functions that PyO3 has, as ones that may unwind. Each may run Python's code, which may
/// let go of the lock and take it again.
mod raw {
    use std::ffi::{c_char, c_int};

    use pyo3::ffi::{PyGILState_STATE, PyObject};

    unsafe extern "C-unwind" {
        pub fn PyObject_GetAttrString(object: *mut PyObject, name: *const c_char) -> *mut PyObject;
        pub fn PyObject_CallObject(
            callable: *mut PyObject,
            arguments: *mut PyObject,
        ) -> *mut PyObject;
        pub fn PyErr_WriteUnraisable(object: *mut PyObject);
        pub fn Py_DecRef(object: *mut PyObject);
        pub fn PyGILState_Release(state: PyGILState_STATE);
    }

    // The state is passed as C's `int`, which is what an enumeration is there.
    const _: () = assert!(size_of::<PyGILState_STATE>() == size_of::<c_int>());
}

/// That this is the interpreter that the process began with.
///
/// # Errors
///
/// `ImportError` in another one: threads of ours attach to the main one only, whatever interpreter
/// their callables come from.
pub fn must_be_the_main_one(py: Python<'_>) -> PyResult<()> {
    let _ = py;
    // SAFETY: this thread is attached, as `py` shows, so that there is a current interpreter.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(format!(
        "sundown cannot be used in sub-interpreter {id}: its threads call into the main interpreter; \
         import it there"
    )))
}
