//! SIGINT and SIGTERM turned into the plan, and a second one into the immediate end.

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

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// What has been done with the signals of this process.
struct Done {
    /// Whether there is a guard.
    guarded: bool,
    /// Whether the handler is there that ends the program by default once there is no guard: a
    /// handler cannot be taken back, and without this one a signal would then do nothing at all.
    has_default: bool,
}

static DONE: Mutex<Done> = Mutex::new(Done { guarded: false, has_default: false });

/// Whether a signal has come to the guard that is there. Between signals of one thread, the system
/// orders handlers; the ordering is signal-hook's own, `SeqCst`, and nothing is published by it.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether signals do what they did without a guard. As above.
static RELEASED: AtomicBool = AtomicBool::new(true);

/// Why signals are not guarded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is a guard: signals belong to the process, which has one way out.
    #[error("signals are turned into an exit plan already; keep one guard for the whole process")]
    AlreadyGuarded,
    /// The system refuses.
    #[error("cannot turn signals into an exit plan: {0}")]
    Refused(#[from] io::Error),
}

/// As long as this lives, the first SIGINT (Ctrl-C) or SIGTERM carries the plan out, on a thread of
/// the guard's own, with the code that a shell would give: 128 and the number of the signal, that is
/// 130 or 143. A second one ends the process at once, in the handler, with the code of its own.
///
/// Dropping the guard gives the signals back: they end the program as if there had never been one.
///
/// ```no_run
/// use std::time::Duration;
/// use leak_strategy::{plan::ExitPlan, signals::SignalGuard};
///
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// let _guard = SignalGuard::of(&plan)?;
/// # Ok::<(), leak_strategy::signals::SignalError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the guard gives the signals back"]
pub struct SignalGuard {
    handle: Option<Handle>,
    actions: Vec<SigId>,
}

impl SignalGuard {
    /// Begins to turn signals into the plan.
    ///
    /// # Errors
    ///
    /// [`SignalError::AlreadyGuarded`] where there is a guard, and [`SignalError::Refused`] where the
    /// system gives no handler, descriptor or thread; then signals do what they did before.
    pub fn of(plan: &ExitPlan) -> Result<Self, SignalError> {
        prepare()?;
        // From here on, dropping the guard takes back what has been done.
        let mut guard = Self { handle: None, actions: Vec::new() };
        let mut signals = Signals::new(SIGNALS)?;
        guard.handle = Some(signals.handle());
        ASKED.store(false, Ordering::SeqCst);
        for signal in SIGNALS {
            // In this order: the second signal finds the flag that the first has raised.
            let code = BY_SIGNAL + signal;
            guard.actions.push(flag::register_conditional_shutdown(signal, code, &ASKED)?);
            guard.actions.push(flag::register(signal, &ASKED)?);
        }
        let plan = plan.clone();
        Builder::new().name("exit signals".to_owned()).spawn(move || {
            // Without a signal it ends when the guard is dropped.
            if let Some(signal) = signals.forever().next() {
                plan.leave(BY_SIGNAL + signal);
            }
        })?;
        RELEASED.store(false, Ordering::SeqCst);
        Ok(guard)
    }
}

/// Makes sure that there is one guard, and that signals can be given back.
fn prepare() -> Result<(), SignalError> {
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if done.guarded {
        return Err(SignalError::AlreadyGuarded);
    }
    if !done.has_default {
        for signal in SIGNALS {
            flag::register_conditional_default(signal, &RELEASED)?;
        }
        done.has_default = true;
    }
    done.guarded = true;
    Ok(())
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        // First: from here on a signal ends the program by default, before any other handler.
        RELEASED.store(true, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
        if let Some(handle) = &self.handle {
            handle.close();
        }
        DONE.lock().unwrap_or_else(PoisonError::into_inner).guarded = false;
    }
}
