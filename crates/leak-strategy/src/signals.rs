//! SIGINT and SIGTERM execute the plan; a second signal ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub use sundown::signals::SignalError;
use sundown::signals::{BY_SIGNAL, SignalWatch};

use crate::plan::ExitPlan;

/// While this lives, the first SIGINT (Ctrl-C) or SIGTERM executes the plan, on a thread of the guard.
/// The exit code is the one that a shell reports: 128 plus the number of the signal, so 130 or 143. A
/// second signal ends the process at once, in the signal handler, with the second's code.
///
/// After the guard is dropped, signals end the process as they do by default, and the guard's thread has
/// ended: the drop joins it, which takes microseconds, unless a signal has come and the thread leaves the
/// process. The handler of the signals stays: signal-hook never removes its own from the system. So a
/// library that a host unloads must not install a guard.
///
/// ```no_run
/// use std::time::Duration;
/// use leak_strategy::{plan::ExitPlan, signals::SignalGuard};
///
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// let _guard = SignalGuard::install(&plan)?;
/// # Ok::<(), leak_strategy::signals::SignalError>(())
/// ```
#[derive(Debug)]
#[must_use = "when the guard is dropped, signals have their default effect again"]
pub struct SignalGuard {
    watch: SignalWatch,
    leaves: Arc<AtomicBool>,
}

impl SignalGuard {
    /// Lets signals execute the plan from now on.
    ///
    /// # Errors
    ///
    /// [`SignalError`]. Signals then have the same effect as before.
    pub fn install(plan: &ExitPlan) -> Result<Self, SignalError> {
        let (plan, leaves) = (plan.clone(), Arc::new(AtomicBool::new(false)));
        let leaving = Arc::clone(&leaves);
        let watch = SignalWatch::install("exit signals", move |signal| {
            // Relaxed: the flag publishes nothing else.
            leaving.store(true, Ordering::Relaxed);
            plan.leave(BY_SIGNAL + signal);
        })?;
        Ok(Self { watch, leaves })
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        // A teardown of the plan may drop the guard, while its thread leaves the process.
        if self.leaves.load(Ordering::Relaxed) {
            self.watch.leave_thread();
        }
    }
}
