//! A program that exits the process inside [`ExitPlan::run`]: its plan is not executed, and this says so.
//!
//! `exit` runs the handlers that were registered by `atexit`, whichever thread calls it. `_exit`, which a plan
//! leaves by, and a signal do not.

use std::{
    io::{self, Write as _},
    process,
    sync::OnceLock,
    thread::Builder,
    time::Duration,
};

use sundown::{oneshot, panics};

use super::ExitPlan;

/// How long an exit waits for standard error, which may be a pipe that nobody reads.
const AT_MOST: Duration = Duration::from_millis(100);

/// The plan whose program runs, in this process.
static RUNS: OnceLock<(u32, ExitPlan)> = OnceLock::new();

/// From now on an exit of the process that is not the plan's own is reported. A second plan is not watched.
pub(super) fn watch(plan: &ExitPlan) {
    if RUNS.set((process::id(), plan.clone())).is_ok() {
        // If the system refuses it, such an exit goes unnoticed.
        let _ = shutdown_hooks::add_shutdown_hook(at_exit);
    }
}

extern "C" fn at_exit() {
    // A panic may not leave a function that C calls.
    let _ = panics::catch(|| {
        let Some((process, plan)) = RUNS.get() else { return };
        // A forked child inherits the handler, and not the plan.
        if *process != process::id() {
            return;
        }
        // Another thread may hold the lock: it is for a moment, and not worth a wait in an exit.
        let Ok(registered) = plan.0.registered.try_lock() else { return };
        let names: Vec<_> =
            registered.resources.iter().map(|it| format!("`{}`", it.name)).collect();
        drop(registered);
        // A plan that is being executed has none any more.
        if !names.is_empty() {
            say(format!(
                "error: the program exits the process inside `ExitPlan::run`, so its exit plan is not executed. \
                 Not torn down: {}. Call `leave` before, in the last event of an event loop that exits by itself.\n",
                names.join(", ")
            ));
        }
    });
}

/// Writes on another thread, because another may hold the lock of standard error for good.
fn say(line: String) {
    let (sender, mut written) = oneshot::channel();
    let write = move || {
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = sender.send(());
    };
    if Builder::new().name("exit says".to_owned()).spawn(write).is_ok() {
        let _ = written.wait_blocking(AT_MOST);
    }
}
