//! Calling into Python from a thread that Python did not start.
//!
//! Before 3.14, an interpreter that is being finalized ends every other thread that takes its lock. It
//! calls `pthread_exit`, which on Linux unwinds the thread's stack. When that reaches a Rust frame,
//! the process aborts, with little or no message (claim C1).
//!
//! Two things prevent this:
//!
//! - A thread enters the [gate](sundown::gate) before it calls into Python, and the interpreter is not
//!   finalized until all threads have left or a limit has passed.
//! - Some callables do not leave within the limit, for example one that waits in C for an hour. So
//!   every call is made in a frame whose destructor never returns. The unwinding stops there, and the
//!   thread stays for ever, as it does from 3.14 on. PyO3 does this where it takes the lock itself; it
//!   cannot where Python's own code takes the lock during a call.

#![allow(unsafe_code, reason = "PyO3 has no calls that may unwind; see below")]

use std::{
    cell::RefCell,
    ffi::CStr,
    ptr,
    sync::{
        PoisonError, RwLock, RwLockWriteGuard, TryLockError,
        atomic::{AtomicPtr, Ordering},
    },
    thread,
};

use pyo3::{exceptions::PyImportError, ffi, prelude::*};
use sundown::gate::Entry;

/// Calls a method without arguments on an object, and returns the object or releases it.
///
/// The thread must have entered the gate, and need not be attached. It blocks until the interpreter's
/// lock is free, and during the call. The method's result is released, and what it raises goes to
/// `sys.unraisablehook`.
pub fn call(
    _inside: &Entry<'_>,
    object: Py<PyAny>,
    method: &CStr,
    then: Then,
) -> Option<Py<PyAny>> {
    let pointer = object.as_ptr();
    let kept = match then {
        Then::Keep => Some(object),
        // `call_or_stay` releases its reference.
        Then::Release => {
            let _ = object.into_ptr();
            None
        }
    };
    // SAFETY: the reference is strong, and is given away only with `Then::Release`.
    unsafe { call_or_stay(pointer, method, then) };
    kept
}

/// What happens to the object after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The caller gets it back.
    Keep,
    /// It is released while the thread has the interpreter's lock.
    Release,
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
/// promise that such an unwinding runs destructors. But every compiler for these platforms does so,
/// PyO3's own calls rely on it, and this package's tests show it. The unwinding has passed only C
/// frames of Python, and does not pass this one. Without this frame, 40 of 40 exits with callables
/// left at the limit aborted; with it, none did.
///
/// # Safety
///
/// `object` is a strong reference, which `Then::Release` uses up.
#[inline(never)]
unsafe fn call_or_stay(object: *mut ffi::PyObject, method: &CStr, then: Then) {
    let stay = Stay;
    // SAFETY: CPython exports these functions under these names. The same thread takes and releases
    // the lock. Pointers are checked for null before use. Every returned reference is released once, and
    // `object` if the caller asked for it.
    unsafe {
        let made_state = make_thread_state();
        let attached = ffi::PyGILState_Ensure();
        let bound = raw::PyObject_GetAttrString(object, method.as_ptr());
        let result =
            if bound.is_null() { bound } else { raw::PyObject_CallObject(bound, ptr::null_mut()) };
        if result.is_null() {
            raw::PyErr_WriteUnraisable(object);
        }
        raw::Py_DecRef(result);
        raw::Py_DecRef(bound);
        if then == Then::Release {
            raw::Py_DecRef(object);
        }
        if made_state {
            // The making of the state counted once. The release below must be the last, which frees it.
            raw::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_LOCKED);
        }
        raw::PyGILState_Release(attached);
    }
    std::mem::forget(stay);
}

/// Functions that PyO3 declares too, declared here so that they may unwind. Each can run Python code,
/// which can release the lock and take it again.
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

    // The state is passed as C's `int`, the type of an enumeration there.
    const _: () = assert!(size_of::<PyGILState_STATE>() == size_of::<c_int>());
}

/// The interpreter if it is older than 3.12, otherwise null.
///
/// When a thread first enters an interpreter, a thread state is made for it. That takes an internal
/// lock of the interpreter, not *the* lock. A child that is forked at that moment inherits the internal
/// lock held by nobody, and waits for it inside `os.fork()` for ever. From 3.12 on, the child makes a
/// new lock first.
static OLD_INTERPRETER: AtomicPtr<ffi::PyInterpreterState> = AtomicPtr::new(ptr::null_mut());

/// Read-locked while a thread state is made, which takes a microsecond and waits for nothing else;
/// write-locked during a fork.
static STATES: RwLock<()> = RwLock::new(());

thread_local! {
    /// The write lock of the thread that forks, from before the fork until after it in both processes.
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// On an old interpreter, makes this thread's state before the thread waits for the interpreter's lock.
/// Returns whether it made one.
///
/// # Safety
///
/// The interpreter has not been finalized: this thread has entered the gate.
unsafe fn make_thread_state() -> bool {
    // Relaxed: it was written before any thread of ours existed.
    let interpreter = OLD_INTERPRETER.load(Ordering::Relaxed);
    // SAFETY: the pointer is that of the main interpreter, which is alive. Both functions may be called
    // without its lock. The second registers the state as this thread's, with a count of one; the
    // versions that this is for will not change.
    unsafe {
        if interpreter.is_null() || !ffi::PyGILState_GetThisThreadState().is_null() {
            return false;
        }
        let _shared = STATES.read().unwrap_or_else(PoisonError::into_inner);
        !ffi::PyThreadState_New(interpreter).is_null()
    }
}

/// Called before a fork. No thread state is made from here on.
#[pyfunction]
pub fn before_fork(py: Python<'_>) {
    loop {
        match STATES.try_write() {
            Ok(guard) => return FORKING.set(Some(guard)),
            Err(TryLockError::Poisoned(poisoned)) => {
                return FORKING.set(Some(poisoned.into_inner()));
            }
            // Another thread forks, and needs the interpreter's lock for that, or a thread state is
            // being made.
            Err(TryLockError::WouldBlock) => {
                py.detach(|| drop(STATES.read().unwrap_or_else(PoisonError::into_inner)));
            }
        }
    }
}

/// Called after a fork, in the parent and in the child.
#[pyfunction]
pub fn after_fork() {
    drop(FORKING.take());
}

/// Returns an error unless this is the main interpreter.
///
/// # Errors
///
/// `ImportError` in a sub-interpreter: our threads attach to the main interpreter only, whatever
/// interpreter their callables come from.
pub fn check_main(py: Python<'_>) -> PyResult<()> {
    // SAFETY: `py` shows that this thread is attached, so there is a current interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the interpreter is alive.
    let id = unsafe { ffi::PyInterpreterState_GetID(interpreter) };
    if id == 0 {
        if py.version_info() < (3, 12) {
            OLD_INTERPRETER.store(interpreter, Ordering::Relaxed);
        }
        return Ok(());
    }
    Err(PyImportError::new_err(format!(
        "sundown cannot be used in sub-interpreter {id}: its threads call into the main interpreter; \
         import it there"
    )))
}
