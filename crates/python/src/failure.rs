//! What a shutdown came to, as the exceptions of `sundown._errors`.

use pyo3::{prelude::*, types::PyDict};
use sundown::{
    runtime::{RuntimeError, StartError},
    shutdown::{Alive, ShutdownError, ShutdownErrorKind, SignalLoss},
};

use crate::ledger::{Ledger, StillRunning};

/// Makes one of the exceptions.
fn raised(
    py: Python<'_>,
    class: &str,
    message: String,
    attributes: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let make = || {
        let named = PyDict::new(py);
        attributes(&named)?;
        py.import("sundown._errors")?.getattr(class)?.call((message,), Some(&named))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// What kept a shutdown from its end.
pub fn shutdown(py: Python<'_>, error: ShutdownError, ledger: &Ledger) -> PyErr {
    let left = |named: &Bound<'_, PyDict>, alive: Alive, still_running: Vec<StillRunning>| {
        named.set_item("tasks", alive.tasks)?;
        named.set_item("threads", alive.threads)?;
        named.set_item("still_running", still_running)
    };
    let text = error.to_string();
    let ShutdownError { component, elapsed, alive, kind, .. } = error;
    match kind {
        ShutdownErrorKind::TimedOut => {
            let still_running = ledger.still_running();
            // The places that the kit knows are in here, and of no use to who writes Python.
            let message =
                format!("{component} has not ended after {elapsed:.1?}: {alive} still running");
            raised(py, "TimedOut", message, |named| {
                named.set_item("component", component)?;
                named.set_item("elapsed", elapsed.as_secs_f64())?;
                left(named, alive, still_running)
            })
        }
        ShutdownErrorKind::Panicked(panicked) => {
            let panicked: Vec<_> =
                panicked.into_iter().map(|one| (one.name, one.message)).collect();
            raised(py, "Panicked", text, |named| {
                named.set_item("component", component)?;
                named.set_item("panicked", panicked)
            })
        }
        ShutdownErrorKind::FromInside => {
            raised(py, "FromInside", text, |named| named.set_item("component", component))
        }
        ShutdownErrorKind::ThreadPanicked(message) => {
            let still_running = ledger.still_running();
            raised(py, "ThreadPanicked", text, |named| {
                named.set_item("component", component)?;
                named.set_item("panic", &*message)?;
                left(named, alive, still_running)
            })
        }
        ShutdownErrorKind::SignalLost(cause) => {
            let (owner, still_running) = match cause {
                // Of a forked child nothing is asked that has a lock.
                SignalLoss::Forked { owner } => (Some(owner), Vec::new()),
                _ => (None, ledger.still_running()),
            };
            raised(py, "SignalLost", text, |named| {
                named.set_item("component", component)?;
                named.set_item("owner", owner)?;
                left(named, alive, still_running)
            })
        }
        _ => raised(py, "ShutdownError", text, |_| Ok(())),
    }
}

/// Why a runtime does nothing.
pub fn ended(py: Python<'_>, ended: &RuntimeError) -> PyErr {
    let (class, component) = match ended {
        RuntimeError::Forked { component, .. } => ("Forked", component),
        RuntimeError::ShutDown { component, .. }
        | RuntimeError::ThreadEnding { component }
        | RuntimeError::OwnThread { component } => ("Ended", component),
        _ => return raised(py, "Ended", ended.to_string(), |_| Ok(())),
    };
    let message = match ended {
        RuntimeError::ShutDown { component, .. } => {
            format!("{component} has been shut down, and takes no work; start another Runtime")
        }
        other => other.to_string(),
    };
    raised(py, class, message, |named| named.set_item("component", component))
}

/// Why a runtime has not started.
pub fn start(py: Python<'_>, error: &StartError) -> PyErr {
    let text = error.to_string();
    match error {
        StartError::NoSuchNumber { .. } => pyo3::exceptions::PyValueError::new_err(text),
        _ => raised(py, "StartError", text, |_| Ok(())),
    }
}
