//! Signals that tell the process to stop.

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
/// After the first, running trials are killed and what is known is printed. A second one ends the
/// process at once, and the guardian cleans up.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// If the OS refuses a signal handler.
    pub fn install() -> io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the second signal finds the flag raised by the first.
            flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&raised))?;
            flag::register(signal, Arc::clone(&raised))?;
        }
        Ok(Self(raised))
    }

    /// An interrupt that no signal raises, to end one command by hand.
    #[must_use]
    pub fn by_hand() -> Self {
        Self(Arc::default())
    }

    /// Tells everybody who checks it to stop.
    pub fn raise(&self) {
        // See `raised`.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a signal came, or it was raised by hand.
    #[must_use]
    pub fn raised(&self) -> bool {
        // Relaxed: the flag publishes no other memory.
        self.0.load(Ordering::Relaxed)
    }
}
