//! Forks: no lock of ours is held by another thread at that moment, because in the child it would be held for
//! ever.

use std::{
    cell::RefCell,
    sync::{MutexGuard, OnceLock, RwLockWriteGuard},
};

use pyo3::{
    prelude::*,
    types::{PyCFunction, PyDict},
};

use crate::{
    compat,
    runtime::{self, Source},
    states,
};

/// What the thread that forks has locked, from before the fork until after it, in both processes.
type Held = (RwLockWriteGuard<'static, ()>, MutexGuard<'static, Option<Source>>);

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Registers handlers with `os.register_at_fork`, unless that has been done. [`install`](crate::install) does
/// it, too. Call it when your module is imported, if you have an exit handler of your own instead.
///
/// # Errors
///
/// `ImportError` in a sub-interpreter: our threads attach to the main interpreter only. And those of `os`.
pub fn install_for_forks(py: Python<'_>) -> PyResult<()> {
    // Every time: there may be several interpreters in a process.
    states::find_interpreter(py)?;
    static INSTALLED: OnceLock<()> = OnceLock::new();
    compat::once(&INSTALLED, || {
        let os = py.import("os")?;
        if !os.hasattr("register_at_fork")? {
            return Ok(());
        }
        let before = PyCFunction::new_closure(py, None, None, |arguments, _| lock(arguments.py()))?;
        let after = PyCFunction::new_closure(py, None, None, |_, _| unlock())?;
        let handlers = PyDict::new(py);
        handlers.set_item("before", before)?;
        handlers.set_item("after_in_parent", &after)?;
        handlers.set_item("after_in_child", after)?;
        os.call_method("register_at_fork", (), Some(&handlers)).map(drop)
    })
}

fn lock(py: Python<'_>) {
    // The handlers are registered twice if two threads make the first call at the same time.
    if HELD.with_borrow(Option::is_none) {
        let states = states::forbid(py);
        HELD.set(Some((states, runtime::source())));
    }
}

fn unlock() {
    drop(HELD.take());
}
