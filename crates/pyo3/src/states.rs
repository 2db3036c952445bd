//! The thread states of interpreters before 3.12, which a fork may not meet half made.
//!
//! When a thread first enters an interpreter, a thread state is made for it. That takes an internal lock of the
//! interpreter, not *the* lock. A child that is forked at that moment inherits the internal lock held by nobody,
//! and waits for it inside `os.fork()` for ever. From 3.12 on, the child makes a new lock first.
//!
//! A state that is made for a thread which only polls futures is kept for as long as the thread lives. When that has ended,
//! the next thread that is attached frees the state, because only that may.

#![allow(unsafe_code, reason = "PyO3 does not make a thread state before it waits for the lock")]

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        TryLockError,
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pyo3::{
    exceptions::PyImportError,
    ffi::{self, PyGILState_STATE, PyThreadState},
    prelude::*,
    types::{PyCFunction, PyDict},
};
use sundown::gate::Entry;

use crate::{
    compat,
    entry::{GATE, attach},
    fork::Process,
    runtime,
};

/// The interpreter if it is older than 3.12, otherwise null.
static OLD_INTERPRETER: AtomicPtr<ffi::PyInterpreterState> = AtomicPtr::new(ptr::null_mut());

/// Read-locked while a thread state is made, and write-locked during a fork. To make one takes a microsecond, but may wait
/// for the interpreter's lock: `tracemalloc` does so for each allocation.
static STATES: RwLock<()> = RwLock::new(());

/// How long a thread waits for a fork of another. What runs before a fork is foreign code, and may wait for this thread.
const LONGEST_FORK: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// How often a thread looks whether another has ended.
const LOOKS: u32 = 1_000;

thread_local! {
    static OF_FORK: RefCell<OfFork> = const { RefCell::new(OfFork { depth: 0, held: None }) };
    static KEPT: Kept = const { Kept(Cell::new(ptr::null_mut())) };
}

/// What a thread that forks has. It may fork again in a handler of a fork.
struct OfFork {
    depth: u32,
    held: Option<RwLockWriteGuard<'static, ()>>,
}

/// The states of threads that have ended.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// Whether there are some. Relaxed: whoever does not see it leaves them to the next.
static ARE_LEFT: AtomicBool = AtomicBool::new(false);

/// The state of a thread that is about to end.
pub(crate) struct Left {
    /// In a forked child, Python has freed the states of its parent's threads.
    process: Process,
    thread: Thread,
    state: *mut PyThreadState,
}

// SAFETY: a state is used by one thread at a time, and is freed when its own has ended.
unsafe impl Send for Left {}

/// A thread, as the kernel names it.
#[derive(Clone, Copy)]
struct Thread(#[allow(dead_code, reason = "used where the kernel can be asked")] i64);

impl Thread {
    fn this() -> Self {
        #[cfg(target_os = "linux")]
        // SAFETY: it has no conditions.
        return Self(unsafe { libc::syscall(libc::SYS_gettid) });
        #[cfg(not(target_os = "linux"))]
        Self(0)
    }

    /// Whether it has ended. Until then, a destructor of another thread-local may enter Python. If the kernel cannot be
    /// asked, or has given the name to another thread, it has not.
    fn has_ended(self) -> bool {
        #[cfg(target_os = "linux")]
        // SAFETY: no signal is sent, only looked whether it could be.
        return unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, 0) } != 0;
        #[cfg(not(target_os = "linux"))]
        false
    }
}

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
    // Once: it is read from a text.
    static IS_OLD: OnceLock<bool> = OnceLock::new();
    if *IS_OLD.get_or_init(|| py.version_info() < (3, 12)) {
        // Relaxed: a thread that does not see it yet does what it would do without this.
        OLD_INTERPRETER.store(interpreter, Ordering::Relaxed);
    }
    Ok(())
}

/// Has forks wait until no state is being made, if the interpreter is old.
///
/// These handlers are Python's, so that the interpreter's lock can be given up meanwhile. A fork that does not call them
/// makes a child that does not go on in Python.
///
/// # Errors
///
/// Those of `os.register_at_fork`.
#[cfg(unix)]
pub(crate) fn install_for_forks(py: Python<'_>) -> PyResult<()> {
    if OLD_INTERPRETER.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    let handlers = PyDict::new(py);
    let add = |name: &str, handler: fn(Python<'_>)| {
        let handler =
            PyCFunction::new_closure(py, Some(c"sundown_at_fork"), None, move |it, _| {
                handler(it.py());
            })?;
        handlers.set_item(name, handler)
    };
    add("before", before_fork)?;
    add("after_in_parent", |_| after_fork(false))?;
    add("after_in_child", |_| after_fork(true))?;
    py.import("os")?.call_method("register_at_fork", (), Some(&handlers)).map(drop)
}

