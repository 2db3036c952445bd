//! The thread states of interpreters before 3.12, which a fork may not meet half made.
//!
//! When a thread first enters an interpreter, a thread state is made for it. That takes an internal lock of the
//! interpreter, not *the* lock. A child that is forked at that moment inherits the internal lock held by nobody,
//! and waits for it inside `os.fork()` for ever. From 3.12 on, the child makes a new lock first.

#![allow(unsafe_code, reason = "PyO3 does not make a thread state before it waits for the lock")]

use std::{
    marker::PhantomData,
    ptr,
    sync::{
        PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicPtr, Ordering},
    },
};

use pyo3::{
    exceptions::PyImportError,
    ffi::{self, PyGILState_STATE},
    prelude::*,
};
use sundown::gate::Entry;

/// The interpreter if it is older than 3.12, otherwise null.
static OLD_INTERPRETER: AtomicPtr<ffi::PyInterpreterState> = AtomicPtr::new(ptr::null_mut());

/// Read-locked while a thread state is made, which takes a microsecond and waits for nothing else;
/// write-locked during a fork.
static STATES: RwLock<()> = RwLock::new(());

/// Remembers the interpreter.
///
/// # Errors
///
/// `ImportError`, unless it is the main one.
pub(crate) fn find_interpreter(py: Python<'_>) -> PyResult<()> {
    // SAFETY: `py` shows that this thread is attached, so there is a current interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the interpreter is alive.
    let id = unsafe { ffi::PyInterpreterState_GetID(interpreter) };
    if id != 0 {
        return Err(PyImportError::new_err(format!(
            "sundown cannot be used in sub-interpreter {id}: its threads call into the main interpreter; \
             import it there"
        )));
    }
    if py.version_info() < (3, 12) {
        // Relaxed: a thread that does not see it yet does what it would do without this.
        OLD_INTERPRETER.store(interpreter, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether a state was made for a thread.
#[derive(Clone, Copy)]
pub(crate) struct Made(bool);

/// Makes this thread's state before it waits for the interpreter's lock, if the interpreter is old and the thread
/// has none. The state is kept until the interpreter is finalized, unless it is [released](Made::until_detached).
///
/// Futures are polled on few threads, and most polls do not enter Python: there it is kept.
pub(crate) fn make(_inside: &Entry<'_>) -> Made {
    // Relaxed: where it is not seen, no state is made, which is right.
    let interpreter = OLD_INTERPRETER.load(Ordering::Relaxed);
    // SAFETY: the pointer is that of the main interpreter, which is not finalized while a thread is inside the
    // gate. Both functions may be called without its lock. The second registers the state as this thread's, with a count of one; the versions that this is
    // for will not change.
    unsafe {
        if interpreter.is_null() || !ffi::PyGILState_GetThisThreadState().is_null() {
            return Made(false);
        }
        let _shared = STATES.read().unwrap_or_else(PoisonError::into_inner);
        Made(!ffi::PyThreadState_New(interpreter).is_null())
    }
}

impl Made {
    /// Has the state freed when the thread detaches. Call this before anything else once it is attached; the guard is
    /// dropped before it detaches.
    pub(crate) fn until_detached(self, _py: Python<'_>) -> UntilDetached<'_> {
        UntilDetached(self, PhantomData)
    }

    /// The same, without a destructor.
    ///
    /// # Safety
    ///
    /// The thread attached after the state was made, and is attached. It is called once.
    pub(crate) unsafe fn release(self) {
        unsafe extern "C-unwind" {
            // As in `call`: it can unwind.
            fn PyGILState_Release(state: PyGILState_STATE);
        }
        if self.0 {
            // SAFETY: this is not the last count, because the thread attached since. It stays attached.
            unsafe { PyGILState_Release(PyGILState_STATE::PyGILState_LOCKED) };
        }
    }
}

pub(crate) struct UntilDetached<'py>(Made, PhantomData<Python<'py>>);

impl Drop for UntilDetached<'_> {
    fn drop(&mut self) {
        // SAFETY: the thread is attached for as long as `'py` lasts.
        unsafe { self.0.release() };
    }
}

/// No thread state is made until the guard is dropped. Waits for a microsecond, or for a fork of another thread.
#[cfg(unix)]
pub(crate) fn forbid() -> RwLockWriteGuard<'static, ()> {
    STATES.write().unwrap_or_else(PoisonError::into_inner)
}
