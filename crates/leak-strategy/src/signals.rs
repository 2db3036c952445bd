//! SIGINT and SIGTERM carry the plan out; a second signal ends the process at once.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::Builder,
};

use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::{Handle, Signals},
    low_level,
};
use thiserror::Error;

use crate::plan::ExitPlan;

/// The signals that ask a program to end.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// A shell adds this to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// What this process has installed.
struct Installed {
    /// Whether there is a guard.
    guard: bool,
    /// Whether the handlers for the time without a guard are installed. They end the program as the
    /// signal does by default. signal-hook never removes its own handler from the system, so without
    /// them a signal would do nothing at all once the guard is gone.
    default: bool,
}

static INSTALLED: Mutex<Installed> = Mutex::new(Installed { guard: false, default: false });

/// Whether the guard has seen a signal. signal-hook uses `SeqCst`, and so does this file; nothing is
/// published through the flag, and the system orders the handlers of one signal.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// Whether there is no guard, so that signals do what they do by default. Orderings as above.
static RELEASED: AtomicBool = AtomicBool::new(true);

/// Why signals do not carry the plan out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is a guard already. Signals belong to the process, which has one exit.
    #[error("signals already carry out an exit plan; keep one guard for the whole process")]
    AlreadyGuarded,
    /// The system refused a handler, a descriptor or a thread.
    #[error("cannot let signals carry out an exit plan: {0}")]
    Refused(#[from] io::Error),
}

/// While this lives, the first SIGINT (Ctrl-C) or SIGTERM carries the plan out, on a thread of the
/// guard. The exit code is the one that a shell reports: 128 plus the number of the signal, so 130 or
/// 143. A second signal ends the process at once, in the signal handler, with the second's code.
///
/// Dropping the guard gives the signals back: they end the program as they do by default.
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
#[must_use = "dropping the guard gives the signals back"]
pub struct SignalGuard {
    handle: Option<Handle>,
    actions: Vec<SigId>,
}

impl SignalGuard {
    /// Lets signals carry the plan out from now on.
    ///
    /// # Errors
    ///
    /// [`SignalError::AlreadyGuarded`], or [`SignalError::Refused`]; then signals do what they did
    /// before.
    pub fn install(plan: &ExitPlan) -> Result<Self, SignalError> {
        prepare()?;
        // If a step below fails, dropping the guard undoes those before it.
        let mut guard = Self { handle: None, actions: Vec::new() };
        let mut signals = Signals::new(SIGNALS)?;
        guard.handle = Some(signals.handle());
        SIGNALLED.store(false, Ordering::SeqCst);
        for signal in SIGNALS {
            // In this order: only the second signal finds the flag raised, by the first.
            let code = BY_SIGNAL + signal;
            guard.actions.push(flag::register_conditional_shutdown(signal, code, &SIGNALLED)?);
            guard.actions.push(flag::register(signal, &SIGNALLED)?);
        }
        let plan = plan.clone();
        Builder::new().name("exit signals".to_owned()).spawn(move || {
            // Ends without a signal when the guard is dropped.
            if let Some(signal) = signals.forever().next() {
                plan.leave(BY_SIGNAL + signal);
            }
        })?;
        RELEASED.store(false, Ordering::SeqCst);
        Ok(guard)
    }
}

/// Makes sure that there is one guard only, and that it can give the signals back.
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
        // First, so that from here on a signal ends the program before any other handler runs.
        RELEASED.store(true, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
        if let Some(handle) = &self.handle {
            handle.close();
        }
        INSTALLED.lock().unwrap_or_else(PoisonError::into_inner).guard = false;
    }
}