#[cfg(not(unix))]
pub(crate) fn install_for_forks(_py: Python<'_>) -> PyResult<()> {
    Ok(())
}

#[cfg(unix)]
fn before_fork(py: Python<'_>) {
    // Where the thread-locals are gone, the thread forks without it.
    let is_first = OF_FORK.try_with(|it| {
        let mut it = it.borrow_mut();
        it.depth += 1;
        it.depth == 1
    });
    // Without the gate, nobody makes a state, and a daemon thread might not come back to the interpreter.
    let inside = GATE.enter();
    if is_first == Ok(true) && inside.is_ok() {
        compat::detach(py, || {
            let held = STATES.write().unwrap_or_else(PoisonError::into_inner);
            let _ = OF_FORK.try_with(|it| it.borrow_mut().held = Some(held));
        });
    }
}

#[cfg(unix)]
fn after_fork(is_child: bool) {
    let held = OF_FORK.try_with(|it| {
        let mut it = it.borrow_mut();
        // A child that was forked in a handler of a fork returns from that alone.
        it.depth = if is_child { 0 } else { it.depth.saturating_sub(1) };
        (it.depth == 0).then(|| it.held.take()).flatten()
    });
    drop(held);
}

/// No thread forks, unless one has waited for too long.
fn without_forks() -> Option<RwLockReadGuard<'static, ()>> {
    let began = Instant::now();
    loop {
        match STATES.try_read() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(guard)) => return Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) if began.elapsed() > LONGEST_FORK => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// Whether a state was made for a thread.
#[derive(Clone, Copy)]
pub(crate) struct Made(bool);

/// Makes this thread's state before it waits for the interpreter's lock, if the interpreter is old and the thread
/// has none, and keeps it until the thread ends. Most polls of futures do not enter Python.
pub(crate) fn keep(inside: &Entry<'_>) {
    if make(inside).0 {
        // SAFETY: it may be called without the lock.
        let state = unsafe { ffi::PyGILState_GetThisThreadState() };
        // The thread may be at its end; then the state is kept until the interpreter is finalized.
        let _ = KEPT.try_with(|kept| kept.0.set(state));
    }
}

/// The state that was made for a thread which polls futures.
struct Kept(Cell<*mut PyThreadState>);

impl Drop for Kept {
    fn drop(&mut self) {
        let state = self.0.get();
        // Beyond the gate, the interpreter may be gone, and its states with it.
        let Ok(_inside) = GATE.enter() else { return };
        if state.is_null() {
            return;
        }
        let left = Left { process: Process::this(), thread: Thread::this(), state };
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(left);
        let is_first = !ARE_LEFT.swap(true, Ordering::Relaxed);
        if let Some(made) = runtime::find().filter(|_| is_first) {
            let free = || {
                // Until the thread has ended, and others that were about to.
                for _ in 0..LOOKS {
                    thread::sleep(LOOK_AGAIN);
                    if attach(|_| ()).is_err() || !ARE_LEFT.load(Ordering::Relaxed) {
                        break;
                    }
                }
            };
            // If it cannot be spawned, the next thread that we attach frees it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(made.runtime.spawn_blocking(free))));
        }
    }
}

/// Frees the states of threads that have ended. Calls foreign destructors, of what is in a `threading.local`. Inside the
/// gate: while the interpreter is finalized, Python frees the states of all other threads, and calls destructors of
/// programs after that.
pub(crate) fn free_left(_py: Python<'_>, _inside: &Entry<'_>) {
    if !ARE_LEFT.load(Ordering::Relaxed) {
        return;
    }
    ARE_LEFT.store(false, Ordering::Relaxed);
    let this = Process::this();
    let mut ended = Vec::new();
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain(|left| {
        let has_ended = left.process != this || left.thread.has_ended();
        if has_ended && left.process == this {
            ended.push(left.state);
        }
        ARE_LEFT.fetch_or(!has_ended, Ordering::Relaxed);
        !has_ended
    });
    for state in ended {
        // SAFETY: this thread is attached, and that of the state has ended.
        unsafe {
            ffi::PyThreadState_Clear(state);
            ffi::PyThreadState_Delete(state);
        }
    }
}

/// The lock of what is left. A fork waits for it; it is held for an instant.
#[cfg(unix)]
pub(crate) fn left() -> MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this thread's state before it waits for the interpreter's lock, if the interpreter is old and the thread
/// has none. Have it [released](Made::until_detached).
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
        let _shared = without_forks();
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
