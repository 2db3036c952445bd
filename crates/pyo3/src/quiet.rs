//! Daemon threads that end at exit say nothing, as if Python had ended them where they were.

use std::ffi::CStr;

use pyo3::{create_exception, exceptions::PyRuntimeError, prelude::*};

create_exception!(
    sundown,
    InterpreterExits,
    PyRuntimeError,
    "The runtime of an extension has been shut down, because the interpreter is about to exit."
);

/// In Python, because Python may end such a thread in whatever it calls, and a Rust frame must not be below.
const HOOK: &CStr = cr#"
import sys
import threading

def install(exits, previous=threading.excepthook):
    def sundown_excepthook(args):
        # A program that has not imported it need not do so now.
        asyncio = sys.modules.get("asyncio")
        ends_by_exit = issubclass(args.exc_type, (exits, getattr(asyncio, "CancelledError", exits)))
        if not (ends_by_exit and args.thread is not None and args.thread.daemon):
            previous(args)

    threading.excepthook = sundown_excepthook
"#;

/// Has `threading` print no exception of ours that ends a daemon thread from now on.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let module = PyModule::from_code(py, HOOK, c"<sundown>", c"sundown_quiet")?;
    module.getattr("install")?.call1((py.get_type::<InterpreterExits>(),)).map(drop)
}
