//! Handles the signals that interrupt a run.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// The exit code of a program that was interrupted: 128 and the number of SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Whether the process received SIGINT (Ctrl-C), SIGTERM or SIGHUP.
///
/// After the first signal, the running trials are killed and the results so far are printed. A second one
/// ends the process at once, and the guardian cleans up.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the signal handlers.
    ///
    /// # Errors
    ///
    /// If the OS refuses a signal handler.
    pub fn install() -> io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the second signal finds the flag that the first has set.
            flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&raised))?;
            flag::register(signal, Arc::clone(&raised))?;
        }
        Ok(Self(raised))
    }

    /// Creates an interrupt without signal handlers, to end a command by [`raise`](Self::raise).
    #[must_use]
    pub fn by_hand() -> Self {
        Self(Arc::default())
    }

    /// Sets the flag.
    pub fn raise(&self) {
        // See `raised`.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a signal or [`raise`](Self::raise) has set the flag.
    #[must_use]
    pub fn raised(&self) -> bool {
        // Relaxed: the flag publishes no other memory.
        self.0.load(Ordering::Relaxed)
    }
}
