//! Calling into Python from a thread that is not Python's.
//!
//! Until 3.14 an interpreter that is being finalized ends every other thread that takes its lock: by
//! `pthread_exit`, in the middle of what that thread does, which on Linux unwinds its stack. Rust's
//! frames end such an unwinding with an abort, which says little or nothing (claim C1).
//!
//! Two things keep that from happening. Who is inside has entered the [gate](sundown::gate), and the
//! interpreter is not finalized before all have left, within a limit. And for those who have not left
//! by then, a callable that waits in C for an hour, every call is made in a frame whose destructor
//! never returns: the unwinding comes to that frame and stays there, and so does the thread, as from
//! 3.14 on. PyO3 does the same where it takes the lock itself; what Python's own code does in the
//! middle of a call, it cannot.

#![allow(unsafe_code, reason = "a call that may unwind is not one that PyO3 offers; see below")]

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

/// A method that takes nothing is called on an object, by a thread that need not be attached, and has
/// entered the gate. The object is given back, or let go of inside.
///
/// What it returns is let go of, and what it raises goes to `sys.unraisablehook`.
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
/// frames that it has passed are Python's, in C. Without it 40 of 40 exits with callables left at the
/// limit aborted; with it none did.
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
        let came_early = come_early();
        let attached = ffi::PyGILState_Ensure();
        let bound = raw::PyObject_GetAttrString(object, method.as_ptr());
        let result =
            if bound.is_null() { bound } else { raw::PyObject_CallObject(bound, ptr::null_mut()) };
        if result.is_null() {
            raw::PyErr_WriteUnraisable(object);
        }
        raw::Py_DecRef(result);
        raw::Py_DecRef(bound);
        if then == Then::LetGo {
            raw::Py_DecRef(object);
        }
        if came_early {
            // What was counted when the state was made: the one below is to be the last, and drops it.
            raw::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_LOCKED);
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

/// The interpreter, where a fork must not meet a thread that comes into it: before 3.12. Null elsewhere.
///
/// A thread that comes in has a state made for it, under a lock of the interpreter and not under *the*
/// lock. A child that is forked in that moment has that lock, held by nobody, and waits for it inside
/// `os.fork()`, for ever; from 3.12 on it makes a new one first.
static FORKED_BADLY: AtomicPtr<ffi::PyInterpreterState> = AtomicPtr::new(ptr::null_mut());

/// Shared by those who have a state made for them, which takes a microsecond and waits for nothing but
/// this; held alone by who forks.
static STATES: RwLock<()> = RwLock::new(());

thread_local! {
    /// Held from before a fork until after it, on the thread that forks: in both processes.
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Has this thread's state made before it waits for the interpreter's lock, where that matters. Says
/// whether it did.
///
/// # Safety
///
/// The interpreter has not been finalized: this thread has entered the gate.
unsafe fn come_early() -> bool {
    // Relaxed: written before there was any other thread of ours.
    let interpreter = FORKED_BADLY.load(Ordering::Relaxed);
    // SAFETY: the pointer is that of the main interpreter, which is there; both functions may be called
    // without its lock. The second registers the state as this thread's, counted once; of the versions
    // that this is for none will come to do that differently.
    unsafe {
        if interpreter.is_null() || !ffi::PyGILState_GetThisThreadState().is_null() {
            return false;
        }
        let _shared = STATES.read().unwrap_or_else(PoisonError::into_inner);
        !ffi::PyThreadState_New(interpreter).is_null()
    }
}

/// Before a fork: nobody is having a state made from here on.
#[pyfunction]
pub fn before_fork(py: Python<'_>) {
    loop {
        match STATES.try_write() {
            Ok(guard) => return FORKING.set(Some(guard)),
            Err(TryLockError::Poisoned(poisoned)) => {
                return FORKING.set(Some(poisoned.into_inner()));
            }
            // Another thread forks, and needs the interpreter's lock for that; or somebody is having
            // a state made right now.
            Err(TryLockError::WouldBlock) => {
                py.detach(|| drop(STATES.read().unwrap_or_else(PoisonError::into_inner)));
            }
        }
    }
}

/// After a fork, in the parent and in the child.
#[pyfunction]
pub fn after_fork() {
    drop(FORKING.take());
}

/// That this is the interpreter that the process began with.
///
/// # Errors
///
/// `ImportError` in another one: threads of ours attach to the main one only, whatever interpreter
/// their callables come from.
pub fn must_be_the_main_one(py: Python<'_>) -> PyResult<()> {
    // SAFETY: this thread is attached, as `py` shows, so that there is a current interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: it is there.
    let id = unsafe { ffi::PyInterpreterState_GetID(interpreter) };
    if id == 0 {
        if py.version_info() < (3, 12) {
            FORKED_BADLY.store(interpreter, Ordering::Relaxed);
        }
        return Ok(());
    }
    Err(PyImportError::new_err(format!(
        "sundown cannot be used in sub-interpreter {id}: its threads call into the main interpreter; \
         import it there"
    )))
}
