//! SIGINT and SIGTERM execute the plan; another signal later ends the process at once.

pub use sundown_core::signals::SignalError;
use sundown_core::{
    joinable::Joinable,
    signals::{BY_SIGNAL, SignalWatch},
};

use crate::plan::ExitPlan;

/// While this lives, the first SIGINT (Ctrl-C) or SIGTERM executes the plan, on a thread of the guard.
/// The exit code is the one that a shell reports: 128 plus the number of the signal, so 130 or 143. A
/// signal that comes later than a tenth of a second after it ends the process at once, in the signal handler, with
/// its own code, and what is not torn down by then is left: a child process runs on. One that comes sooner is taken
/// for the same: some tools signal a program and then its group.
///
/// The program may see the same signal in its own way, and return from `main`: its end then waits until the plan
/// has ended the process, with the plan's code. A return from `main` without a signal does not execute the plan;
/// [`ExitPlan::run`] does.
///
/// After the guard is dropped, signals end the process as they do by default, and the guard's thread has
/// ended: the drop joins it, which takes microseconds, or a tenth of a second right after a signal. A signal that
/// came before the drop executes the plan. The handler of the signals stays: signal-hook never removes its own
/// from the system. So a library that a host unloads must not install a guard.
///
/// ```no_run
/// use std::time::Duration;
/// use sundown::exit::{plan::ExitPlan, signals::SignalGuard};
///
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// let _guard = SignalGuard::install(&plan)?;
/// plan.run(|| {
///     println!("the program");
///     0
/// })
/// # ; #[allow(unreachable_code)] Ok::<(), sundown::exit::signals::SignalError>(())
/// ```
#[derive(Debug)]
#[must_use = "when the guard is dropped, signals have their default effect again"]
pub struct SignalGuard {
    _watch: SignalWatch,
}

impl SignalGuard {
    /// Lets signals execute the plan from now on.
    ///
    /// # Errors
    ///
    /// [`SignalError`]. Signals then have the same effect as before.
    pub fn install(plan: &ExitPlan) -> Result<Self, SignalError> {
        let plan = plan.clone();
        let on_first = move |signal| {
            // Here, so that a guard that is dropped knows of it, and so does a return from `main`.
            let leaving = plan.begin_to_leave(BY_SIGNAL + signal);
            let elsewhere = leaving.clone();
            // On a thread of its own, so that the watch goes on. It ends with the process.
            if Joinable::spawn("exit by signal", move || elsewhere.leave()).is_err() {
                leaving.leave();
            }
        };
        let watch = SignalWatch::install("exit signals", on_first, None)?;
        Ok(Self { _watch: watch })
    }
}
