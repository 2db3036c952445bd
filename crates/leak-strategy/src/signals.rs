//! SIGINT and SIGTERM execute the plan; a second signal ends the process at once.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::{Handle, Signals},
    low_level,
};
use sundown::joinable::Joinable;
use thiserror::Error;

use crate::plan::ExitPlan;

/// The signals that ask a process to end.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// A shell adds this to the number of the signal that ended a process.
const BY_SIGNAL: i32 = 128;

/// What this process has installed.
struct Installed {
    /// Whether there is a guard.
    guard: bool,
    /// Whether the handlers for the time without a guard are installed. They end the process as the
    /// signal does by default. signal-hook never removes its own handler from the system, so without
    /// them a signal would do nothing once the guard is dropped.
    default: bool,
}

static INSTALLED: Mutex<Installed> = Mutex::new(Installed { guard: false, default: false });

/// Whether the guard has seen a signal. `SeqCst` as in signal-hook; the flag publishes no other data,
/// and the system orders the handlers of one signal.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// Whether signals have their default effect, because there is no guard. Orderings as above.
static RELEASED: AtomicBool = AtomicBool::new(true);

/// Why signals do not execute the plan.
#[derive(Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is a guard already. Signals belong to the whole process.
    #[error("signals already execute an exit plan; keep one guard for the whole process")]
    AlreadyGuarded,
    /// The system refused a handler, a descriptor or a thread.
    #[error("cannot let signals execute an exit plan: {0}")]
    Refused(#[from] io::Error),
}

sundown::debug_as_text!(SignalError);

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
    handle: Option<Handle>,
    actions: Vec<SigId>,
    thread: Option<Joinable>,
}

/// How long a guard that is dropped waits for its thread, which takes microseconds to end.
const UNTIL_GONE: Duration = Duration::from_secs(1);

impl SignalGuard {
    /// Lets signals execute the plan from now on.
    ///
    /// # Errors
    ///
    /// [`SignalError`]. Signals then have the same effect as before.
    pub fn install(plan: &ExitPlan) -> Result<Self, SignalError> {
        prepare()?;
        // If a step below fails, dropping the guard undoes the steps before it.
        let mut guard = Self { handle: None, actions: Vec::new(), thread: None };
        let mut signals = Signals::new(SIGNALS)?;
        guard.handle = Some(signals.handle());
        SIGNALLED.store(false, Ordering::SeqCst);
        for signal in SIGNALS {
            // In this order, so that only the second signal finds the flag raised.
            let code = BY_SIGNAL + signal;
            guard.actions.push(flag::register_conditional_shutdown(signal, code, &SIGNALLED)?);
            guard.actions.push(flag::register(signal, &SIGNALLED)?);
        }
        let plan = plan.clone();
        guard.thread = Some(Joinable::spawn("exit signals", move || {
            // Ends without a signal when the guard is dropped.
            if let Some(signal) = signals.forever().next() {
                plan.leave(BY_SIGNAL + signal);
            }
        })?);
        RELEASED.store(false, Ordering::SeqCst);
        Ok(guard)
    }
}

/// Makes sure that there is one guard only, and that dropping it restores the signals' default effect.
fn prepare() -> Result<(), SignalError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if installed.guard {
        return Err(SignalError::AlreadyGuarded);
    }
    if !installed.default {
        for signal in SIGNALS {
            flag::register_conditional_default(signal, &RELEASED)?;
        }
        installed.default = true;
    }
    installed.guard = true;
    Ok(())
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        // First, so that from here on a signal ends the process before any other handler runs.
        RELEASED.store(true, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
        if let Some(handle) = &self.handle {
            handle.close();
        }
        // A teardown of the plan may drop the guard, while its thread leaves the process.
        let leaves = SIGNALLED.load(Ordering::SeqCst);
        if let Some(thread) = self.thread.take().filter(|_| !leaves)
            && let Err(thread) = thread.join_until(Instant::now() + UNTIL_GONE)
        {
            thread.give_up();
        }
        INSTALLED.lock().unwrap_or_else(PoisonError::into_inner).guard = false;
    }
}
