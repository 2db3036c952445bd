//! The errors of a shutdown, as the exceptions of `sundown._errors`.

use std::time::Duration;

use pyo3::{prelude::*, types::PyDict};
use sundown::{
    runtime::{RuntimeError, StartError},
    shutdown::{ShutdownError, ShutdownErrorKind, SignalLoss},
};

use crate::{job::NOTIFIER, ledger::Ledger};

/// Makes one of the exceptions.
fn exception(
    py: Python<'_>,
    class: &str,
    message: String,
    set: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let make = || {
        let attributes = PyDict::new(py);
        set(&attributes)?;
        py.import("sundown._errors")?.getattr(class)?.call((message,), Some(&attributes))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// Why a shutdown failed.
pub enum Failure {
    /// The kit's answer.
    Kit(ShutdownError),
    /// The runtime has ended, and a thread still notifies tasks that were dropped.
    Notifying(Duration),
    /// The calling thread is the one that notifies tasks.
    OnNotifier,
}

impl From<ShutdownError> for Failure {
    fn from(error: ShutdownError) -> Self {
        Self::Kit(error)
    }
}

/// Why the shutdown of a runtime failed.
pub fn shutdown(py: Python<'_>, component: &str, failure: Failure, ledger: &Ledger) -> PyErr {
    match failure {
        Failure::Kit(error) => of_kit(py, error, ledger),
        Failure::Notifying(elapsed) => {
            let text = format!(
                "{component} has not ended after {elapsed:.1?}: thread `{NOTIFIER}` still calls the callbacks of \
                 tasks that were dropped"
            );
            exception(py, "TimedOut", text, |named| {
                named.set_item("component", component)?;
                named.set_item("elapsed", elapsed.as_secs_f64())?;
                named.set_item("threads", [NOTIFIER])?;
                named.set_item("still_running", ledger.still_running())
            })
        }
        Failure::OnNotifier => {
            let text = format!(
                "`{component}` cannot wait for its own end: this is a callback of a task that it dropped, on thread \
                 `{NOTIFIER}`; shut it down from another thread"
            );
            exception(py, "FromInside", text, |named| named.set_item("component", component))
        }
    }
}

fn of_kit(py: Python<'_>, error: ShutdownError, ledger: &Ledger) -> PyErr {
    let mut text = error.to_string();
    let ShutdownError { component, elapsed, alive, kind, .. } = error;
    let class = match &kind {
        ShutdownErrorKind::TimedOut => {
            // Without the places that the kit knows: they are places in Rust code.
            text = format!("{component} has not ended after {elapsed:.1?}: {alive} still running");
            "TimedOut"
        }
        ShutdownErrorKind::Panicked(_) => "Panicked",
        ShutdownErrorKind::FromInside => "FromInside",
        ShutdownErrorKind::ThreadPanicked(_) => "ThreadPanicked",
        ShutdownErrorKind::SignalLost(_) => "SignalLost",
        _ => "ShutdownError",
    };
    exception(py, class, text, |named| {
        named.set_item("component", component)?;
        let still_running = match kind {
            ShutdownErrorKind::TimedOut => {
                named.set_item("elapsed", elapsed.as_secs_f64())?;
                ledger.still_running()
            }
            ShutdownErrorKind::ThreadPanicked(message) => {
                named.set_item("panic", &*message)?;
                ledger.still_running()
            }
            ShutdownErrorKind::SignalLost(SignalLoss::Forked { owner }) => {
                named.set_item("owner", owner)?;
                // In a forked child, a thread that is not there may hold the ledger's lock.
                Vec::new()
            }
            ShutdownErrorKind::SignalLost(_) => ledger.still_running(),
            ShutdownErrorKind::Panicked(panicked) => {
                let panicked = panicked.into_iter().map(|one| (one.name, one.message));
                return named.set_item("panicked", panicked.collect::<Vec<_>>());
            }
            _ => return Ok(()),
        };
        named.set_item("tasks", alive.tasks)?;
        named.set_item("threads", alive.threads)?;
        named.set_item("still_running", still_running)
    })
}

/// Why a runtime takes no work.
pub fn ended(py: Python<'_>, ended: &RuntimeError) -> PyErr {
    let (class, component) = match ended {
        RuntimeError::Forked { component, .. } => ("Forked", component),
        RuntimeError::ShutDown { component, .. }
        | RuntimeError::ThreadEnding { component }
        | RuntimeError::OwnThread { component } => ("Ended", component),
        _ => return exception(py, "Ended", ended.to_string(), |_| Ok(())),
    };
    let message = match ended {
        RuntimeError::ShutDown { component, .. } => {
            format!("{component} has been shut down, and takes no work; start another Runtime")
        }
        other => other.to_string(),
    };
    exception(py, class, message, |named| named.set_item("component", component))
}

/// Why a runtime did not start.
pub fn start(py: Python<'_>, error: &StartError) -> PyErr {
    let text = error.to_string();
    match error {
        StartError::NoSuchNumber { .. } => pyo3::exceptions::PyValueError::new_err(text),
        _ => exception(py, "StartError", text, |_| Ok(())),
    }
}
